from __future__ import annotations

import pytest

from infra.local.screen.estimate import Estimator, TaskShape
from shared.candles import Timeframe
from shared.modes import Mode
from tests.support.builders import CALENDAR, day

TODAY = day("2026-11-20")


def estimated(timeframe="1d", mode="incremental", **facts):
    shape = TaskShape(timeframe=Timeframe(timeframe), mode=Mode(mode), **facts)
    return Estimator(CALENDAR).requests(shape, TODAY)


@pytest.mark.parametrize(
    ("timeframe", "pages"), [("5m", 8), ("30m", 3), ("60m", 3), ("1d", 3), ("1w", 1)]
)
def test_a_first_load_is_estimated_as_it_is_read(timeframe, pages):
    """The numbers are those of the end-to-end test, which counts the requests."""
    assert estimated(timeframe) == pages


def test_a_first_load_of_all_targets_is_about_as_many_as_in_truth():
    listed = sum(29 * estimated(frame) for frame in Timeframe)
    unlisted = sum(estimated(frame, listed=False) for frame in Timeframe)

    assert listed + unlisted == 527


def test_what_is_covered_needs_one_request_for_what_is_new():
    covered = {"covered_from": day("2021-11-20"), "settled_through": day("2026-11-19")}

    assert estimated(**covered) == 1


def test_a_backfill_reads_what_is_older_and_what_is_new():
    covered = {"covered_from": day("2021-11-20"), "settled_through": day("2026-11-19")}

    years = estimated(mode="backfill", start=day("2011-11-20"), **covered)

    assert years == 1 + 5


def test_a_backfill_of_what_is_covered_needs_no_page_of_history():
    covered = {"covered_from": day("2021-11-20"), "settled_through": day("2026-11-19")}

    assert estimated(mode="backfill", start=day("2025-01-01"), **covered) == 1


def test_a_verify_reads_all_that_is_covered():
    covered = {"covered_from": day("2021-11-20"), "settled_through": day("2026-11-19")}

    assert estimated(mode="verify", **covered) == 3
    assert estimated(mode="verify", start=day("2025-11-20"), **covered) == 1


def test_days_that_the_calendar_does_not_know_are_not_counted():
    assert estimated("1w", start=day("1956-03-03")) >= 1


def test_a_repair_is_one_request_until_more_is_known():
    assert estimated("5m", mode="repair", covered_from=day("2026-08-20")) == 1
