from __future__ import annotations

import pytest

from functions.collector.plan import Span, plan
from shared.modes import Mode
from shared.series import Series
from tests.support.builders import CALENDAR, a_request, day, kst

NOW = kst("2026-11-20 10:30")
COVERED = Series(
    covered_from=day("2026-08-20"),
    settled_through=day("2026-11-19"),
    oldest=day("2026-08-20"),
    version=1,
)


def made(timeframe="5m", series=COVERED, now=NOW, **request):
    return plan(a_request(timeframe, **request), series, CALENDAR, now)


@pytest.mark.parametrize(
    ("timeframe", "start"),
    [
        ("5m", "2026-08-20"),
        ("30m", "2026-05-20"),
        ("60m", "2025-11-20"),
        ("1d", "2021-11-20"),
        ("1w", "2016-11-20"),
    ],
)
def test_a_first_load_goes_back_as_far_as_the_timeframe_deserves(timeframe, start):
    first = made(timeframe, Series())

    assert first.newer == Span(day("2026-11-20"), day(start))
    assert first.older is None
    assert first.covered_from == day(start)


def test_a_first_load_settles_what_is_over():
    assert made(series=Series()).settled_through == day("2026-11-19")
    assert made("1w", Series()).settled_through == day("2026-11-13")


def test_a_first_load_today_settles_nothing():
    today = made(series=Series(), start=day("2026-11-20"))

    assert today.settled_through is None


def test_a_range_in_the_past_is_asked_for_by_its_end():
    past = made("1d", Series(), start=day("2024-01-01"), end=day("2025-01-01"))

    assert past.newer == Span(day("2024-12-31"), day("2024-01-01"))
    assert past.settled_through == day("2024-12-31")


def test_a_week_is_never_cut_off_in_its_middle():
    past = made("1w", Series(), start=day("2024-01-01"), end=day("2024-01-10"))

    assert past.newer == Span(day("2024-01-14"), day("2024-01-01"))


@pytest.mark.parametrize(
    ("timeframe", "start", "end"),
    [
        ("5m", "2026-11-21", None),
        ("1d", "2026-11-14", "2026-11-16"),
        ("1w", "2026-11-17", None),
        ("1d", "2026-06-03", "2026-06-04"),
    ],
)
def test_a_first_load_without_a_session_asks_for_nothing(timeframe, start, end):
    request = {"start": day(start), "end": end and day(end)}

    assert made(timeframe, Series(), now=kst("2026-11-20 21:00"), **request) is None


def test_before_the_opening_there_is_nothing_new_to_load():
    early = kst("2026-11-20 08:30")

    assert made(series=Series(), now=early, start=day("2026-11-20")) is None
    assert made(now=early) is None


def test_a_tick_rereads_the_last_settled_session():
    tick = made()

    assert tick.newer == Span(day("2026-11-20"), day("2026-11-19"))
    assert tick.older is None
    assert tick.settled_through == day("2026-11-19")


def test_a_tick_in_the_evening_settles_the_day():
    assert made(now=kst("2026-11-20 20:30")).settled_through == day("2026-11-20")


def test_a_settled_day_is_not_asked_for_again():
    settled = Series(covered_from=day("2026-08-20"), settled_through=day("2026-11-20"))

    assert made(series=settled, now=kst("2026-11-20 21:00")) is None
    assert made(series=settled, now=kst("2026-11-22 12:00")) is None


def test_a_week_rereads_the_last_settled_week():
    settled = Series(covered_from=day("2016-11-20"), settled_through=day("2026-11-13"))

    assert made("1w", settled).newer == Span(day("2026-11-20"), day("2026-11-09"))


def test_an_outage_is_made_good_from_the_last_settled_session():
    back = made(now=kst("2026-12-28 10:00"))

    assert back.newer == Span(day("2026-12-28"), day("2026-11-19"))


def test_a_series_without_a_settled_session_is_read_from_its_start():
    new = Series(covered_from=day("2026-11-20"), oldest=day("2026-11-20"))

    assert made(series=new).newer == Span(day("2026-11-20"), day("2026-11-20"))


def test_an_earlier_start_reads_the_missing_days_and_the_joint():
    deeper = made(mode=Mode.BACKFILL, start=day("2026-07-01"))

    assert deeper.older == Span(day("2026-08-20"), day("2026-07-01"))
    assert deeper.covered_from == day("2026-07-01")


def test_a_covered_range_is_not_asked_for():
    covered = {"start": day("2026-09-01"), "end": day("2026-10-01")}

    assert made(mode=Mode.BACKFILL, **covered) is None


def test_a_range_before_the_covered_one_is_joined_to_it():
    apart = made(
        "1d", mode=Mode.BACKFILL, start=day("2024-01-01"), end=day("2024-02-01")
    )

    assert apart.newer is None
    assert apart.older == Span(day("2026-08-20"), day("2024-01-01"))
    assert apart.settled_through == COVERED.settled_through


def test_exhausted_history_is_not_asked_for_again():
    exhausted = Series(
        covered_from=day("2026-08-20"),
        settled_through=day("2026-11-20"),
        history_exhausted=True,
    )
    deeper = made(
        series=exhausted,
        now=kst("2026-11-20 21:00"),
        mode=Mode.BACKFILL,
        start=day("2020-01-01"),
    )

    assert (deeper.newer, deeper.older) == (None, None)
    assert deeper.covered_from == day("2020-01-01")


def test_a_start_that_adds_only_holidays_costs_nothing():
    series = Series(covered_from=day("2026-08-18"), settled_through=day("2026-11-20"))
    deeper = made(
        series=series,
        now=kst("2026-11-20 21:00"),
        mode=Mode.BACKFILL,
        # 2026-08-17 is a holiday, the days before it a weekend.
        start=day("2026-08-15"),
    )

    assert (deeper.newer, deeper.older) == (None, None)
    assert deeper.covered_from == day("2026-08-15")
