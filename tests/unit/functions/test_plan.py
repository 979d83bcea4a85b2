"""What is requested of the broker, and what is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from functions.collector.plan import Span, asked_from, is_contradicted, plan
from shared.errors import BeyondRetention
from shared.modes import Mode
from shared.series import Attempt, Series
from tests.support.builders import CALENDAR, a_request, day, kst

NOW = kst("2026-11-20 10:30")
NEXT_MORNING = kst("2026-11-21 08:00")
COVERED = Series(
    covered_from=day("2026-08-20"),
    wanted_from=day("2026-08-20"),
    settled_through=day("2026-11-19"),
    oldest=day("2026-08-20"),
    version=1,
)
SETTLED = replace(COVERED, settled_through=day("2026-11-20"))


def an_attempt(
    timeframe="5m", series=COVERED, *, known_from=None, moved_on=None, **request
):
    return Attempt(
        request=a_request(timeframe, **request),
        owner="me",
        series=series,
        listed=True,
        known_from=known_from,
        moved_on=moved_on,
    )


def made(timeframe="5m", series=COVERED, now=NOW, **values):
    return plan(an_attempt(timeframe, series, **values), CALENDAR, now)


# First loads


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
    assert (first.wanted_from, first.asked_from) == (day(start), day(start))


def test_a_first_load_of_a_range_in_the_past_is_read_from_today():
    """Only prices that are relative to today are on the basis of today."""
    past = made("1d", Series(), start=day("2024-01-01"), end=day("2025-01-01"))

    assert past.newer == Span(day("2026-11-20"), day("2024-01-01"))


@pytest.mark.parametrize(
    ("timeframe", "start"),
    [("5m", "2026-11-21"), ("1d", "2026-11-21"), ("1w", "2026-11-17")],
)
def test_a_first_load_without_a_session_asks_for_nothing(timeframe, start):
    evening = kst("2026-11-20 21:00")

    assert made(timeframe, Series(), now=evening, start=day(start)) is None


def test_before_the_opening_there_is_nothing_new_to_load():
    early = kst("2026-11-20 08:30")

    assert made(series=Series(), now=early, start=day("2026-11-20")) is None
    assert made(now=early) is None


# Newer days


def test_a_tick_reads_back_to_what_is_settled():
    tick = made()

    assert tick.newer == Span(day("2026-11-20"), day("2026-11-20"))
    assert tick.older is None
    assert tick.asked_from == day("2026-11-20")


def test_a_morning_tick_settles_the_session_before():
    assert made(now=NEXT_MORNING).newer == Span(day("2026-11-21"), day("2026-11-20"))
    assert made(series=SETTLED, now=NEXT_MORNING) is None


@pytest.mark.parametrize(
    "now", ["2026-11-21 12:00", "2026-11-22 12:00", "2026-11-23 08:00"]
)
def test_a_settled_session_is_not_requested_again_before_the_next_opens(now):
    assert made(series=SETTLED, now=kst(now)) is None


def test_a_session_that_is_being_read_is_read_again_the_same_evening():
    assert made(now=kst("2026-11-20 23:00")).newer.anchor == day("2026-11-20")


def test_an_outage_is_made_good_from_the_last_settled_session():
    back = made(now=kst("2026-12-28 10:00"))

    assert back.newer == Span(day("2026-12-28"), day("2026-11-20"))


def test_a_series_without_a_settled_session_is_read_from_its_start():
    new = replace(COVERED, settled_through=None)

    assert made(series=new).newer == Span(day("2026-11-20"), day("2026-08-20"))


def test_new_days_are_read_to_the_end_of_the_request():
    later = kst("2026-12-10 10:00")

    assert made(
        now=later, start=day("2026-11-23"), end=day("2026-11-28")
    ).newer == Span(day("2026-11-27"), day("2026-11-20"))


def test_a_week_is_never_cut_off_in_its_middle():
    weeks = replace(COVERED, settled_through=day("2026-11-06"))
    made_week = made("1w", weeks, start=day("2026-11-02"), end=day("2026-11-11"))

    assert made_week.newer == Span(day("2026-11-15"), day("2026-11-07"))


# Older days


def test_an_earlier_start_reads_the_missing_days_and_three_of_ours():
    deeper = made(mode=Mode.BACKFILL, start=day("2026-07-01"))

    assert deeper.older == Span(day("2026-08-24"), day("2026-07-01"))
    assert (deeper.wanted_from, deeper.asked_from) == (
        day("2026-07-01"),
        day("2026-07-01"),
    )


def test_older_weeks_are_read_with_three_of_ours():
    weeks = replace(COVERED, oldest=day("2026-08-17"), covered_from=day("2026-08-17"))

    deeper = made("1w", weeks, mode=Mode.BACKFILL, start=day("2026-01-05"))

    assert deeper.older == Span(day("2026-09-06"), day("2026-01-05"))


def test_a_backfill_without_a_start_wants_the_usual_depth():
    short = replace(COVERED, covered_from=day("2026-10-01"), oldest=day("2026-10-01"))

    assert made(series=short, mode=Mode.BACKFILL).older.start == day("2026-08-20")


def test_a_covered_range_is_not_requested():
    covered = {"start": day("2026-09-01"), "end": day("2026-10-01")}

    assert made(mode=Mode.BACKFILL, **covered) is None


def test_a_range_before_the_covered_one_is_joined_to_it():
    apart = made(
        "1d", mode=Mode.BACKFILL, start=day("2024-01-01"), end=day("2024-02-01")
    )

    assert apart.newer is None
    assert apart.older == Span(day("2026-08-24"), day("2024-01-01"))


def test_days_that_were_wanted_before_are_wanted_by_every_tick():
    """An answer that ended too soon left them out."""
    short = replace(SETTLED, wanted_from=day("2026-07-01"))

    assert made("1d", short, now=NEXT_MORNING).older == Span(
        day("2026-08-24"), day("2026-07-01")
    )


def test_a_start_that_adds_only_holidays_costs_nothing():
    series = replace(SETTLED, covered_from=day("2026-08-18"), oldest=day("2026-08-18"))

    # 2026-08-17 is a holiday, the days before it a weekend.
    wanted = {"mode": Mode.BACKFILL, "start": day("2026-08-15")}

    assert made(series=series, now=NEXT_MORNING, **wanted) is None


def test_minutes_that_the_broker_no_longer_keeps_are_not_requested():
    old = replace(SETTLED, covered_from=day("2025-11-20"), oldest=day("2025-11-20"))
    wanted = {"now": NEXT_MORNING, "mode": Mode.BACKFILL, "start": day("2025-06-02")}

    assert made("60m", old, **wanted) is None
    assert made("1d", old, **wanted).older is not None


@pytest.mark.parametrize("mode", [Mode.BACKFILL, Mode.VERIFY, Mode.INCREMENTAL])
def test_a_range_of_minutes_that_are_lost_is_refused(mode):
    lost = {"start": day("2024-01-02"), "end": day("2025-11-25"), "mode": mode}

    for series in (Series(), COVERED):
        with pytest.raises(BeyondRetention, match="days or weeks instead"):
            made("5m", series, **lost)


def test_a_range_of_minutes_at_the_edge_of_retention_is_read():
    edge = {"start": day("2024-01-02"), "mode": Mode.BACKFILL}

    assert made("5m", Series(), end=day("2025-11-26"), **edge)
    assert made("1d", Series(), end=day("2025-11-25"), **edge)


# The end of history


def an_end(seen, *, exhausted=False):
    return replace(
        SETTLED,
        wanted_from=day("2026-01-02"),
        end_seen_on=day(seen),
        history_exhausted=exhausted,
    )


def looks_for_the_end(series, *, now=NEXT_MORNING, **values):
    todo = made("1d", series, now=now, **values)
    return todo is not None and todo.older is not None


def test_an_end_that_was_seen_today_is_not_looked_for_again_today():
    assert not looks_for_the_end(an_end("2026-11-21"))


def test_an_end_that_was_seen_once_is_confirmed_on_another_day():
    assert looks_for_the_end(an_end("2026-11-20"))


def test_an_exhausted_history_is_not_requested_again():
    exhausted = an_end("2026-11-20", exhausted=True)

    assert not looks_for_the_end(exhausted)
    assert not looks_for_the_end(exhausted, mode=Mode.BACKFILL, start=day("2020-01-02"))


def test_after_half_a_year_an_exhausted_history_is_looked_at_again():
    seen = an_end("2026-05-24", exhausted=True)
    # Once it is exhausted, all that was wanted is covered.
    covered = {"covered_from": seen.wanted_from, "oldest": SETTLED.covered_from}

    assert looks_for_the_end(replace(seen, **covered))
    assert looks_for_the_end(seen)
    assert not looks_for_the_end(
        replace(seen, **covered, end_seen_on=day("2026-05-25"))
    )


def test_a_tick_waits_a_week_where_an_end_is_contradicted():
    older = {"known_from": day("2020-01-02")}

    assert not looks_for_the_end(an_end("2026-11-15"), **older)
    assert looks_for_the_end(an_end("2026-11-14"), **older)


def test_an_operator_does_not_wait_where_an_end_is_contradicted():
    older = {"known_from": day("2020-01-02"), "mode": Mode.BACKFILL}

    assert looks_for_the_end(an_end("2026-11-20"), start=day("2026-01-02"), **older)


@pytest.mark.parametrize(
    ("timeframe", "known_from", "oldest", "contradicted"),
    [
        ("1d", None, "2026-08-20", False),
        ("1d", "2026-08-06", "2026-08-20", False),
        ("1d", "2026-08-05", "2026-08-20", True),
        # Minutes end a year back, whatever the stock.
        ("60m", "2011-01-03", "2025-12-10", False),
        ("60m", "2011-01-03", "2026-08-20", True),
    ],
)
def test_what_is_known_to_be_older_contradicts_an_end(
    timeframe, known_from, oldest, contradicted
):
    attempt = an_attempt(timeframe, known_from=known_from and day(known_from))

    assert is_contradicted(attempt, day(oldest), day("2026-11-20")) is contradicted


# Whatever is believed


def test_a_rebuild_reads_all_that_was_ever_wanted_from_today():
    wanted = replace(SETTLED, wanted_from=day("2026-07-01"))

    whole = made(series=wanted, mode=Mode.REBUILD, now=NEXT_MORNING)

    assert whole.newer == Span(day("2026-11-21"), day("2026-07-01"))
    assert whole.older is None
    assert whole.asked_from == day("2026-08-20")


def test_a_verify_reads_the_covered_range_although_all_is_settled():
    again = made(series=SETTLED, mode=Mode.VERIFY, now=NEXT_MORNING)

    assert again.newer == Span(day("2026-11-21"), day("2026-08-20"))


def test_a_verify_of_a_range_reads_three_sessions_more_for_the_proof():
    span = {"start": day("2026-09-01"), "end": day("2026-09-05")}

    again = made(series=SETTLED, mode=Mode.VERIFY, now=NEXT_MORNING, **span)

    assert again.newer == Span(day("2026-09-09"), day("2026-09-01"))
    assert again.wanted_from == day("2026-08-20")


@pytest.mark.parametrize("mode", [Mode.VERIFY, Mode.BACKFILL])
def test_days_from_before_a_known_action_are_read_from_today(mode):
    span = {"start": day("2026-09-01"), "end": day("2026-09-05")}
    series = replace(SETTLED, settled_through=day("2026-08-31"))

    before = made(series=series, mode=mode, moved_on=day("2026-09-10"), **span)
    after = made(series=series, mode=mode, moved_on=day("2026-09-04"), **span)

    assert before.newer == Span(day("2026-11-20"), day("2026-09-01"))
    assert after.newer.anchor < day("2026-09-10")


def test_what_we_do_not_have_is_not_verified():
    span = {"start": day("2020-01-02"), "end": SETTLED.covered_from}

    assert made(series=SETTLED, mode=Mode.VERIFY, **span) is None


def test_a_verify_asks_for_nothing_older_than_what_is_covered():
    again = made(series=SETTLED, mode=Mode.VERIFY, start=day("2020-01-02"))

    assert (again.newer.start, again.wanted_from) == (
        day("2026-08-20"),
        day("2026-08-20"),
    )


def test_force_asks_for_days_whose_history_is_exhausted():
    exhausted = an_end("2026-11-20", exhausted=True)

    again = made(
        "1d", exhausted, mode=Mode.BACKFILL, start=day("2025-01-02"), force=True
    )

    assert again.newer == Span(day("2026-11-20"), day("2025-01-02"))
    assert again.wanted_from == day("2025-01-02")


def test_force_before_what_is_covered_is_read_from_today():
    """No candle of ours in such a range would prove its basis."""
    again = made(
        "1d",
        SETTLED,
        mode=Mode.BACKFILL,
        start=day("2025-01-02"),
        end=day("2025-02-01"),
        force=True,
    )

    assert again.newer == Span(day("2026-11-20"), day("2025-01-02"))


# What a task answers for


@pytest.mark.parametrize(
    ("request_", "first"),
    [
        ({}, "2026-11-20"),
        ({"start": day("2026-09-01")}, "2026-09-01"),
        ({"mode": Mode.BACKFILL}, "2026-08-20"),
        ({"mode": Mode.REBUILD}, "2026-08-20"),
        ({"mode": Mode.VERIFY}, "2026-08-20"),
    ],
)
def test_a_task_answers_for_the_days_that_it_was_requested_for(request_, first):
    request = a_request("5m", **request_)

    assert asked_from(request, COVERED, day("2026-11-20")) == day(first)


def test_a_tick_of_a_series_without_a_settled_session_answers_for_all_of_it():
    series = replace(COVERED, settled_through=None)

    assert asked_from(a_request(), series, day("2026-11-20")) == day("2026-08-20")
