"""Is all data here, and if not, why: the overview."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from functions.status_page.triggers import trigger_of
from shared.candles import Timeframe
from shared.coverage import candle_end
from shared.errors import remedy_of
from shared.freshness import PATIENCE
from shared.session_map import MANY_SERIES, Detail, gaps_of
from shared.sessions import DAY, kst_date
from shared.verdicts import Judge, Reason, State, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import date, datetime

    from shared.freshness import Due, DueTimes
    from shared.reports import (
        Account,
        BrokenSeal,
        Doubt,
        LateGroup,
        RateState,
        SeriesCount,
        StockName,
    )
    from shared.session_map import Gaps, Sessions

# So many problems are told, the newest first.
MOST_PROBLEMS = 10
# A day ends a moment before the next begins.
MOMENT = timedelta(seconds=1)


class Counts(Protocol):
    """What is reported of all series together."""

    def counts(
        self, due: Mapping[Timeframe, Due | None]
    ) -> dict[Timeframe, SeriesCount]:
        """How many series of targets there are, and are late, by what was last due."""

    def late_groups(self, due: Mapping[Timeframe, Due | None]) -> list[LateGroup]:
        """The late series of targets, grouped by cause, the largest group first."""

    def rates(self) -> list[RateState]:
        """The pace of each call of the broker."""

    def doubts(self) -> list[Doubt]:
        """Targets that have vanished, and series whose prices contradict each other."""

    def broken_seals(self) -> list[BrokenSeal]:
        """The newest sessions whose candles changed behind our backs, by ``verify``."""

    def count_broken_seals(self) -> int:
        """How many there are in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """How one timeframe stands.

    All candles that end by ``through`` were due at ``due_at``; both are None where
    nothing is due, as while the schedules are paused. ``through_day`` is the last
    session of the newest of them.
    """

    timeframe: Timeframe
    series: int
    late: int
    through: datetime | None
    through_day: date | None
    due_at: datetime | None
    next_tick_at: datetime | None
    settled_through: date | None
    missing_sessions: int
    missing_candles: int

    @property
    def fresh(self) -> int:
        """How many series were asked for since their last due time."""
        return self.series - self.late


class Cause(StrEnum):
    """What is known of why a series is late, or has a gap."""

    ERROR = "error"
    QUEUED = "queued"
    WAITING = "waiting"
    NO_TASK = "no_task"
    GAP = "gap"


# What is told of a task that is not over and has no error.
OF_STATE = {
    "queued": Cause.QUEUED,
    "running": Cause.WAITING,
    "failed": Cause.WAITING,
}
TASK_REMEDIES = {
    Cause.QUEUED: (
        "nothing as long as the number of open tasks in its run falls; otherwise check "
        "that the collector of its timeframe runs"
    ),
    Cause.WAITING: "nothing: its task is at work; if it persists, see the run",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why data are not there: series of one timeframe with the same cause.

    ``at`` is when it was due, or the session that has a gap. ``error_code`` is that of
    the newest task, and ``state`` that task's, where it has no error.
    """

    verdict: Verdict
    timeframe: Timeframe
    at: datetime | date | None
    series: int
    stocks: Sequence[StockName]
    candles: int = 0
    state: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    run_id: str | None = None

    @property
    def cause(self) -> Cause:
        """What is known of why."""
        if self.candles:
            return Cause.GAP
        if self.error_code:
            return Cause.ERROR
        return OF_STATE.get(self.state or "", Cause.NO_TASK)

    @property
    def remedy_code(self) -> str:
        """What the remedy is known by."""
        if self.cause is Cause.ERROR and self.error_code:
            return self.error_code
        return self.cause if self.cause in TASK_REMEDIES else self.verdict.reason

    @property
    def remedy(self) -> str:
        """What an operator does about it."""
        if self.cause is Cause.ERROR and self.error_code:
            return remedy_of(self.error_code)
        return TASK_REMEDIES.get(self.cause) or self.verdict.remedy or ""

    @property
    def trigger(self) -> str | None:
        """The message that fetches what is not there; None where none does.

        A task that failed or is at work needs none: its remedy says what it needs.
        """
        if self.cause in {Cause.ERROR, Cause.WAITING}:
            return None
        all_named = len(self.stocks) == self.series
        codes = [stock.code for stock in self.stocks] if all_named else []
        return trigger_of(self.verdict.reason, self.timeframe, codes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The answer, and what it stands on.

    ``broken_seals`` are the newest of as many as ``broken`` tells.
    """

    now: datetime
    tiles: Sequence[Tile]
    problems: Sequence[Problem]
    rates: Sequence[RateState]
    broken_seals: Sequence[BrokenSeal] = ()
    broken: int = 0
    doubts: Sequence[Doubt] = ()

    @property
    def late(self) -> int:
        """How many series are late."""
        return sum(tile.late for tile in self.tiles)

    @property
    def missing(self) -> int:
        """How many candles are missing."""
        return sum(tile.missing_candles for tile in self.tiles)

    @property
    def series(self) -> int:
        """How many series there are."""
        return sum(tile.series for tile in self.tiles)

    @property
    def is_complete(self) -> bool:
        """Whether every candle that is due is there, or known not to exist."""
        if self.late or self.missing or self.broken:
            return False
        return bool(self.series)


def overview(
    source: Counts,
    find_gaps: Callable[[Judge], Sequence[Gaps]],
    due: DueTimes,
    now: datetime,
) -> Overview:
    """Judge all series of all targets at ``now``."""
    judges = {timeframe: Judge(due, timeframe, now) for timeframe in Timeframe}
    last_due = {timeframe: judge.latest_due for timeframe, judge in judges.items()}
    counts = source.counts(last_due)
    missing = {timeframe: find_gaps(judge) for timeframe, judge in judges.items()}
    problems = [problem for found in missing.values() for problem in map(_gap, found)]
    if any(count.late for count in counts.values()):
        late = source.late_groups(last_due)
        problems = [
            _late(group, last_due[group.timeframe]) for group in late
        ] + problems
    broken_seals = source.broken_seals()
    tiles = [
        _tile(judge, counts.get(timeframe), missing[timeframe])
        for timeframe, judge in judges.items()
    ]
    return Overview(
        now=now,
        tiles=tiles,
        problems=sorted(problems, key=_newest_first)[:MOST_PROBLEMS],
        rates=source.rates(),
        broken_seals=broken_seals,
        doubts=source.doubts(),
        broken=source.count_broken_seals() if broken_seals else 0,
    )


class GapFinder:
    """Finds missing candles by reading the sessions of series that do not add up.

    Those are the series whose slots are not all accounted for, and those with more
    settled candles, or fewer, than were sealed. The second check counts every candle,
    so where there are many series it is left to `make verify`.
    """

    def __init__(self, source: Sessions) -> None:
        self._source = source
        self._version = -1
        self._slots: dict[tuple[Timeframe, date], int] = {}
        self._totals: dict[tuple[Timeframe, date, date], int] = {}

    def __call__(self, judge: Judge) -> Sequence[Gaps]:
        """The series of a timeframe with missing candles."""
        newest = judge.calendar.latest_opened(judge.now)
        if newest is None:
            return ()
        accounts = self._source.accounts(judge.timeframe, *self._last_over(judge))
        altered: Collection[str] = ()
        detail = Detail.SEALED_LETTERS
        if sum(len(account.codes) for account in accounts) <= MANY_SERIES:
            altered = self._source.altered(judge.timeframe)
            detail = Detail.LETTERS
        begins = self._begins(judge, accounts, altered)
        found: list[Gaps] = []
        # Together are read those that begin together: most of them yesterday.
        for first in set(begins.values()):
            codes = sorted(code for code, day in begins.items() if day == first)
            days = judge.sessions(first, newest)
            found += gaps_of(self._source, judge, days, codes, detail)
        return found

    def _last_over(self, judge: Judge) -> tuple[date | None, datetime | None]:
        """The last session that can be settled by now, and since when it can be."""
        today = kst_date(judge.now)
        last = judge.calendar.settled_through(judge.timeframe, judge.now, today)
        final = judge.due.final(judge.timeframe, last) if last else None
        return last, final.ready_at if final else None

    def _begins(
        self, judge: Judge, accounts: Sequence[Account], altered: Collection[str]
    ) -> dict[str, date]:
        """The stocks whose sessions have to be read, and from which day on."""
        begins: dict[str, date] = {}
        for account in accounts:
            first = judge.begins(account.facts)
            assert first is not None
            settled = account.facts.series.settled_through
            expected = self._expected(judge, first[0], settled) if settled else 0
            if settled is None or account.accounted_for != expected:
                begins |= dict.fromkeys(account.codes, first[0])
                continue
            if account.is_open:
                begins |= dict.fromkeys(account.codes, settled + DAY)
            begins |= {code: first[0] for code in account.codes if code in altered}
        return begins

    def _expected(self, judge: Judge, first: date, last: date) -> int:
        """How many slots the sessions from ``first`` to ``last`` have."""
        if self._version != judge.calendar.version:
            self._slots, self._totals = {}, {}
            self._version = judge.calendar.version
        frame, first = judge.timeframe, max(first, judge.calendar.first)
        if (frame, first, last) not in self._totals:
            days = list(judge.calendar.session_dates(first, last))
            for day in days:
                if (frame, day) not in self._slots:
                    self._slots[frame, day] = judge.expected(day)
            total = sum(self._slots[frame, day] for day in days)
            self._totals[frame, first, last] = total
        return self._totals[frame, first, last]


def _tile(judge: Judge, count: SeriesCount | None, missing: Sequence[Gaps]) -> Tile:
    through = judge.due.newest_due_slot(judge.timeframe, judge.now - PATIENCE)
    end = through and candle_end(judge.timeframe, through)
    return Tile(
        timeframe=judge.timeframe,
        series=count.total if count else 0,
        late=count.late if count else 0,
        through=end,
        through_day=_last_session(judge, through, end) if through and end else None,
        due_at=judge.latest_due.at if judge.latest_due else None,
        next_tick_at=judge.due.next_tick(judge.timeframe, judge.now),
        settled_through=count.settled_through if count else None,
        missing_sessions=sum(gap.sessions for gap in missing),
        missing_candles=sum(gap.candles for gap in missing),
    )


def _last_session(judge: Judge, opens: datetime, end: datetime) -> date:
    """The last session of a candle: of most weeks, their Friday."""
    days = judge.calendar.session_dates(kst_date(opens), kst_date(end - MOMENT))
    return max(days, default=kst_date(opens))


def _late(group: LateGroup, due: Due | None) -> Problem:
    reason = Reason.NEVER_LOADED if group.never_loaded else Reason.NOT_ASKED_SINCE
    due_at = due.at if due else None
    return Problem(
        verdict=Verdict.late(reason, due_at),
        timeframe=group.timeframe,
        at=due_at,
        series=group.count,
        stocks=group.examples,
        state=group.state,
        error_code=group.error_code,
        error_message=group.error_message,
        run_id=group.run_id,
    )


def _gap(gap: Gaps) -> Problem:
    return Problem(
        verdict=gap.verdict,
        timeframe=gap.timeframe,
        at=gap.newest,
        series=1,
        stocks=(gap.stock,),
        candles=gap.candles,
    )


def _newest_first(problem: Problem) -> tuple[bool, float, int]:
    """Late series before gaps; then the most recent, then the most series."""
    at = problem.at
    when = -float(at.toordinal()) if at else 0.0
    return problem.verdict.state is not State.LATE, when, -problem.series
