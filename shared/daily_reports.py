"""What each day brought: its numbers, and the hash that chains them together.

A report is of the 24 hours up to 21:00 in Seoul, when the last tick of a day has been
worked off; what happens later belongs to the next day. Each has the hash of what was
sealed in that time, and one of that and the report before: no seal, and no report, can
be changed later without a trace.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime, time
from hashlib import sha256
from typing import TYPE_CHECKING

from shared.sessions import DAY, KST, kst_date

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from shared.candles import Timeframe

# What is written by then is committed when the report is made, a quarter of an hour on.
ENDS = time(21, 0)
# What stands before the first report.
NO_REPORT = "0" * 64


def ends_at(day: date) -> datetime:
    """The instant at which a day ends for its report, and the next one begins."""
    return datetime.combine(day, ENDS, KST)


def span(day: date) -> tuple[datetime, datetime]:
    """When a day begins and ends for its report."""
    return ends_at(day - DAY), ends_at(day)


def newest_day(now: datetime) -> date:
    """The newest day that is over for its report."""
    today = kst_date(now)
    return today if ends_at(today) <= now else today - DAY


def chained(previous: str, day: date, seals_digest: str) -> str:
    """The hash of a report: of the one before, its day, and what was sealed (hex)."""
    return sha256(f"{previous}\n{day}\n{seals_digest}\n".encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What was sealed in a span of time: how many seals in all and by timeframe.

    ``digest`` is the SHA-256 (hex) of their lines
    ``stock,timeframe,session_date,candles,digest``, each with a line feed, in the order
    of the first three.
    """

    digest: str
    timeframes: dict[Timeframe, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many seals there are."""
        return sum(self.timeframes.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What was recorded in a span of time.

    Attributes:
        revisions: Settled candles that the broker changed, or withdrew.
        actions: Series that a corporate action has rebuilt.
        quarantined: Rows that are no candles.
        dead_tasks: Tasks that cannot be done.
        requests: Requests to the broker by the tasks that ended.
        least_requests: As many pages hold what these tasks read; one, where a task
            asked and nothing came.
    """

    revisions: int = 0
    actions: int = 0
    quarantined: int = 0
    dead_tasks: int = 0
    requests: int = 0
    least_requests: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """How one timeframe stood when the report was made; ``sealed`` is of the day.

    ``late`` counts series, ``missing`` candles, and the rest the sessions that were
    asked for, by their state.
    """

    timeframe: Timeframe
    series: int
    late: int
    sealed: int
    complete: int
    thin: int
    no_trades: int
    provisional: int
    missing_sessions: int
    missing: int

    @property
    def coverage(self) -> float | None:
        """The share of settled sessions without a candle that is missing; or None."""
        covered = self.complete + self.thin + self.no_trades
        settled = covered + self.missing_sessions
        return covered / settled if settled else None


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyReport:
    """The report of one day.

    Attributes:
        made_at: When it was made; ``frames`` and ``database_bytes`` are as of then.
        due: Due times of the series that ticks ask for, in the thirty days up to then:
            each timeframe's, once for each series that was loaded by that day.
        due_met: How many of them a task answered that began at or after the due time,
            and had ended 90 seconds after it.
        slowdown_seconds: How long requests were held back since the report before was
            made, because the broker had refused some: the pauses, and by how much the
            intervals were longer than usual. None where no report tells.
        slowdown_total: The same since ever.
        previous: The ``chain`` of the day before, ``NO_REPORT`` of the first report.
    """

    day: date
    made_at: datetime
    has_session: bool
    sealed: Sealed
    tally: Tally
    due: int
    due_met: int
    slowdown_seconds: float | None
    slowdown_total: float
    database_bytes: int
    frames: Sequence[Frame]
    previous: str

    @property
    def chain(self) -> str:
        """The hash of this report and all before it."""
        return chained(self.previous, self.day, self.sealed.digest)

    @property
    def complete(self) -> int:
        """Sessions with a candle in every slot."""
        return sum(frame.complete for frame in self.frames)

    @property
    def thin(self) -> int:
        """Sessions with slots, or altogether, without a trade."""
        return sum(frame.thin + frame.no_trades for frame in self.frames)

    @property
    def missing(self) -> int:
        """Candles that are neither there nor explained."""
        return sum(frame.missing for frame in self.frames)

    @property
    def late(self) -> int:
        """Series that no one had asked for since they were due."""
        return sum(frame.late for frame in self.frames)

    @property
    def is_fine(self) -> bool:
        """Whether no series was late, no candle missing and no task dead."""
        return not (self.late or self.missing or self.tally.dead_tasks)

    @property
    def is_made_up(self) -> bool:
        """Whether it was made after the next day was over: how it was is not known."""
        return self.made_at >= ends_at(self.day + DAY)

    @property
    def punctuality(self) -> float | None:
        """The share of due times that were met; None where nothing was due."""
        return self.due_met / self.due if self.due else None

    @property
    def figures(self) -> dict[str, float | None]:
        """All that was counted, by the names of the table, the log and the API."""
        return {
            "sealed": self.sealed.count,
            "complete": self.complete,
            "thin": self.thin,
            "missing": self.missing,
            "late": self.late,
            **asdict(self.tally),
            "due": self.due,
            "due_met": self.due_met,
            "slowdown_seconds": self.slowdown_seconds,
            "database_bytes": self.database_bytes,
        }

    @property
    def summary(self) -> str:
        """The day in one line, for people."""
        found = []
        if self.late:
            found.append(f"{self.late:,} series {_are(self.late)} late")
        if self.missing:
            candles = "candle" if self.missing == 1 else "candles"
            found.append(f"{self.missing:,} {candles} {_are(self.missing)} missing")
        if dead := self.tally.dead_tasks:
            tasks = "task" if dead == 1 else "tasks"
            found.append(f"{dead:,} {tasks} {_are(dead)} dead")
        told = ", ".join(found) if found else "nothing is late or missing"
        if not self.has_session:
            return f"{self.day}: the exchange was closed; {told}"
        return f"{self.day}: {self.sealed.count:,} seals were written; {told}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReport:
    """A report as it is stored, and what has become of it.

    Attributes:
        chain: The hash that is stored.
        is_linked: Whether that is the hash of what is stored, and the day before's is
            what it was chained to.
    """

    report: DailyReport
    chain: str
    is_linked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """What has become of the seals of a report.

    ``sealed_anew`` seals were written again since, or removed. Where none was, and the
    digest is another, seals were changed by something else.
    """

    sealed_anew: int
    is_same: bool

    @classmethod
    def of(cls, then: Sealed, now: Sealed) -> Since:
        """Compare what was sealed in a span of time with what is left of it."""
        return cls(
            sealed_anew=then.count - now.count, is_same=then.digest == now.digest
        )

    @property
    def is_suspicious(self) -> bool:
        """Whether seals differ although none was written again."""
        return not self.is_same and self.sealed_anew <= 0
