"""What to ask the broker for, so that a series has no hole and no request is wasted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.candles import Timeframe
from shared.messages import DEFAULT_DEPTH, CollectRequest
from shared.modes import Mode
from shared.sessions import DAY, Calendar, kst_date, midnight, week_of

if TYPE_CHECKING:
    from datetime import date, datetime

    from shared.series import Series


@dataclass(frozen=True, slots=True)
class Span:
    """Days to read, from ``anchor`` back to ``start``, both included."""

    anchor: date
    start: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The days to read, and what the series covers once they are stored.

    ``newer`` ends at the newest day wanted, ``older`` at the oldest candle we have.
    """

    newer: Span | None
    older: Span | None = None
    covered_from: date
    settled_through: date | None


def plan(
    request: CollectRequest, series: Series, calendar: Calendar, now: datetime
) -> Plan | None:
    """Find the least that satisfies ``request``; None when there is nothing to ask.

    New days are read back to the last settled session, which proves the joint; older
    days are read from the oldest candle we have, for the same reason. A range apart
    from what is covered is joined to it: a series never has a hole.
    """
    if series.covered_from is None:
        return _first_load(request, calendar, now)
    newer = _newer(request, series, series.covered_from, calendar, now)
    older = _older(request, series, series.covered_from, calendar, now)
    wanted = _wanted_start(request, kst_date(now)) or series.covered_from
    covered_from = min(wanted, series.covered_from)
    if newer is None and covered_from == series.covered_from:
        return None
    settled = series.settled_through
    if newer:
        now_settled = calendar.settled_through(request.timeframe, now, newer.anchor)
        settled = max(filter(None, (settled, now_settled)), default=None)
    return Plan(
        newer=newer,
        older=older,
        covered_from=covered_from,
        settled_through=settled,
    )


def _first_load(
    request: CollectRequest, calendar: Calendar, now: datetime
) -> Plan | None:
    """Read everything that is wanted; there is nothing yet to join it to."""
    timeframe, today = request.timeframe, kst_date(now)
    start = request.start or DEFAULT_DEPTH[timeframe].before(today)
    anchor = _anchor(request, now)
    slot = calendar.first_slot(timeframe, start)
    if slot > now or slot >= midnight(anchor + DAY):
        return None
    settled = calendar.settled_through(timeframe, now, anchor)
    return Plan(
        newer=Span(anchor, start),
        covered_from=start,
        settled_through=settled if settled and settled >= start else None,
    )


def _newer(
    request: CollectRequest,
    series: Series,
    covered_from: date,
    calendar: Calendar,
    now: datetime,
) -> Span | None:
    """The days after the last settled session, and the last settled candle's.

    A rebuild looks at that joint although nothing may be new.
    """
    anchor = _anchor(request, now)
    due = calendar.latest_opened(now)
    known = series.settled_through
    if due is None or anchor < covered_from:
        return None
    nothing_new = known and known >= min(due, calendar.latest(anchor) or due)
    if nothing_new and request.mode is not Mode.REBUILD:
        return None
    joint = series.joint or known or covered_from
    return Span(anchor, _first_day(request.timeframe, joint))


def _older(
    request: CollectRequest,
    series: Series,
    covered_from: date,
    calendar: Calendar,
    now: datetime,
) -> Span | None:
    """The days before what is covered, and the oldest candle as the joint."""
    today = kst_date(now)
    start = _wanted_start(request, today)
    if start is None or start >= covered_from or series.history_exhausted:
        return None
    if not any(calendar.session_dates(start, covered_from - DAY)):
        return None
    joint = last_day(request.timeframe, series.oldest or covered_from)
    return Span(min(joint, today), start)


def _anchor(request: CollectRequest, now: datetime) -> date:
    """The newest day to ask for: a candle is never cut off in its middle."""
    today = kst_date(now)
    if request.end is None:
        return today
    return min(last_day(request.timeframe, request.end - DAY), today)


def _wanted_start(request: CollectRequest, today: date) -> date | None:
    """The first day wanted of a series that exists already."""
    if request.start or request.mode is not Mode.BACKFILL:
        return request.start
    return DEFAULT_DEPTH[request.timeframe].before(today)


def _first_day(timeframe: Timeframe, day: date) -> date:
    """The first day of the candle that ``day`` is in."""
    return week_of(day)[0] if timeframe is Timeframe.WEEK_1 else day


def last_day(timeframe: Timeframe, day: date) -> date:
    """The last day of the candle that ``day`` is in."""
    return week_of(day)[1] if timeframe is Timeframe.WEEK_1 else day
