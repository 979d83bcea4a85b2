from __future__ import annotations

import pytest

from functions.dispatcher.lanes import in_lanes
from shared.candles import Timeframe
from shared.lanes import Lane
from shared.messages import CollectRequest
from shared.modes import Mode
from shared.series import Coverage
from tests.support.builders import CALENDAR, day

TODAY = day("2026-11-20")
STOCK = "005930"


def lane(
    timeframe="5m",
    *,
    covered=None,
    settled=None,
    ended=False,
    mode=Mode.INCREMENTAL,
    **more,
):
    """The lane of one request, for a series that is covered and settled so far."""
    timeframe = Timeframe(timeframe)
    more = {name: day(v) if name == "start" else v for name, v in more.items()}
    request = CollectRequest(
        run_id="r", stock_code=STOCK, timeframe=timeframe, mode=mode, **more
    )
    series = Coverage(covered and day(covered), settled and day(settled), ended)
    known = {(STOCK, timeframe): series} if series != Coverage() else {}
    (found,) = in_lanes([request], lambda *_: known, CALENDAR, TODAY)
    return found.lane


@pytest.mark.parametrize("timeframe", ["5m", "30m", "60m", "1d", "1w"])
def test_a_tick_of_a_series_that_is_up_to_date_is_live(timeframe):
    assert lane(timeframe, covered="2026-03-02", settled="2026-11-19") is Lane.LIVE


@pytest.mark.parametrize("timeframe", ["5m", "30m", "60m", "1d", "1w"])
def test_a_series_that_was_never_loaded_is_history(timeframe):
    assert lane(timeframe) is Lane.HISTORY


def test_a_series_of_which_the_broker_has_nothing_is_live_for_it_is_not_read():
    """Behind a backfill, a delisted target would keep every tick unfinished."""
    assert lane("1d", ended=True) is Lane.LIVE
    assert lane("1d", ended=True, force=True) is Lane.HISTORY


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode != Mode.INCREMENTAL])
def test_every_other_mode_is_history_whatever_is_there(mode):
    found = lane(covered="2026-03-02", settled="2026-11-19", mode=mode)

    assert found is Lane.HISTORY


@pytest.mark.parametrize(
    ("settled", "wanted"), [("2026-10-29", Lane.LIVE), ("2026-09-29", Lane.HISTORY)]
)
def test_a_series_that_is_many_pages_behind_is_history(settled, wanted):
    """A page has 900 candles, and a day 104 of five minutes."""
    assert lane(covered="2026-03-02", settled=settled) is wanted


def test_a_series_whose_sessions_never_settled_is_counted_from_its_first():
    assert lane("1d", covered="2025-01-02") is Lane.LIVE
    assert lane("5m", covered="2026-03-02") is Lane.HISTORY


def test_days_before_what_is_covered_are_history():
    settled = {"covered": "2026-11-02", "settled": "2026-11-19"}

    assert lane(**settled, start="2026-11-10") is Lane.LIVE
    assert lane(**settled, start="2026-05-04") is Lane.HISTORY


def test_a_forced_tick_counts_all_that_it_reads_again():
    settled = {"covered": "2026-03-02", "settled": "2026-11-19", "force": True}

    assert lane(**settled) is Lane.HISTORY
    assert lane(**settled, start="2026-11-18") is Lane.LIVE


def test_days_that_no_calendar_knows_are_counted_from_the_first_that_it_does():
    assert lane("1d", covered="2026-03-02", start="1960-01-04") is Lane.HISTORY


def test_what_is_history_anyway_is_not_looked_up():
    def never(*_):
        raise AssertionError

    request = CollectRequest(
        run_id="r", stock_code=STOCK, timeframe=Timeframe.DAY_1, mode=Mode.BACKFILL
    )

    (found,) = in_lanes([request], never, CALENDAR, TODAY)

    assert found.lane is Lane.HISTORY
