"""Make the report of a day, and of every day before it that has none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from shared.candles import Timeframe
from shared.daily_reports import (
    NO_REPORT,
    DailyReport,
    Frame,
    Since,
    ends_at,
    newest_day,
    span,
)
from shared.errors import MalformedMessage, StaleSeries
from shared.freshness import PATIENCE
from shared.session_map import Census, Sessions, census
from shared.sessions import DAY, kst_date
from shared.verdicts import Judge, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    from shared.daily_reports import Sealed, StoredReport, Tally
    from shared.freshness import Due, DueTimes
    from shared.reports import SeriesCount

# So far back it is counted how many due times were met.
LOOKED_BACK = timedelta(days=30)


class Facts(Sessions, Protocol):
    """How all series stand."""

    def counts(
        self, due: Mapping[Timeframe, Due | None]
    ) -> dict[Timeframe, SeriesCount]:
        """How many series of targets there are, and are late, by what was last due."""


class Reports(Protocol):
    """Where reports are, and what they are counted from."""

    def newest(self, limit: int, before: date | None = None) -> list[StoredReport]:
        """The newest reports."""

    def of(self, day: date) -> StoredReport | None:
        """The report of a day; None if there is none."""

    def sealed(self, since: datetime, until: datetime) -> Sealed:
        """What was sealed from ``since`` to before ``until``, and not since."""

    def tally(self, since: datetime, until: datetime) -> Tally:
        """What was recorded from ``since`` to before ``until``."""

    def punctuality(
        self, due: Mapping[Timeframe, Sequence[datetime]], patience: timedelta
    ) -> tuple[int, int]:
        """How many due times series had, and how many were met."""

    def database_bytes(self) -> int:
        """The size of the database."""

    def slowdown_total(self) -> float:
        """How many seconds requests were held back since ever."""

    def write(self, report: DailyReport) -> bool:
        """Store a report; False if its day, or its place in the chain, has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one day: its report, and since when it has it.

    ``since`` tells what has become of its seals, None of a report that is new.
    """

    report: DailyReport
    since: Since | None = None


def bring_up_to_date(
    day: date | None, reports: Reports, facts: Facts, due: DueTimes, now: datetime
) -> list[Outcome]:
    """Make the reports up to that of ``day``, by default the newest that is over.

    Every day has one, so that the chain has no hole: days that were missed are made up
    for, in their order. The first report of all is of one day. A report that is there
    stays as it is; its seals are compared with those that are there now.

    Raises:
        MalformedMessage: If the day is not over, or before the first report.
        StaleSeries: If another instance makes the same report at the same time.
        DatabaseUnavailable: If PostgreSQL did not answer.
    """
    newest = newest_day(now)
    day = day or newest
    if day > newest:
        raise _refused(f"{day} is not over: it ends at {ends_at(day):%H:%M} in Seoul")
    last = next(iter(reports.newest(1)), None)
    if last and day <= last.report.day:
        return [_kept(day, reports)]
    maker = _Maker(reports, facts, due, now)
    made = []
    while last is None or last.report.day < day:
        report = maker.report(last.report.day + DAY if last else day, last)
        if not reports.write(report):
            message = f"another instance makes the report of {report.day}"
            raise StaleSeries(message)
        made.append(Outcome(report=report))
        last = reports.of(report.day)
    return made


def _kept(day: date, reports: Reports) -> Outcome:
    stored = reports.of(day)
    if stored is None:
        raise _refused(f"{day} is before the first report")
    since = Since.of(stored.report.sealed, reports.sealed(*span(day)))
    return Outcome(report=stored.report, since=since)


class _Maker:
    """Makes reports; how everything stands is counted once, and is of now."""

    def __init__(
        self, reports: Reports, facts: Facts, due: DueTimes, now: datetime
    ) -> None:
        self._reports = reports
        self._due = due
        self._now = now
        judges = [Judge(due, timeframe, now) for timeframe in Timeframe]
        counts = facts.counts({each.timeframe: each.latest_due for each in judges})
        self._frames = [
            _frame(judge.timeframe, counts.get(judge.timeframe), census(facts, judge))
            for judge in judges
        ]
        self._bytes = reports.database_bytes()
        self._slowdown = reports.slowdown_total()
        self._made = 0

    def report(self, day: date, last: StoredReport | None) -> DailyReport:
        """The report of a day, chained to the last one."""
        sealed = self._reports.sealed(*span(day))
        due, met = self._reports.punctuality(due_times(self._due, day), PATIENCE)
        slowed = self._slowdown - last.report.slowdown_total if last else None
        # Of several that are made up together, the first one tells for all.
        slowed = None if self._made else slowed
        self._made += 1
        return DailyReport(
            day=day,
            made_at=self._now,
            has_session=self._due.calendar.has_session(day),
            sealed=sealed,
            tally=self._reports.tally(*span(day)),
            due=due,
            due_met=met,
            slowdown_seconds=slowed,
            slowdown_total=self._slowdown,
            database_bytes=self._bytes,
            frames=[
                replace(frame, sealed=sealed.timeframes.get(frame.timeframe, 0))
                for frame in self._frames
            ],
            previous=last.chain if last else NO_REPORT,
        )


def due_times(due: DueTimes, day: date) -> dict[Timeframe, list[datetime]]:
    """The due times of each timeframe in the thirty days up to the end of ``day``.

    In ascending order, each once; those whose patience is over by then.
    """
    until = ends_at(day) - PATIENCE
    first = max(kst_date(until - LOOKED_BACK) - LOOKED_BACK, due.calendar.first)
    found = {}
    for timeframe in Timeframe:
        times: set[Due | None] = set()
        for session in due.calendar.session_dates(first, day):
            slots = due.calendar.slots(timeframe, session)
            times |= {due.due(timeframe, slot) for slot in slots}
            times.add(due.final(timeframe, session))
        instants = {each.at for each in times if each}
        found[timeframe] = sorted(
            at for at in instants if until - LOOKED_BACK < at <= until
        )
    return found


def _frame(timeframe: Timeframe, count: SeriesCount | None, found: Census) -> Frame:
    return Frame(
        timeframe=timeframe,
        series=count.total if count else 0,
        late=count.late if count else 0,
        sealed=0,
        complete=found.sessions[State.COMPLETE],
        thin=found.sessions[State.THIN],
        no_trades=found.sessions[State.NO_TRADES],
        provisional=found.sessions[State.PROVISIONAL],
        missing_sessions=found.sessions[State.MISSING],
        missing=found.missing,
    )


def _refused(problem: str) -> MalformedMessage:
    return MalformedMessage("report", f"{problem}; give a day between, or latest")
