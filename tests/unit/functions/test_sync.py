from __future__ import annotations

import json
from datetime import timedelta

import pytest

from functions.reference_sync.reference_data import market_sessions, target_stocks
from functions.reference_sync.sync import BundledData, sync
from shared.errors import MalformedMessage, StockListRejected
from shared.messages import ReferenceRequest
from shared.sessions import MarketSession
from shared.stocks import Market, Stock
from tests.support.builders import day, kst

NOW = kst("2026-11-20 08:20")
BUNDLED_DATA = BundledData(sessions=market_sessions, targets=target_stocks)
EVERYTHING = {"sync": ["calendar", "stocks"]}


def stocks_of(market, count):
    return [
        Stock(
            stock_code=f"{market.value[0]}{n:05}",
            stock_name="가상",
            market_code=market.value,
            market_name=market.name,
        )
        for n in range(count)
    ]


class FakeSessions:
    def __init__(self):
        self.written, self.overrides = [], {}

    def write(self, sessions, source):
        self.written = list(sessions)
        return len(self.written)

    def override(self, date, session):
        self.overrides[date] = session


class FakeMaster:
    def __init__(self, counts=None, targets=("005930",)):
        self._counts, self._targets = counts or {}, list(targets)
        self.replaced = None
        self.upserted = []

    def counts(self):
        return self._counts

    def targets(self):
        return self._targets

    def upsert_all(self, stocks):
        self.upserted += stocks
        return len(stocks)

    def replace_listed(self, stocks, market_codes, unlisted_after):
        self.replaced = (len(stocks), market_codes, unlisted_after)
        return ["000010"]

    def set_targets(self, codes, *, is_target):
        known = [code for code in codes if code != "999999"]
        if is_target:
            self._targets += known
        else:
            self._targets = [code for code in self._targets if code not in known]
        return known


def run(
    message, master=None, sessions=None, listed=stocks_of, now=NOW, sizes=(950, 1820)
):
    master, sessions = master or FakeMaster(), sessions or FakeSessions()
    size = dict(zip(Market, sizes, strict=True))
    outcome = sync(
        ReferenceRequest.from_bytes(json.dumps(message).encode()),
        lambda market: listed(market, size[market]),
        sessions,
        master,
        BUNDLED_DATA,
        now,
    )
    return outcome, master, sessions


def test_a_tick_brings_calendar_and_master():
    outcome, master, sessions = run(EVERYTHING)

    assert len(sessions.written) == 242 + 244 + 245
    assert master.replaced == (950 + 1820, ["0", "10"], 2)
    assert outcome.unlisted == ["000010"]


def test_the_targets_that_are_shipped_are_taken_only_when_there_are_none():
    assert run(EVERYTHING)[1].upserted == []

    _, master, _ = run(EVERYTHING, FakeMaster(targets=()))

    assert len(master.upserted) == 30


@pytest.mark.parametrize("sizes", [(0, 1820), (950, 0), (854, 1820), (950, 1600)])
def test_a_list_that_cannot_be_true_is_refused_and_nothing_is_changed(sizes):
    master = FakeMaster({"0": 950, "10": 1820})

    with pytest.raises(
        StockListRejected, match=r"the broker lists \d+ stocks and we have"
    ):
        run({"sync": ["stocks"]}, master, sizes=sizes)

    assert master.replaced is None


def test_a_list_may_shrink_a_little():
    _, master, _ = run(
        {"sync": ["stocks"]}, FakeMaster({"0": 950, "10": 1820}), sizes=(856, 1640)
    )

    assert master.replaced is not None


def test_a_calendar_that_ends_soon_is_told():
    assert not run({"sync": ["calendar"]})[0].horizon_is_near

    outcome, _, _ = run(
        {"sync": ["calendar"]}, now=kst("2027-12-30") - timedelta(days=59)
    )

    assert outcome.days_left == 59
    assert outcome.horizon_is_near


def test_an_operator_closes_and_opens_days():
    _, _, sessions = run({"close": "2026-12-24"})
    assert sessions.overrides == {day("2026-12-24"): None}
    assert sessions.written

    _, _, sessions = run({"open": "2026-12-31"})
    assert sessions.overrides == {
        day("2026-12-31"): MarketSession.regular(day("2026-12-31"))
    }

    _, _, sessions = run({"open": "2026-12-24", "hours": ["10:00", "15:30"]})
    assert sessions.overrides[day("2026-12-24")].opens_at == kst("2026-12-24 10:00")


def test_targets_are_added_and_removed():
    _, master, _ = run({"add_targets": ["000660"], "remove_targets": ["005930"]})

    assert master.targets() == ["000660"]


def test_a_target_that_nobody_knows_is_refused_with_the_remedy():
    with pytest.raises(MalformedMessage, match="999999.*sync the stocks first"):
        run({"add_targets": ["999999"]})


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({}, "sync: is missing"),
        ({"sync": "stocks"}, "sync: must be a list"),
        ({"sync": ["holidays"]}, "sync: must be a list of calendar and stocks"),
        ({"close": "tomorrow"}, "close: .* is not a date"),
        ({"close": "2026-12-24", "open": "2026-12-25"}, "open: give either"),
        (
            {"open": "2026-12-24", "hours": ["15:30", "10:00"]},
            "hours: must open before",
        ),
        ({"open": "2026-12-24", "hours": ["ten", "four"]}, "hours: .* are no hours"),
        ({"close": "2026-12-24", "hours": ["10:00", "15:30"]}, "hours: belong to open"),
        ({"add_targets": ["5930"]}, "add_targets: '5930' is not a stock code"),
        ({"add_targets": "005930"}, "add_targets: must be a list"),
        ({"targets": ["005930"]}, "targets: unknown field"),
    ],
)
def test_a_wrong_request_is_refused_by_name(message, reason):
    with pytest.raises(MalformedMessage, match=f"^{reason}"):
        run(message)
