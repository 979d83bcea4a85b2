"""Daily reports in PostgreSQL: what they are counted from, and the rows themselves.

Nothing here changes a row: a report is written once, and ``previous`` is unique, so
that the chain of reports cannot fork.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from shared.candles import Timeframe
from shared.daily_reports import DailyReport, Frame, Sealed, StoredReport, Tally
from shared.database.engine import transaction
from shared.database.least_requests import LEAST_REQUESTS, PAGES, WITH_PAGES
from shared.database.literals import instants

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    from sqlalchemy import Engine, Row

# Text is compared byte by byte, whatever the locale of the database.
SEALED = text("""
    SELECT encode(sha256(convert_to(coalesce(string_agg(
               concat_ws(',', stock_code, timeframe, session_date, candles,
                         encode(digest, 'hex') || E'\\n'), ''
               ORDER BY stock_code COLLATE "C", timeframe COLLATE "C", session_date),
               ''), 'UTF8')), 'hex') AS digest,
           (SELECT coalesce(jsonb_object_agg(timeframe, seals), '{}') FROM (
                SELECT timeframe, count(*) AS seals FROM session_seals
                WHERE sealed_at >= :since AND sealed_at < :until
                GROUP BY timeframe) AS counted) AS timeframes
    FROM session_seals WHERE sealed_at >= :since AND sealed_at < :until
""")
# The ledger is reached by when runs were written; a task may end days later.
TALLY = text(f"""
    SELECT (SELECT count(*) FROM revisions
            WHERE revised_at >= :since AND revised_at < :until) AS revisions,
           (SELECT count(*) FROM corporate_actions
            WHERE detected_at >= :since AND detected_at < :until) AS actions,
           (SELECT count(*) FROM quarantine
            WHERE refused_at >= :since AND refused_at < :until) AS quarantined,
           count(*) FILTER (WHERE state = 'dead') AS dead_tasks,
           coalesce(sum(requests), 0)::bigint AS requests,
           {LEAST_REQUESTS} AS least_requests
    FROM runs JOIN tasks USING (run_id) {WITH_PAGES}
    WHERE written_at >= :oldest AND finished_at >= :since AND finished_at < :until
""")
# A task answers the last due time before it began, if it ended soon enough. Several
# tasks of a series may do so; they count once.
PUNCTUALITY = text("""
    WITH wanted AS (
        SELECT stock_code, coalesce(loaded_on, '-infinity') AS loaded_on
        FROM series JOIN stocks USING (stock_code)
        WHERE timeframe = :timeframe AND is_target AND listed AND NOT ended
          AND covered_from IS NOT NULL
    ), due AS (
        SELECT at, place,
               ((at + cast(:offset AS interval)) AT TIME ZONE 'Asia/Seoul')::date AS day
        FROM unnest(cast(:times AS timestamptz[])) WITH ORDINALITY AS t (at, place)
    ), answered AS (
        SELECT stock_code, width_bucket(started_at, cast(:times AS timestamptz[]))
                   AS place,
               min(finished_at) AS ended
        FROM runs JOIN tasks USING (run_id)
        WHERE timeframe = :timeframe AND written_at >= :oldest
          AND tasks.state IN ('done', 'no_data', 'incomplete')
        GROUP BY 1, 2
    )
    SELECT (SELECT count(*) FROM due JOIN wanted ON loaded_on < day) AS due,
           (SELECT count(*) FROM answered JOIN wanted USING (stock_code)
            JOIN due USING (place)
            WHERE loaded_on < day AND ended <= at + cast(:patience AS interval)) AS met
""")
SIZE = text("SELECT pg_database_size(current_database())")
SLOWDOWN = text("SELECT coalesce(sum(slowed_seconds), 0) FROM rate_slots")
# Whether each stored row is what its hash says, and follows the one before it.
STORED = """
    SELECT *, encode(seals_digest, 'hex') AS seals, encode(previous, 'hex') AS before,
           encode(chain, 'hex') AS link,
           chain = sha256(convert_to(concat_ws(
                       E'\\n', encode(previous, 'hex'), day,
                       encode(seals_digest, 'hex') || E'\\n'), 'UTF8'))
           AND previous = coalesce(
                   (SELECT yesterday.chain FROM daily_reports AS yesterday
                    WHERE yesterday.day = report.day - 1),
                   CASE WHEN day = (SELECT min(day) FROM daily_reports)
                        THEN decode(repeat('0', 64), 'hex') END)
           IS TRUE AS is_linked
    FROM daily_reports AS report
"""
ONE = text(f"{STORED} WHERE day = :day")
NEWEST = text(f"""
    {STORED} WHERE cast(:before AS date) IS NULL OR day < :before
    ORDER BY day DESC LIMIT :limit
""")
UNLINKED = text(f"""
    SELECT day FROM ({STORED}) AS stored WHERE NOT is_linked ORDER BY day
""")
COUNT = text("SELECT count(*) FROM daily_reports")
INSERT = text("""
    INSERT INTO daily_reports (
        day, made_at, has_session, sealed, complete, thin, missing, late, revisions,
        actions, quarantined, dead_tasks, requests, least_requests, due, due_met,
        slowdown_seconds, slowdown_total, database_bytes, timeframes, seals_digest,
        previous, chain)
    VALUES (
        :day, :made_at, :has_session, :sealed, :complete, :thin, :missing, :late,
        :revisions, :actions, :quarantined, :dead_tasks, :requests, :least_requests,
        :due, :due_met, :slowdown_seconds, :slowdown_total, :database_bytes,
        cast(:timeframes AS jsonb), decode(:seals_digest, 'hex'),
        decode(:previous, 'hex'), decode(:chain, 'hex'))
    ON CONFLICT DO NOTHING
""")
# Of a run that was written earlier, no task is still at work.
LEDGER_DAYS = timedelta(days=30)


class DailyReports:
    """Reads what a report is made of, and writes it once."""

    def __init__(self, engine: Engine, offset: timedelta = timedelta()) -> None:
        """The pipeline's clock runs ``offset`` ahead of PostgreSQL's."""
        self._engine = engine
        self._offset = offset

    def newest(self, limit: int, before: date | None = None) -> list[StoredReport]:
        """The newest reports, or the newest before a day."""
        values = {"limit": limit, "before": before}
        with transaction(self._engine) as connection:
            rows = connection.execute(NEWEST, values).all()
        return [self._stored(row) for row in rows]

    def of(self, day: date) -> StoredReport | None:
        """The report of a day; None if there is none."""
        with transaction(self._engine) as connection:
            row = connection.execute(ONE, {"day": day}).first()
        return self._stored(row) if row else None

    def sealed(self, since: datetime, until: datetime) -> Sealed:
        """What was sealed from ``since`` to before ``until``, and not since."""
        with transaction(self._engine) as connection:
            row = connection.execute(SEALED, self._span(since, until)).one()
        return Sealed(digest=row.digest, timeframes=_by_timeframe(row.timeframes))

    def tally(self, since: datetime, until: datetime) -> Tally:
        """What was recorded from ``since`` to before ``until``."""
        oldest = {"oldest": since - self._offset - LEDGER_DAYS}
        values = self._span(since, until) | oldest | PAGES
        with transaction(self._engine) as connection:
            row = connection.execute(TALLY, values).mappings().one()
        return Tally(**row)

    def punctuality(
        self, due: Mapping[Timeframe, Sequence[datetime]], patience: timedelta
    ) -> tuple[int, int]:
        """How many due times series had, and how many were met within ``patience``.

        The times of each timeframe are in ascending order, each once.
        """
        found = [0, 0]
        for timeframe, times in due.items():
            if not times:
                continue
            values = {
                "timeframe": timeframe.value,
                "times": instants(at - self._offset for at in times),
                "oldest": times[0] - self._offset,
                "offset": self._offset,
                "patience": patience,
            }
            with transaction(self._engine) as connection:
                row = connection.execute(PUNCTUALITY, values).one()
            found = [found[0] + row.due, found[1] + row.met]
        return found[0], found[1]

    def database_bytes(self) -> int:
        """The size of the database."""
        with transaction(self._engine) as connection:
            return int(connection.execute(SIZE).scalar_one())

    def slowdown_total(self) -> float:
        """How many seconds requests were held back since ever."""
        with transaction(self._engine) as connection:
            return float(connection.execute(SLOWDOWN).scalar_one())

    def write(self, report: DailyReport) -> bool:
        """Store a report; False if its day, or its place in the chain, has one."""
        values = report.figures | {
            "day": report.day,
            "made_at": report.made_at - self._offset,
            "has_session": report.has_session,
            "slowdown_total": report.slowdown_total,
            "timeframes": json.dumps(dict(map(_column, report.frames))),
            "seals_digest": report.sealed.digest,
            "previous": report.previous,
            "chain": report.chain,
        }
        with transaction(self._engine) as connection:
            return connection.execute(INSERT, values).rowcount > 0

    def unlinked(self) -> tuple[int, list[date]]:
        """How many reports there are, and of which days the chain is broken."""
        with transaction(self._engine) as connection:
            count: int = connection.execute(COUNT).scalar_one()
            return count, list(connection.execute(UNLINKED).scalars())

    def _span(self, since: datetime, until: datetime) -> dict[str, Any]:
        return {"since": since - self._offset, "until": until - self._offset}

    def _stored(self, row: Row[Any]) -> StoredReport:
        frames = [
            Frame(timeframe=timeframe, **row.timeframes[timeframe.value])
            for timeframe in Timeframe
            if timeframe.value in row.timeframes
        ]
        report = DailyReport(
            day=row.day,
            made_at=row.made_at + self._offset,
            has_session=row.has_session,
            sealed=Sealed(
                digest=row.seals,
                timeframes={frame.timeframe: frame.sealed for frame in frames},
            ),
            tally=Tally(
                revisions=row.revisions,
                actions=row.actions,
                quarantined=row.quarantined,
                dead_tasks=row.dead_tasks,
                requests=row.requests,
                least_requests=row.least_requests,
            ),
            due=row.due,
            due_met=row.due_met,
            slowdown_seconds=row.slowdown_seconds,
            slowdown_total=row.slowdown_total,
            database_bytes=row.database_bytes,
            frames=frames,
            previous=row.before,
        )
        return StoredReport(report=report, chain=row.link, is_linked=row.is_linked)


def _by_timeframe(counts: Mapping[str, int]) -> dict[Timeframe, int]:
    return {frame: counts.get(frame.value, 0) for frame in Timeframe}


def _column(frame: Frame) -> tuple[str, dict[str, Any]]:
    values = asdict(frame)
    return frame.timeframe.value, {
        name: value for name, value in values.items() if name != "timeframe"
    }
