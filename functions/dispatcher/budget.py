"""Keep a verification inside its budget of requests: a slice a week, in turn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from shared.coverage import MINUTES_KEPT, ROWS_PER_PAGE
from shared.messages import DEFAULT_DEPTH
from shared.sessions import DAY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from shared.candles import Timeframe
    from shared.messages import CollectRequest
    from shared.sessions import Calendar

# Sessions that a slice is read beyond its end, to prove its price basis.
OVERLAP_SESSIONS = 3


@dataclass(frozen=True, slots=True)
class _Slice:
    """Days from ``start`` to before ``end``; without bounds it is all of them."""

    start: date | None = None
    end: date | None = None


def within_budget(
    requests: Sequence[CollectRequest], budget: int, calendar: Calendar, today: date
) -> list[CollectRequest]:
    """The share of ``requests`` that is verified this week.

    Every series gets an equal part of the ``budget``, and its slice of days moves on
    from week to week until all of them had their turn. Where the budget is smaller
    than the number of series, the series themselves take turns.
    """
    chosen = _in_turn(requests, budget, today)
    each = budget // len(chosen)
    timeframes = {request.timeframe for request in chosen}
    slices = {
        timeframe: _slice(timeframe, each, calendar, today) for timeframe in timeframes
    }
    return [
        replace(
            request,
            start=slices[request.timeframe].start,
            end=slices[request.timeframe].end,
        )
        for request in chosen
    ]


def _in_turn(
    requests: Sequence[CollectRequest], budget: int, today: date
) -> Sequence[CollectRequest]:
    turns = -(-len(requests) // budget)
    begin = _week(today) % turns * budget
    return requests[begin : begin + budget]


def _slice(
    timeframe: Timeframe, budget: int, calendar: Calendar, today: date
) -> _Slice:
    """The days whose turn it is."""
    first = DEFAULT_DEPTH[timeframe].before(today)
    if timeframe.minutes:
        first = today - MINUTES_KEPT
    sessions = list(calendar.session_dates(first, today - DAY))
    rows = max(1, len(calendar.slots(timeframe, sessions[-1])))
    length = max(1, budget * ROWS_PER_PAGE[timeframe] // rows - OVERLAP_SESSIONS)
    turns = -(-len(sessions) // length)
    if turns == 1:
        return _Slice()
    begin = _week(today) % turns * length
    days = list(islice(sessions, begin, begin + length))
    return _Slice(days[0], days[-1] + DAY)


def _week(day: date) -> int:
    """Weeks are counted from Sunday to Saturday."""
    return day.toordinal() // 7
