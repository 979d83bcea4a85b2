"""How many requests a task will need: arithmetic over the calendar, no broker."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from shared.candles import Timeframe
from shared.messages import DEFAULT_DEPTH
from shared.modes import Mode

if TYPE_CHECKING:
    from datetime import date

    from shared.sessions import Calendar

# Rows in a full page of the broker: minutes (ka10080), days and weeks (ka10081, 82).
MINUTE_ROWS, DAY_ROWS = 900, 600


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskShape:
    """What decides how many requests a task needs; tasks of one shape need as many.

    ``start`` is the first day in Seoul that the request names; ``covered_from`` and
    ``settled_through`` are what the series has already.
    """

    timeframe: Timeframe
    mode: Mode
    start: date | None = None
    covered_from: date | None = None
    settled_through: date | None = None
    listed: bool = True


class Estimator:
    """Estimates requests at a day in Seoul; a first load is estimated exactly."""

    def __init__(self, calendar: Calendar) -> None:
        """Count the candles that ``calendar`` expects."""
        self._calendar = calendar
        self._pages = lru_cache(maxsize=4096)(self._count_pages)

    def requests(self, shape: TaskShape, today: date) -> int:
        """Requests that a task of this shape is going to need, at least 1."""
        if not shape.listed:
            return 1
        wanted = self._wanted_start(shape, today)
        if shape.covered_from is None:
            start = wanted or DEFAULT_DEPTH[shape.timeframe].before(today)
            return self._pages(shape.timeframe, start, today)
        if shape.mode is Mode.REPAIR:
            return 1
        if shape.mode in {Mode.VERIFY, Mode.REBUILD}:
            first = max(wanted or shape.covered_from, shape.covered_from)
            return self._pages(shape.timeframe, first, today)
        known = shape.settled_through or shape.covered_from
        newer = self._pages(shape.timeframe, min(known, today), today)
        if wanted is None or wanted >= shape.covered_from:
            return newer
        return newer + self._pages(shape.timeframe, wanted, shape.covered_from)

    @staticmethod
    def _wanted_start(shape: TaskShape, today: date) -> date | None:
        if shape.start or shape.mode is not Mode.BACKFILL:
            return shape.start
        return DEFAULT_DEPTH[shape.timeframe].before(today)

    def _count_pages(self, timeframe: Timeframe, first: date, last: date) -> int:
        known = self._calendar
        days = known.session_dates(max(first, known.first), min(last, known.last))
        if timeframe is Timeframe.DAY_1:
            candles, rows = sum(1 for _ in days), DAY_ROWS
        elif timeframe is Timeframe.WEEK_1:
            candles, rows = len({day.isocalendar()[:2] for day in days}), DAY_ROWS
        else:
            slots = (len(self._calendar.slots(timeframe, day)) for day in days)
            candles, rows = sum(slots), MINUTE_ROWS
        return max(1, math.ceil(candles / rows))
