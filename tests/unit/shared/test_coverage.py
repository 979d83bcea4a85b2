"""Expected, present, explained: nothing is in between."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.candles import RejectedRow, Timeframe
from shared.coverage import (
    absent_slots,
    complete_periods,
    expected_slots,
    missing_slots,
    proven_through,
    requests_needed,
    whole_of,
)
from shared.pages import Page
from shared.series import Period
from tests.support.builders import CALENDAR, a_candle, day, kst

WEEK = [kst(f"2026-11-{n}") for n in (16, 17, 18, 19, 20)]
MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY = WEEK


def a_page(*instants):
    return Page(candles=tuple(a_candle(opened_at=at) for at in instants))


def test_every_slot_of_every_session_is_expected():
    days = expected_slots(
        CALENDAR, Timeframe.DAY_1, day("2026-11-13"), day("2026-11-20")
    )
    hours = expected_slots(
        CALENDAR, Timeframe.MINUTE_60, day("2026-11-17"), day("2026-11-18")
    )

    assert days == {kst("2026-11-13"), *WEEK}
    assert len(hours) == 2 * len(CALENDAR.slots(Timeframe.MINUTE_60, day("2026-11-17")))


def test_a_week_is_expected_on_its_first_session():
    weeks = expected_slots(
        CALENDAR, Timeframe.WEEK_1, day("2026-10-05"), day("2026-10-16")
    )

    # 2026-10-05 is a holiday.
    assert weeks == {kst("2026-10-06"), kst("2026-10-12")}


def test_what_is_neither_present_nor_explained_is_missing():
    missing = missing_slots(reversed(WEEK), {MONDAY, WEDNESDAY}, {FRIDAY})

    assert missing == (TUESDAY, THURSDAY)


def test_a_slot_between_two_rows_of_a_page_is_absent():
    page = a_page(MONDAY, WEDNESDAY, FRIDAY)

    assert absent_slots(page, WEEK, set()) == {TUESDAY, THURSDAY}


def test_beyond_its_rows_a_page_proves_nothing():
    assert absent_slots(a_page(TUESDAY, THURSDAY), WEEK, set()) == {WEDNESDAY}
    assert absent_slots(a_page(WEDNESDAY), WEEK, set()) == set()


def test_a_row_that_could_not_be_read_is_no_absence():
    page = a_page(MONDAY, FRIDAY)

    assert absent_slots(page, WEEK, {TUESDAY}) == {WEDNESDAY, THURSDAY}


@pytest.mark.parametrize(
    ("timeframe", "newest", "beyond"),
    [
        (Timeframe.MINUTE_5, "2026-11-20 10:30", "2026-11-20 10:35"),
        (Timeframe.DAY_1, "2026-11-20", "2026-11-21"),
        # Whatever day its candle is dated, a week ends with its Sunday.
        (Timeframe.WEEK_1, "2026-11-17", "2026-11-23"),
    ],
)
def test_a_reading_is_complete_to_the_end_of_its_newest_candle(
    timeframe, newest, beyond
):
    page = a_page(kst(newest), MONDAY)

    assert complete_periods(timeframe, [page]) == [Period(MONDAY, kst(beyond))]


def test_the_oldest_week_of_a_reading_is_whole_whatever_day_it_is_dated_by():
    pages = [a_page(FRIDAY, TUESDAY), a_page(kst("2026-11-12"), kst("2026-11-10"))]

    assert complete_periods(Timeframe.WEEK_1, pages) == [
        Period(kst("2026-11-09"), kst("2026-11-23"))
    ]


def test_the_pages_of_a_chain_are_complete_together():
    pages = [a_page(FRIDAY, THURSDAY), a_page(TUESDAY, MONDAY)]

    assert complete_periods(Timeframe.DAY_1, pages) == [
        Period(MONDAY, kst("2026-11-21"))
    ]


def test_a_page_with_a_row_that_does_not_tell_its_time_proves_nothing():
    """Its candle may be anywhere in it."""
    hidden = replace(
        a_page(WEDNESDAY, MONDAY), rejected=(RejectedRow(reason="no date", raw="{}"),)
    )
    pages = [a_page(FRIDAY, THURSDAY), hidden, a_page(kst("2026-11-13"))]

    assert absent_slots(hidden, WEEK, set()) == set()
    assert complete_periods(Timeframe.DAY_1, pages) == [
        Period(THURSDAY, kst("2026-11-21")),
        Period(kst("2026-11-13"), MONDAY),
    ]


def test_a_row_that_has_no_place_in_the_calendar_hides_nothing():
    row = RejectedRow(reason="no such day", raw="{}", spoilt=False)
    page = replace(a_page(WEDNESDAY, MONDAY), rejected=(row,))

    assert absent_slots(page, WEEK, set()) == {TUESDAY}


def test_the_whole_of_periods_is_from_the_first_to_the_last():
    periods = [Period(TUESDAY, WEDNESDAY), Period(MONDAY, TUESDAY)]

    assert whole_of(periods) == Period(MONDAY, WEDNESDAY)


@pytest.mark.parametrize(
    ("timeframe", "newest", "through"),
    [
        (Timeframe.DAY_1, "2026-11-19", "2026-11-19"),
        (Timeframe.WEEK_1, "2026-11-16", "2026-11-20"),
        # The closing auction is at 15:30.
        (Timeframe.MINUTE_5, "2026-11-18 15:30", "2026-11-18"),
        (Timeframe.MINUTE_5, "2026-11-18 15:15", "2026-11-17"),
        (Timeframe.MINUTE_5, "2026-11-18 19:55", "2026-11-18"),
        (Timeframe.MINUTE_60, "2026-11-18 15:00", "2026-11-18"),
        (Timeframe.MINUTE_60, "2026-11-18 14:00", "2026-11-17"),
        # On the day of the university entrance exam it is an hour later.
        (Timeframe.MINUTE_5, "2026-11-19 15:30", "2026-11-18"),
        (Timeframe.MINUTE_5, "2026-11-19 16:30", "2026-11-19"),
        (Timeframe.MINUTE_60, "2026-11-16 10:00", "2026-11-13"),
    ],
)
def test_a_session_is_proven_by_a_candle_at_its_end(timeframe, newest, through):
    assert proven_through(CALENDAR, timeframe, kst(newest)) == day(through)


@pytest.mark.parametrize(
    ("timeframe", "first", "last", "requests"),
    [
        (Timeframe.DAY_1, "2026-11-20", "2026-11-20", 1),
        (Timeframe.DAY_1, "2023-01-02", "2026-11-20", 2),
        # 126 candles a session: seven sessions are one page.
        (Timeframe.MINUTE_5, "2026-11-12", "2026-11-20", 1),
        (Timeframe.MINUTE_5, "2026-11-10", "2026-11-20", 2),
        (Timeframe.DAY_1, "2026-11-21", "2026-11-22", 1),
    ],
)
def test_pages_are_counted_by_the_slots_in_them(timeframe, first, last, requests):
    assert requests_needed(CALENDAR, timeframe, day(first), day(last)) == requests
