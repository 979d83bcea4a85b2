"""Expected, present, explained: the set arithmetic behind every "complete".

A candle is expected in every slot of the calendar's grid. It is present, or its
absence is explained, or it is missing; there is nothing in between.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.candles import Timeframe
from shared.series import Period
from shared.sessions import DAY, kst_date, midnight, week_of

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Sequence
    from datetime import date, datetime

    from shared.pages import Page
    from shared.sessions import Calendar

# The broker keeps about a year of minutes, and what is older cannot be had again. We
# stay a little inside, because the day on which it ends moves on every night.
MINUTES_KEPT = timedelta(days=360)
# How many rows one request brings at most.
ROWS_PER_PAGE = {timeframe: 900 for timeframe in Timeframe if timeframe.minutes}
ROWS_PER_PAGE |= {Timeframe.DAY_1: 600, Timeframe.WEEK_1: 600}


def expected_slots(
    calendar: Calendar, timeframe: Timeframe, first: date, last: date
) -> set[datetime]:
    """Every slot of the sessions from ``first`` to ``last``, both included."""
    return {
        slot
        for day in calendar.session_dates(first, last)
        for slot in calendar.slots(timeframe, day)
    }


def missing_slots(
    expected: Iterable[datetime],
    present: Container[datetime],
    explained: Container[datetime],
) -> tuple[datetime, ...]:
    """The expected slots that are neither present nor explained, oldest first."""
    return tuple(
        sorted(
            slot for slot in expected if slot not in present and slot not in explained
        )
    )


def absent_slots(
    page: Page, slots: Sequence[datetime], unreadable: Container[datetime]
) -> set[datetime]:
    """The ``slots``, in ascending order, where a page proves that there is no candle.

    Only a slot between two candles of one answer is proven: what lies beyond its ends
    may be in another answer. A row that could not be read is no absence.
    """
    if page.hides_a_candle:
        return set()
    served = {candle.opened_at for candle in page.candles}
    first, beyond = bisect_right(slots, page.oldest), bisect_left(slots, page.newest)
    return {
        slot
        for slot in slots[first:beyond]
        if slot not in served and slot not in unreadable
    }


def complete_periods(
    timeframe: Timeframe,
    pages: Sequence[Page],
    unproven: Collection[datetime] = (),
) -> list[Period]:
    """What the pages of a chain, newest first, tell all about.

    Beyond its newest candle an answer proves nothing: it may be an old one. Nor does
    a page that hides a candle, nor do two pages with an ``unproven`` slot in between.
    """
    periods: list[Period] = []
    beyond = candle_end(timeframe, pages[0].newest)
    for page in pages:
        first = candle_begin(timeframe, page.oldest)
        end = candle_end(timeframe, page.newest)
        if any(end <= slot < beyond for slot in unproven):
            beyond = end
        if page.hides_a_candle:
            pass
        elif periods and periods[-1].first == beyond:
            periods[-1] = Period(first, periods[-1].beyond)
        else:
            periods.append(Period(first, beyond))
        beyond = first
    return periods


def whole_of(periods: Sequence[Period]) -> Period:
    """From the first instant of any period to the last."""
    first = min(period.first for period in periods)
    return Period(first, max(period.beyond for period in periods))


def candle_begin(timeframe: Timeframe, opened_at: datetime) -> datetime:
    """When the candle begins that a row at ``opened_at`` is of.

    A week is one candle, whatever day of it the broker dates it by.
    """
    if timeframe is Timeframe.WEEK_1:
        return midnight(week_of(kst_date(opened_at))[0])
    return opened_at


def first_day(timeframe: Timeframe, listed_on: date) -> date:
    """The first day on which a candle of a stock can open: of a week, its Monday."""
    return week_of(listed_on)[0] if timeframe is Timeframe.WEEK_1 else listed_on


def candle_end(timeframe: Timeframe, opened_at: datetime) -> datetime:
    """When the candle that opens at ``opened_at`` is over."""
    if timeframe.minutes:
        return opened_at + timedelta(minutes=timeframe.minutes)
    day = kst_date(opened_at)
    last = week_of(day)[1] if timeframe is Timeframe.WEEK_1 else day
    return midnight(last + DAY)


def proven_through(
    calendar: Calendar, timeframe: Timeframe, newest: datetime
) -> date | None:
    """The newest session that an answer ending with ``newest`` can tell all about.

    Minutes tell all about a day once the closing auction is among them.
    """
    day = kst_date(newest)
    if timeframe is Timeframe.WEEK_1:
        return calendar.latest(week_of(day)[1])
    session = calendar.session_on(day)
    if timeframe.minutes and session:
        step = timedelta(minutes=timeframe.minutes)
        if newest <= session.closes_at - step:
            return calendar.latest(day - DAY)
    return day


def requests_needed(
    calendar: Calendar, timeframe: Timeframe, first: date, last: date
) -> int:
    """How many requests read the sessions from ``first`` to ``last``, at least one."""
    rows = sum(
        len(calendar.slots(timeframe, day))
        for day in calendar.session_dates(first, last)
    )
    return max(1, -(-rows // ROWS_PER_PAGE[timeframe]))
