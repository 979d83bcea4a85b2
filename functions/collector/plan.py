"""What to request from the broker: no hole in the series, no wasted request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING

from shared.candles import Timeframe
from shared.coverage import MINUTES_KEPT
from shared.errors import BeyondRetention
from shared.messages import DEFAULT_DEPTH, CollectRequest
from shared.modes import Mode
from shared.sessions import DAY, Calendar, kst_date, midnight, week_of

if TYPE_CHECKING:
    from datetime import date, datetime

    from shared.series import Attempt, Series

# With this many stored sessions, an older range proves its price basis.
OVERLAP_SESSIONS = 3
# A contradicted end of history must be seen again after this time.
CONTRADICTED_END = timedelta(days=7)
# After this time, the end of history is checked once more.
END_BELIEVED_FOR = timedelta(days=180)
# If another source knows days older by more than this, the end is contradicted.
TOLERATED_GAP = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Span:
    """Days to read, from ``anchor`` back to ``start``, both included."""

    anchor: date
    start: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The days to read; together they leave no hole in the series.

    ``newer`` ends at the newest day wanted, ``older`` at the oldest candles we have.
    The task answers for the days from ``asked_from`` on; ``wanted_from`` is the first
    day that was ever wanted of the series.
    """

    newer: Span | None
    older: Span | None = None
    wanted_from: date
    asked_from: date


def plan(attempt: Attempt, calendar: Calendar, now: datetime) -> Plan | None:
    """Find the least that satisfies the request; None when there is nothing to ask.

    New days are read back to the last settled session, and further where that proves
    no price basis; older days are read from the oldest candles we have. A range apart
    from what is covered is joined to it: a series never has a hole.

    Raises:
        BeyondRetention: If the range is one of minutes that the broker no longer keeps.
    """
    request, series = attempt.request, attempt.series
    _refuse_lost_minutes(request, series, kst_date(now))
    if series.covered_from is None:
        return _first_load(request, calendar, now)
    if request.mode is Mode.REBUILD:
        return _whole(series.covered_from, series, now)
    if request.mode is Mode.VERIFY and _ends_by(request, series.covered_from):
        return None
    if request.mode is Mode.VERIFY or request.force:
        return _again(attempt, series.covered_from, calendar, now)
    newer = _newer(attempt, series.covered_from, calendar, now)
    older = _older(attempt, series.covered_from, calendar, now)
    if newer is None and older is None:
        return None
    wanted_from = min(
        filter(None, (series.wanted_from, older.start if older else None))
    )
    if newer and older and newer.anchor == older.anchor:
        newer, older = older, None
    return Plan(
        newer=newer,
        older=older,
        wanted_from=wanted_from,
        asked_from=asked_from(request, series, kst_date(now)),
    )


def asked_from(request: CollectRequest, series: Series, today: date) -> date:
    """The first day that a task on an existing series answers for."""
    assert series.covered_from is not None
    if request.start and request.mode is Mode.VERIFY:
        # What we do not have cannot be verified.
        return max(request.start, series.covered_from)
    if request.start:
        return request.start
    if request.mode is Mode.BACKFILL:
        return DEFAULT_DEPTH[request.timeframe].before(today)
    if request.mode is Mode.INCREMENTAL and series.settled_through:
        return series.settled_through + DAY
    return series.covered_from


def is_contradicted(attempt: Attempt, oldest: date, today: date) -> bool:
    """Whether the stock is known to be older than the broker's history says.

    Minutes end a year back whatever the stock, so an end there is contradicted only
    while the year is not over.
    """
    if attempt.known_from is None or oldest - attempt.known_from <= TOLERATED_GAP:
        return False
    minutes = attempt.request.timeframe.minutes
    return not minutes or oldest > today - MINUTES_KEPT + 2 * TOLERATED_GAP


def on_our_basis(attempt: Attempt, anchor: date, today: date) -> date:
    """The day to read from so that prices are on today's basis, as ours are.

    An answer from a day before a corporate action is on the basis of that day.
    """
    moved_on = attempt.moved_on
    return today if moved_on and anchor < moved_on else min(anchor, today)


def last_day(timeframe: Timeframe, day: date) -> date:
    """The last day of the candle that ``day`` is in."""
    return week_of(day)[1] if timeframe is Timeframe.WEEK_1 else day


def overlap_end(
    timeframe: Timeframe, first: date, calendar: Calendar, today: date
) -> date:
    """The day on which enough candles from ``first`` on are over."""
    if timeframe is Timeframe.WEEK_1:
        return min(week_of(first)[1] + 7 * DAY * (OVERLAP_SESSIONS - 1), today)
    days = list(islice(calendar.session_dates(first, today), OVERLAP_SESSIONS))
    return days[-1] if days else today


def _refuse_lost_minutes(request: CollectRequest, series: Series, today: date) -> None:
    kept_from = today - MINUTES_KEPT
    if not request.timeframe.minutes or not request.end or request.end > kept_from:
        return
    if series.covered_from is None or request.end <= series.covered_from:
        message = f"{request.timeframe} candles before {request.end} are older than "
        message += "the year that the broker keeps; request days or weeks instead"
        raise BeyondRetention(message)


def _first_load(
    request: CollectRequest, calendar: Calendar, now: datetime
) -> Plan | None:
    """Read all that is wanted, from today on: only today's prices are on its basis."""
    today = kst_date(now)
    start = request.start or DEFAULT_DEPTH[request.timeframe].before(today)
    slot = calendar.first_slot(request.timeframe, start)
    if slot > now or slot >= midnight(today + DAY):
        return None
    return Plan(newer=Span(today, start), wanted_from=start, asked_from=start)


def _ends_by(request: CollectRequest, day: date) -> bool:
    return request.end is not None and request.end <= day


def _whole(covered_from: date, series: Series, now: datetime) -> Plan:
    start = min(filter(None, (series.wanted_from, covered_from)))
    return Plan(
        newer=Span(kst_date(now), start), wanted_from=start, asked_from=covered_from
    )


def _again(
    attempt: Attempt, covered_from: date, calendar: Calendar, now: datetime
) -> Plan:
    """Read a range although it is covered, with some days after it for the proof."""
    request, series = attempt.request, attempt.series
    start = request.start or covered_from
    wanted_from = min(filter(None, (series.wanted_from, covered_from)))
    if request.mode is Mode.VERIFY:
        start = max(start, covered_from)
    anchor = kst_date(now)
    if request.end and request.end > covered_from:
        anchor = overlap_end(request.timeframe, request.end, calendar, anchor)
    return Plan(
        newer=Span(on_our_basis(attempt, anchor, kst_date(now)), start),
        wanted_from=min(wanted_from, start),
        asked_from=start,
    )


def _newer(
    attempt: Attempt, covered_from: date, calendar: Calendar, now: datetime
) -> Span | None:
    """The days after the last settled session."""
    request, series = attempt.request, attempt.series
    anchor = _anchor(request, now)
    due = calendar.latest_opened(now)
    known = series.settled_through
    if due is None or anchor < covered_from:
        return None
    if known and known >= min(due, calendar.latest(anchor) or due):
        return None
    start = known + DAY if known else covered_from
    if series.unproven_on and series.newest:
        # The whole series is read again once a day, not with every tick.
        start = kst_date(series.newest)
    return Span(on_our_basis(attempt, anchor, kst_date(now)), start)


def _older(
    attempt: Attempt, covered_from: date, calendar: Calendar, now: datetime
) -> Span | None:
    """The days before what is covered, and some stored candles for the proof."""
    request, series = attempt.request, attempt.series
    today = kst_date(now)
    oldest = series.oldest or covered_from
    start = _wanted_start(request, series, today)
    expired = series.end_seen_on and today - series.end_seen_on > END_BELIEVED_FOR
    if series.history_exhausted and not expired:
        return None
    # An end that was believed for long is looked for where our candles end.
    begin = oldest if series.history_exhausted else covered_from
    if start >= begin:
        return None
    if request.timeframe.minutes and oldest < today - MINUTES_KEPT:
        return None
    if series.end_seen_on:
        patient = request.mode is Mode.INCREMENTAL
        contradicted = patient and is_contradicted(attempt, oldest, today)
        if today < series.end_seen_on + (CONTRADICTED_END if contradicted else DAY):
            return None
    if not any(calendar.session_dates(start, begin - DAY)):
        return None
    anchor = overlap_end(request.timeframe, oldest, calendar, today)
    return Span(on_our_basis(attempt, anchor, today), start)


def _anchor(request: CollectRequest, now: datetime) -> date:
    """The newest day to request: a candle is never cut in half."""
    today = kst_date(now)
    if request.end is None:
        return today
    return min(last_day(request.timeframe, request.end - DAY), today)


def _wanted_start(request: CollectRequest, series: Series, today: date) -> date:
    """The first day that was ever wanted of a series, by this request or another."""
    start = request.start
    if request.mode is Mode.BACKFILL:
        start = asked_from(request, series, today)
    return min(filter(None, (start, series.wanted_from, series.covered_from)))
