"""Everything that the screen shows at one moment, as values; nothing is read here."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from shared.candles import Timeframe
from shared.lanes import API_IDS, api_id_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CALL_NAMES = {api_id: call.value for call, api_id in API_IDS.items()}
# The rate is that of so many seconds; a shorter time would make it jump.
RATE_SECONDS = 6.0


class RunState(StrEnum):
    """How far a run is."""

    RUNNING = "running"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    NO_SESSION = "no session"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCount:
    """Tasks of one run in one timeframe, counted.

    ``planned`` is how many requests they need in all: those of finished tasks as they
    were, the others estimated. ``candles`` includes pages that are not stored yet.
    """

    timeframe: Timeframe
    tasks: int
    done: int = 0
    no_data: int = 0
    dead: int = 0
    incomplete: int = 0
    requests: int = 0
    planned: int = 0
    candles: int = 0

    @property
    def finished(self) -> int:
        """Tasks that are over, however they ended."""
        return self.done + self.no_data + self.dead + self.incomplete

    @property
    def is_finished(self) -> bool:
        """Whether no task is left to do."""
        return self.finished == self.tasks

    def __add__(self, other: TaskCount) -> TaskCount:
        """The tasks of both; the timeframe is that of the first."""
        return TaskCount(
            timeframe=self.timeframe,
            tasks=self.tasks + other.tasks,
            done=self.done + other.done,
            no_data=self.no_data + other.no_data,
            dead=self.dead + other.dead,
            incomplete=self.incomplete + other.incomplete,
            requests=self.requests + other.requests,
            planned=self.planned + other.planned,
            candles=self.candles + other.candles,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run since the start of the stack.

    ``requested_at`` is the market's instant, ``seconds`` how long it has taken.
    """

    run_id: str
    requested_at: datetime
    mode: str
    stocks: str
    state: RunState
    counts: tuple[TaskCount, ...] = ()
    seconds: float = 0.0

    @property
    def total(self) -> TaskCount:
        """All timeframes together."""
        return total(self.counts)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return self.state is not RunState.RUNNING

    @property
    def timeframes(self) -> str:
        """The timeframes of the run, such as ``5m 30m``."""
        return " ".join(count.timeframe for count in self.counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that was given up ``at`` a time in Seoul, and ``what`` it was about."""

    key: str
    at: str
    what: str
    error_code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How much of the limit of one of the broker's calls is used.

    ``pace`` is what we allow ourselves, in requests a second; None without a limit.
    """

    call: str
    rate: float
    pace: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The stack at one moment; ``now`` is the market's instant.

    ``runs`` are all since the start, oldest first; the ``first`` of them are those of
    the first collection. ``trouble`` is what keeps it from
    going on, with the remedy; for ``still_seconds`` nothing has moved.
    """

    now: datetime
    runs: tuple[Run, ...] = ()
    first: frozenset[str] = frozenset()
    limits: tuple[Limit, ...] = ()
    dead_letters: tuple[DeadLetter, ...] = ()
    next_tick: tuple[datetime, str] | None = None
    trouble: str = ""
    still_seconds: float = 0.0

    @property
    def others(self) -> tuple[Run, ...]:
        """The runs that are not over, beside the first collection."""
        return tuple(
            run for run in self.runs if not run.is_over and run.run_id not in self.first
        )

    @property
    def bars(self) -> tuple[TaskCount, ...]:
        """What is collected now: each timeframe's unfinished runs, or its last one.

        Of a timeframe without an unfinished run the last one is shown only as long as
        another timeframe is being collected.
        """
        current: dict[Timeframe, TaskCount] = {}
        for run in self.runs:
            for count in run.counts:
                known = current.get(count.timeframe)
                if known is None or known.is_finished:
                    current[count.timeframe] = count
                elif not count.is_finished:
                    current[count.timeframe] = known + count
        if all(count.is_finished for count in current.values()):
            return ()
        return tuple(current[frame] for frame in Timeframe if frame in current)

    @property
    def remaining_seconds(self) -> float | None:
        """How long the rest takes by the limit, None where that cannot be told."""
        left: dict[str, int] = {}
        for count in self.bars:
            call = api_id_of(count.timeframe)
            left[call] = left.get(call, 0) + max(0, count.planned - count.requests)
        if any(limit.pace is None for limit in self.limits):
            # Without a limit, all calls share what the machine can do.
            rate = sum(limit.rate for limit in self.limits)
            return sum(left.values()) / rate if rate else None
        paces = {limit.call: limit.pace for limit in self.limits if limit.pace}
        if not left or not paces.keys() >= left.keys():
            return None
        return max(requests / paces[call] for call, requests in left.items())

    @property
    def ends_at(self) -> datetime | None:
        """When the rest will be there, by the limit."""
        seconds = self.remaining_seconds
        return None if seconds is None else self.now + timedelta(seconds=seconds)


def total(counts: Sequence[TaskCount]) -> TaskCount:
    """All of ``counts`` together; of none, zero tasks."""
    found = TaskCount(timeframe=Timeframe.MINUTE_5, tasks=0)
    for count in counts:
        found += count
    return found


@dataclass(slots=True)
class RateMeter:
    """Requests a second of each call, from totals that only grow."""

    seconds: float = RATE_SECONDS
    _samples: deque[tuple[float, Mapping[str, int]]] = field(default_factory=deque)

    def add(self, at: float, totals: Mapping[str, int]) -> dict[str, float]:
        """Note the ``totals`` at a time; return the rates of the last seconds."""
        self._samples.append((at, dict(totals)))
        while len(self._samples) > 2 and at - self._samples[1][0] >= self.seconds:  # noqa: PLR2004 - two make a rate
            self._samples.popleft()
        began, first = self._samples[0]
        passed = at - began
        return {
            call: max(0, count - first.get(call, 0)) / passed if passed > 0 else 0.0
            for call, count in totals.items()
        }
