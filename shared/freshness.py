"""When a candle is due, by the market's clock and the schedules.

A candle is due at the first tick at or after its end, plus a little time in which the
broker completes it. What counts is that the broker was *asked* since it was complete: a
stock that no one trades is never late, and neither is one that was asked for between
two ticks.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from shared.candles import Timeframe
from shared.coverage import candle_end
from shared.cron import Cron
from shared.errors import CalendarUnknown
from shared.sessions import DAY, kst_date, midnight, week_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import date, datetime

    from shared.sessions import Calendar

# After its end, the broker completes a candle within this time.
COMPLETION = timedelta(seconds=90)
# A tick has this long to be worked off before what it was for is late.
PATIENCE = timedelta(seconds=90)
# The search for the last due time ends here: a week and the longest holidays.
LONGEST_SILENCE = timedelta(weeks=4)
# The finest grid ends when trading does.
FINEST = Timeframe.MINUTE_5


class Scheduled(Protocol):
    """When something is published, and what."""

    @property
    def cron(self) -> str:
        """A cron expression, in Seoul."""

    @property
    def payload(self) -> Mapping[str, Any]:
        """The message."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A schedule that asks for new candles of these timeframes of all targets."""

    cron: Cron
    timeframes: frozenset[Timeframe]

    @classmethod
    def of(cls, cron: str, payload: Mapping[str, Any]) -> Tick | None:
        """The tick that a schedule for ``triggers`` fires; None if it is another run.

        Raises:
            ValueError: If the cron expression or a timeframe is not one.
        """
        if payload.keys() - {"timeframe", "timeframes"}:
            return None
        named = payload.get("timeframes", [payload.get("timeframe")])
        return cls(Cron.parse(cron), frozenset(map(Timeframe, named)))

    @classmethod
    def all_of(cls, schedules: Iterable[Scheduled]) -> list[Tick]:
        """The ticks among these schedules for ``triggers``.

        Raises:
            ValueError: If a cron expression or a timeframe is not one.
        """
        ticks = (cls.of(each.cron, each.payload) for each in schedules)
        return [tick for tick in ticks if tick]


@dataclass(frozen=True, slots=True)
class Due:
    """What was due of the session of ``day`` at the tick ``at``.

    Whoever asks from ``ready_at`` on is given it.
    """

    day: date
    at: datetime
    ready_at: datetime


class DueTimes:
    """When candles are due, by one calendar and the schedules that are not paused.

    Without a tick for a timeframe, none of its candles is ever due.
    """

    def __init__(self, calendar: Calendar, ticks: Iterable[Tick]) -> None:
        self.calendar = calendar
        self._ticks = tuple(ticks)
        self._finals: dict[tuple[Timeframe, date], Due | None] = {}

    def next_tick(self, timeframe: Timeframe, instant: datetime) -> datetime | None:
        """The first tick of a timeframe at or after ``instant``; None without one."""
        firings = (
            tick.cron.at_or_after(instant)
            for tick in self._ticks
            if timeframe in tick.timeframes
        )
        return min(filter(None, firings), default=None)

    def due(self, timeframe: Timeframe, slot: datetime) -> Due | None:
        """When the candle that opens at ``slot`` is due; None if it never is."""
        end = self._end_of_trading(timeframe, slot)
        return self._due(timeframe, kst_date(slot), end + COMPLETION if end else None)

    def final(self, timeframe: Timeframe, day: date) -> Due | None:
        """When the reading is due that settles the session of ``day``.

        It is ready at midnight; for a week, after its last session.
        """
        key = timeframe, day
        if key not in self._finals:
            last = self._last_session(timeframe, day)
            ready_at = midnight(last + DAY) if last else None
            self._finals[key] = self._due(timeframe, day, ready_at)
        return self._finals[key]

    def latest(self, timeframe: Timeframe, day: date, instant: datetime) -> Due | None:
        """What was last due of the session of ``day`` up to ``instant``.

        Due are its candles, one after another, and at last the reading that settles
        it. None while nothing of it was due yet.
        """
        is_session = bool(self.calendar.slots(timeframe, day))
        final = self.final(timeframe, day) if is_session else None
        if final and final.at <= instant:
            return final
        slot = self._newest_due(timeframe, day, instant)
        return self.due(timeframe, slot) if slot else None

    def latest_of_all(self, timeframe: Timeframe, instant: datetime) -> Due | None:
        """What was last due of any session up to ``instant``.

        None if nothing was due for weeks, as where the schedules are paused.
        """
        found = (self.latest(timeframe, day, instant) for day in self._recent(instant))
        return next(filter(None, found), None)

    def expected_by(self, now: datetime) -> dict[Timeframe, Due]:
        """What was last due of each timeframe, at a tick that has had its time."""
        found = {
            timeframe: self.latest_of_all(timeframe, now - PATIENCE)
            for timeframe in Timeframe
        }
        return {timeframe: due for timeframe, due in found.items() if due}

    def newest_due_slot(
        self, timeframe: Timeframe, instant: datetime
    ) -> datetime | None:
        """The newest candle that was due by ``instant``; None if none was for weeks."""
        days = self._recent(instant)
        found = (self._newest_due(timeframe, day, instant) for day in days)
        return next(filter(None, found), None)

    def _recent(self, instant: datetime) -> Iterator[date]:
        """The sessions that have opened, newest first, up to the longest silence."""
        day = self.calendar.latest_opened(instant)
        while day is not None and kst_date(instant) - day < LONGEST_SILENCE:
            yield day
            day = self.calendar.latest(day - DAY)

    def _newest_due(
        self, timeframe: Timeframe, day: date, instant: datetime
    ) -> datetime | None:
        """The newest candle of a session that was due by ``instant``."""
        slots = self.calendar.slots(timeframe, day)

        def is_awaited(slot: datetime) -> bool:
            due = self.due(timeframe, slot)
            return due is None or due.at > instant

        # In order: what is ready later is not due earlier.
        count = bisect_left(slots, True, key=is_awaited)  # noqa: FBT003 - what is found
        return slots[count - 1] if count else None

    def _due(
        self, timeframe: Timeframe, day: date, ready_at: datetime | None
    ) -> Due | None:
        at = ready_at and self.next_tick(timeframe, ready_at)
        return Due(day, at, ready_at) if at and ready_at else None

    def _end_of_trading(self, timeframe: Timeframe, slot: datetime) -> datetime | None:
        if timeframe.minutes:
            return candle_end(timeframe, slot)
        last = self._last_session(timeframe, kst_date(slot))
        slots: Sequence[datetime] = self.calendar.slots(FINEST, last) if last else ()
        return candle_end(FINEST, slots[-1]) if slots else None

    def _last_session(self, timeframe: Timeframe, day: date) -> date | None:
        """The last session of the candle that ``day`` is in; None if not known."""
        if timeframe is not Timeframe.WEEK_1:
            return day
        try:
            return max(self.calendar.session_dates(day, week_of(day)[1]), default=None)
        except CalendarUnknown:
            return None
