"""Is it there, and if not, why: one verdict for each session and each candle slot.

Whatever tells a user about completeness takes its verdict from here: the page, the
API, reports and commands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Self

from shared.coverage import MINUTES_KEPT, first_day
from shared.freshness import PATIENCE
from shared.sessions import kst_date

if TYPE_CHECKING:
    from datetime import date, datetime

    from shared.candles import Timeframe
    from shared.freshness import Due, DueTimes
    from shared.series import Series


class State(StrEnum):
    """How a session, or a candle slot, stands; the value is its letter on the map."""

    COMPLETE = "c"
    THIN = "t"
    NO_TRADES = "e"
    PROVISIONAL = "p"
    LATE = "l"
    MISSING = "m"
    NOT_ASKED = "x"

    @property
    def is_problem(self) -> bool:
        """Whether data are not there that should be."""
        return self in {State.LATE, State.MISSING}


class Reason(StrEnum):
    """Why a session or a slot is in its state."""

    # complete
    ALL_PRESENT = "all_present"
    # thin or no trades
    BROKER_HAS_NONE = "broker_has_none"
    CONFIRMED = "confirmed"
    DAY_WITHOUT_TRADES = "day_without_trades"
    HALTED = "halted"
    # provisional
    NOT_DUE = "not_due"
    AWAITS_FINAL_READING = "awaits_final_reading"
    END_NOT_PROVEN = "end_not_proven"
    # late
    NOT_ASKED_SINCE = "not_asked_since"
    NEVER_LOADED = "never_loaded"
    # missing
    UNEXPLAINED = "unexplained"
    NOT_SERVED = "not_served"
    LOST = "lost"
    # not asked for
    BEFORE_COVERAGE = "before_coverage"
    BEFORE_LISTING = "before_listing"
    BEFORE_HISTORY = "before_history"
    LEFT_THE_EXCHANGE = "left_the_exchange"
    NO_TARGET = "no_target"
    NOT_A_SLOT = "not_a_slot"


REMEDIES = {
    Reason.NOT_ASKED_SINCE: (
        "see the error of its last task; without one, check that the schedules are not "
        "paused and that the dispatcher runs"
    ),
    Reason.NEVER_LOADED: (
        "publish a trigger for the stock and the timeframe, or wait for the next tick"
    ),
    Reason.UNEXPLAINED: (
        'the repair on Saturday asks again; publish {"mode":"repair"} for the stock '
        "and the timeframe to do it now"
    ),
    Reason.NOT_SERVED: (
        "the next tick asks again; if it persists, see whether the broker shows the "
        "stock's trades of that day"
    ),
    Reason.LOST: "nothing: the broker no longer keeps minutes of that day",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFacts:
    """What is known of a series: its proofs, and the stock that it is of.

    Through ``asked_at``, all that the broker had was asked for. ``series.newest`` is
    the opening of its newest candle.
    """

    series: Series
    asked_at: datetime | None = None
    listed: bool = True
    halted: bool = False
    listed_on: date | None = None
    is_target: bool = True

    def was_asked_for(self, due: Due) -> bool:
        """Whether the broker was asked since what is due was ready."""
        return self.asked_at is not None and self.asked_at >= due.ready_at


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What is stored of one session of a series.

    Attributes:
        candles: Candles in slots of the grid.
        absent: Slots where the broker is proven to have no candle.
        confirmed: How many of them a later repair found again.
        is_without_trades: Whether its daily candle says that no one traded.
    """

    candles: int = 0
    absent: int = 0
    confirmed: int = 0
    is_without_trades: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A state, why, and the facts it stands on.

    ``expected`` slots are ``candles``, ``explained`` or ``missing``; what is missing of
    a session that is not settled is not counted. ``due_at`` is the due time that was
    missed, or for a provisional session the next one.
    """

    state: State
    reason: Reason
    expected: int = 0
    candles: int = 0
    explained: int = 0
    missing: int = 0
    due_at: datetime | None = None

    @classmethod
    def late(cls, reason: Reason, due_at: datetime | None) -> Self:
        """No one has asked since ``due_at``."""
        return cls(state=State.LATE, reason=reason, due_at=due_at)

    @property
    def remedy(self) -> str | None:
        """What can be done about it; None where nothing has to be."""
        return REMEDIES.get(self.reason)


class Judge:
    """Judges the sessions of one timeframe at ``now``."""

    def __init__(self, due: DueTimes, timeframe: Timeframe, now: datetime) -> None:
        self.due = due
        self.calendar = due.calendar
        self.timeframe = timeframe
        self.now = now
        self._kept_from = kst_date(now) - MINUTES_KEPT
        self._slots: dict[date, frozenset[datetime]] = {}
        self._latest: dict[date, Due | None] = {}
        self.latest_due = due.latest_of_all(timeframe, now - PATIENCE)

    def sessions(self, first: date, last: date) -> list[date]:
        """The sessions on which a candle opens, up to the newest that has opened.

        There is none before the calendar begins.
        """
        newest = self.calendar.latest_opened(self.now)
        if newest is None:
            return []
        first = max(first, self.calendar.first)
        days = self.calendar.session_dates(first, min(last, newest))
        # Every session has a candle, but not every one opens a week.
        return [day for day in days if self.timeframe.minutes or self.slots(day)]

    def expected(self, day: date) -> int:
        """How many candles the session of ``day`` has where all slots were traded."""
        return len(self.slots(day))

    def slots(self, day: date) -> frozenset[datetime]:
        """The candle slots of the session of ``day``; none if there is no session."""
        if day not in self._slots:
            self._slots[day] = frozenset(self.calendar.slots(self.timeframe, day))
        return self._slots[day]

    def session(self, known: SeriesFacts, day: date, stored: SessionFacts) -> Verdict:
        """Judge the session of ``day``."""
        expected = self.expected(day)
        verdict = self._closed(known, day, expected, stored)
        if verdict is None:
            verdict = self._open(known, day, stored)
        return replace(verdict, expected=expected, candles=stored.candles)

    def slot(  # noqa: PLR0913 - a slot, its session and what is stored there
        self,
        known: SeriesFacts,
        slot: datetime,
        *,
        has_candle: bool,
        confirmations: int = 0,
        is_without_trades: bool = False,
        candles_of_day: int = 0,
    ) -> Verdict:
        """Judge one candle slot.

        ``confirmations`` is how often the broker was proven to have no candle there,
        ``is_without_trades`` whether its daily candle says that no one traded.
        """
        day = kst_date(slot)
        if not has_candle and slot not in self.slots(day):
            return Verdict(state=State.NOT_ASKED, reason=Reason.NOT_A_SLOT)
        stored = SessionFacts(
            candles=int(has_candle),
            absent=int(confirmations > 0),
            confirmed=int(confirmations > 1),
            is_without_trades=is_without_trades,
        )
        verdict = self._closed(known, day, 1, stored)
        if verdict is None:
            of_day = replace(stored, candles=candles_of_day)
            verdict = self._open_slot(known, slot, of_day)
            # A candle that was read while it formed is late like one that is not there;
            # one beside the grid is not awaited.
            is_late = verdict.state is State.LATE and slot in self.slots(day)
            if has_candle and not is_late:
                verdict = Verdict(
                    state=State.PROVISIONAL, reason=Reason.AWAITS_FINAL_READING
                )
        return replace(verdict, expected=1, candles=stored.candles)

    def is_late(self, known: SeriesFacts) -> bool:
        """Whether a due time of the series has passed without an answer since.

        ``shared/database/lateness.py`` asks the same of all series at once.
        """
        due = self.latest_due
        return (
            due is not None
            and self._is_awaited(known)
            and not self._is_before_listing(known, due.day)
            and not known.was_asked_for(due)
        )

    def is_settled(self, known: SeriesFacts, day: date) -> bool:
        """Whether the candles of a session are final."""
        through = known.series.settled_through
        return through is not None and day <= through

    def begins(self, known: SeriesFacts) -> tuple[date, Reason] | None:
        """The first day that was asked for, and why nothing before it was.

        None if the series was never loaded.
        """
        series = known.series
        if series.covered_from is None:
            return None
        begins = series.covered_from, Reason.BEFORE_COVERAGE
        if series.history_exhausted and series.oldest:
            begins = max(begins, (series.oldest, Reason.BEFORE_HISTORY), key=_day)
        if known.listed_on:
            listed = first_day(self.timeframe, known.listed_on)
            begins = max(begins, (listed, Reason.BEFORE_LISTING), key=_day)
        return begins

    def outside(self, known: SeriesFacts, day: date) -> Verdict | None:
        """Why a session was not asked for; None if it was, or should have been."""
        begins = self.begins(known)
        reason: Reason | None = None
        if begins is None:
            if self._is_before_listing(known, day):
                reason = Reason.BEFORE_LISTING
            elif not self._should_be_loaded(known, day):
                reason = Reason.BEFORE_COVERAGE
        elif day < begins[0]:
            reason = begins[1]
        elif self._has_left(known, day):
            reason = Reason.LEFT_THE_EXCHANGE
        return Verdict(state=State.NOT_ASKED, reason=reason) if reason else None

    def _is_before_listing(self, known: SeriesFacts, day: date) -> bool:
        listed = known.listed_on
        return listed is not None and day < first_day(self.timeframe, listed)

    def _should_be_loaded(self, known: SeriesFacts, day: date) -> bool:
        """Of a target that was never loaded, the newest session is due."""
        due = self.latest_due
        is_due = due is not None and day == due.day
        return is_due and self._is_awaited(known)

    def _is_awaited(self, known: SeriesFacts) -> bool:
        """Whether ticks ask for the series."""
        return known.is_target and known.listed and not known.series.ended

    def _has_left(self, known: SeriesFacts, day: date) -> bool:
        series = known.series
        if known.listed and not series.ended:
            return False
        if self.is_settled(known, day):
            return False
        return series.newest is None or day > kst_date(series.newest)

    def _closed(
        self, known: SeriesFacts, day: date, expected: int, stored: SessionFacts
    ) -> Verdict | None:
        """Judge what was not asked for, or is settled; None if it is neither."""
        verdict = self.outside(known, day)
        if verdict or not self.is_settled(known, day):
            return verdict
        verdict = settled(expected, stored)
        if verdict.state is State.MISSING and self._is_lost(day):
            return replace(verdict, reason=Reason.LOST)
        return verdict

    def _is_lost(self, day: date) -> bool:
        return bool(self.timeframe.minutes) and day < self._kept_from

    def _open(self, known: SeriesFacts, day: date, stored: SessionFacts) -> Verdict:
        """Judge a session that is not settled, by its last due time."""
        if day not in self._latest:
            latest = self.due.latest(self.timeframe, day, self.now - PATIENCE)
            self._latest[day] = latest
        return self._since(known, day, stored, self._latest[day])

    def _since(
        self, known: SeriesFacts, day: date, stored: SessionFacts, due: Due | None
    ) -> Verdict:
        """Judge by whether the series was asked for since something was ``due``."""
        never_loaded = known.series.covered_from is None
        if due and not known.was_asked_for(due):
            return self._not_asked(known, due)
        if never_loaded:
            expected = self.expected(day)
            return Verdict(
                state=State.NO_TRADES, reason=Reason.BROKER_HAS_NONE, explained=expected
            )
        final = self.due.final(self.timeframe, day)
        if final and known.was_asked_for(final):
            return self._not_proven(known, day, stored)
        reason = Reason.AWAITS_FINAL_READING if due else Reason.NOT_DUE
        return Verdict(
            state=State.PROVISIONAL, reason=reason, due_at=final.at if final else None
        )

    def _not_asked(self, known: SeriesFacts, due: Due) -> Verdict:
        """Judge a session of which no one has asked for what was ``due``."""
        if not known.is_target:
            # No tick asks for it: it is read when someone requests it.
            return Verdict(state=State.NOT_ASKED, reason=Reason.NO_TARGET)
        if not self._is_awaited(known):
            # It has left the exchange: no tick is waited for.
            return Verdict(state=State.PROVISIONAL, reason=Reason.END_NOT_PROVEN)
        if known.series.covered_from is None:
            return Verdict.late(Reason.NEVER_LOADED, due.at)
        return Verdict.late(Reason.NOT_ASKED_SINCE, due.at)

    def _not_proven(
        self, known: SeriesFacts, day: date, stored: SessionFacts
    ) -> Verdict:
        """Judge a session that was asked for when it was over, and is not settled."""
        newest = known.series.newest
        if stored.candles or (newest and kst_date(newest) >= day):
            # The stock may not have traded any more on that day: the next one tells.
            return Verdict(state=State.PROVISIONAL, reason=Reason.END_NOT_PROVEN)
        expected = self.expected(day)
        if known.halted:
            return Verdict(
                state=State.NO_TRADES, reason=Reason.HALTED, explained=expected
            )
        if stored.is_without_trades:
            return Verdict(
                state=State.NO_TRADES,
                reason=Reason.DAY_WITHOUT_TRADES,
                explained=expected,
            )
        return Verdict(state=State.MISSING, reason=Reason.NOT_SERVED, missing=expected)

    def _open_slot(
        self, known: SeriesFacts, slot: datetime, of_day: SessionFacts
    ) -> Verdict:
        """Judge a slot without a candle in a session that is not settled."""
        due = self.due.due(self.timeframe, slot)
        if due is None or due.at + PATIENCE > self.now:
            return Verdict(
                state=State.PROVISIONAL,
                reason=Reason.NOT_DUE,
                due_at=due.at if due else None,
            )
        return self._since(known, kst_date(slot), of_day, due)


@lru_cache(maxsize=65536)
def settled(expected: int, stored: SessionFacts) -> Verdict:
    """Judge a settled session with ``expected`` candle slots, of whatever day."""
    explained = expected - stored.candles
    if not stored.is_without_trades:
        explained = min(explained, stored.absent)
    missing = expected - stored.candles - explained
    state, reason = State.THIN, Reason.BROKER_HAS_NONE
    if missing > 0:
        state, reason = State.MISSING, Reason.UNEXPLAINED
    elif stored.candles >= expected:
        state, reason = State.COMPLETE, Reason.ALL_PRESENT
    elif stored.is_without_trades and stored.absent < explained:
        reason = Reason.DAY_WITHOUT_TRADES
    elif stored.confirmed >= explained:
        reason = Reason.CONFIRMED
    if not stored.candles and state is State.THIN:
        state = State.NO_TRADES
    return Verdict(
        state=state,
        reason=reason,
        expected=expected,
        candles=stored.candles,
        explained=max(0, explained),
        missing=missing,
    )


def _day(begins: tuple[date, Reason]) -> date:
    return begins[0]
