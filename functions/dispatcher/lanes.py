"""Choose the lane of each request: live, or history where it needs many pages."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shared.coverage import requests_needed
from shared.lanes import Lane, lane_of
from shared.series import Coverage
from shared.sessions import DAY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    from shared.candles import Timeframe
    from shared.messages import CollectRequest
    from shared.sessions import Calendar

    Reader = Callable[
        [Sequence[str], Sequence[Timeframe]], dict[tuple[str, Timeframe], Coverage]
    ]

# A live task brings a page or two; after an outage of some days, one more.
MOST_LIVE_PAGES = 3


def in_lanes(
    requests: Sequence[CollectRequest],
    coverage: Reader,
    calendar: Calendar,
    today: date,
) -> list[CollectRequest]:
    """The same requests, each in its lane.

    ``coverage`` reads what is known of the series. One that was never loaded is
    history, however short it may turn out to be: no one knows yet.
    """
    live = [request for request in requests if lane_of(request.mode) is Lane.LIVE]
    known: dict[tuple[str, Timeframe], Coverage] = {}
    if live:
        codes = dict.fromkeys(request.stock_code for request in live)
        timeframes = dict.fromkeys(request.timeframe for request in live)
        known = coverage(list(codes), list(timeframes))
    pages = _Pages(calendar, today)

    def lane(request: CollectRequest) -> Lane:
        if lane_of(request.mode) is Lane.HISTORY:
            return Lane.HISTORY
        series = known.get((request.stock_code, request.timeframe), Coverage())
        if series.ended and not request.force:
            # There is nothing to read.
            return Lane.LIVE
        first = _first_day_read(request, series)
        if first is None or pages.since(request.timeframe, first) > MOST_LIVE_PAGES:
            return Lane.HISTORY
        return Lane.LIVE

    return [replace(request, lane=lane(request)) for request in requests]


def _first_day_read(request: CollectRequest, series: Coverage) -> date | None:
    """The oldest day that the plan of the collector will read, roughly.

    None for a first load.
    """
    if series.covered_from is None:
        return None
    if request.force:
        return request.start or series.covered_from
    if request.start and request.start < series.covered_from:
        return request.start
    if series.settled_through:
        return series.settled_through + DAY
    return series.covered_from


class _Pages:
    """Counts pages; most series of a run begin on the same day."""

    def __init__(self, calendar: Calendar, today: date) -> None:
        self._calendar = calendar
        self._last = min(today, calendar.last)
        self._counted: dict[tuple[Timeframe, date], int] = {}

    def since(self, timeframe: Timeframe, first: date) -> int:
        # What the calendar does not know, the collector complains of.
        first = max(first, self._calendar.first)
        key = timeframe, first
        if key not in self._counted:
            self._counted[key] = requests_needed(
                self._calendar, timeframe, first, self._last
            )
        return self._counted[key]
