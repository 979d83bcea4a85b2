"""Looks at a running stack: its database, its logs, its disk."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from infra.local import advice, progress, scheduler
from infra.local.logs import Tail, parse
from infra.local.screen.estimate import Estimator
from infra.local.screen.snapshot import (
    CALL_NAMES,
    DeadLetter,
    Limit,
    RateMeter,
    Snapshot,
    total,
)
from shared.clock import new_clock
from shared.errors import PipelineError
from shared.lanes import api_id_of
from shared.sessions import kst_date

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta
    from pathlib import Path

    from sqlalchemy import Engine

    from infra.local.screen.estimate import TaskShape
    from infra.local.screen.snapshot import Run
    from infra.topology import Topology
    from shared.sessions import Calendar

# Without a candle or a finished task for so long, something is wrong.
STANDSTILL_SECONDS = 15.0
# What the tasks tell better: of a collector's dead letters, only these are in no task.
TASKLESS = {"malformed_message", "unknown_task"}
SUBJECTS = {
    "dispatcher": "trigger",
    "collector": "collect request",
    "reference_sync": "reference request",
    "token_refresher": "token request",
}
NOTHING = progress.Progress(runs=(), dead_letters=(), last_error=None)


@dataclass(slots=True, kw_only=True)
class Watch:
    """Takes snapshots of one stack; ``since`` is when its first run may be written.

    The market's clock runs ``clock_offset`` ahead of that of the machine.
    """

    engine: Engine
    logs: Path
    clock_offset: timedelta
    calendar: Calendar
    topology: Topology
    since: datetime
    pace: float | None
    monotonic: Callable[[], float] = time.monotonic
    # The runs of the first collection, which must appear.
    expected: list[str] = field(default_factory=list)
    _meter: RateMeter = field(default_factory=RateMeter)
    _tails: dict[str, Tail] = field(default_factory=dict)
    _letters: list[DeadLetter] = field(default_factory=list)
    _last: progress.Progress = NOTHING
    _moved: tuple[object, float] = (None, 0.0)
    _answered: int = 0
    _warning: str = ""
    _today: date = date.min
    _estimator: Estimator | None = None

    def look(self) -> Snapshot:
        """Take a snapshot; a database that does not answer is part of it."""
        now, at = new_clock(self.clock_offset)(), self.monotonic()
        self._today = kst_date(now)
        trouble = advice.disk_trouble(self.logs)
        if trouble:
            trouble += ", then it continues"
        try:
            self._last = progress.read(
                self.engine,
                self.since,
                self.clock_offset,
                self._estimate,
                self.expected,
            )
        except PipelineError as error:
            trouble = trouble or f"{error}; see {self.logs / 'postgres.log'}"
        self._read_logs()
        found, still = self._last, self._still_seconds(at)
        return Snapshot(
            now=now,
            runs=found.runs,
            first=frozenset(self.expected),
            limits=self._limits(at),
            dead_letters=(*found.dead_letters, *self._letters),
            next_tick=self._next_tick(now),
            trouble=trouble or self._standstill(still),
            still_seconds=still,
        )

    def _estimate(self, shape: TaskShape) -> int:
        if self._estimator is None:
            self._estimator = Estimator(self.calendar)
        return self._estimator.requests(shape, self._today)

    def _limits(self, at: float) -> tuple[Limit, ...]:
        totals = Counter(dict.fromkeys(CALL_NAMES, 0))
        for run in self._last.runs:
            for count in run.counts:
                totals[api_id_of(count.timeframe)] += count.requests
        rates = self._meter.add(at, totals)
        return tuple(
            Limit(call=call, rate=rate, pace=self.pace) for call, rate in rates.items()
        )

    def _still_seconds(self, at: float) -> float:
        """For how long nothing has moved although something is to be done."""
        runs = self._last.runs
        moving = [_figures(run) for run in runs if not run.is_over]
        is_waiting = moving or set(self.expected) - {run.run_id for run in runs}
        if not is_waiting or moving != self._moved[0]:
            self._moved = (moving, at)
            self._answered = self._requests()
        return at - self._moved[1]

    def _standstill(self, still: float) -> str:
        if still < STANDSTILL_SECONDS:
            return ""
        cause = self._last.last_error or self._warning
        if not cause and self._requests() > self._answered:
            cause = "requests are sent, but the broker does not answer"
        cause = cause or "no part reports an error"
        return f"nothing has moved for {still:.0f} s: {cause}; see make logs"

    def _requests(self) -> int:
        return sum(run.total.requests for run in self._last.runs)

    def _next_tick(self, now: datetime) -> tuple[datetime, str] | None:
        at, schedule = next(scheduler.firings(self.topology, now))
        return at, schedule.name

    def _read_logs(self) -> None:
        for name, function in self.topology.functions.items():
            source = function.source
            if source not in SUBJECTS:
                continue
            tail = self._tails.setdefault(name, Tail(self.logs / f"{name}.log"))
            for line in tail.lines():
                entry = parse(line)
                if entry is None:
                    continue
                code = entry.facts.get("error_code", "")
                reason = entry.facts.get("reason", "")
                if entry.event in {"will_retry", "unforeseen"}:
                    self._warning = reason
                if entry.event != "dead_letter":
                    continue
                if source == "collector" and code not in TASKLESS:
                    continue
                self._letters.append(
                    DeadLetter(
                        key=f"{name} {entry.facts.get('message_id')} {entry.time}",
                        at=entry.time,
                        what=SUBJECTS[source],
                        error_code=code,
                        reason=reason,
                    )
                )


def _figures(run: Run) -> tuple[str, int, int]:
    """What moves while all is well; requests also grow where none is answered."""
    count = total(run.counts)
    return run.run_id, count.candles, count.finished
