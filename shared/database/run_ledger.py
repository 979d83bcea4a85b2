"""The ledger of runs: what was requested, and the tasks that it led to."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text

from shared.candles import Timeframe
from shared.database.engine import transaction
from shared.database.lateness import LATE, columns_of
from shared.reports import BehindReason, BehindSeries
from shared.runs import NewRun, OpenedRun
from shared.series import Coverage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from shared.freshness import Due

# A run whose messages are not published after this time has been abandoned.
ABANDONED_SECONDS = 60

OPEN_RUN = text("""
    INSERT INTO runs (run_id, message_id, trigger, requested_at, no_session,
                      superseded_by)
    VALUES (:run_id, :message_id, cast(:trigger AS jsonb), :requested_at, :no_session,
            :superseded_by)
    ON CONFLICT (run_id) DO NOTHING
""")
# Two deliveries of like triggers wait for each other here.
ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtext(:trigger))")
# A run that was written after a tick was published reads the market as it was then, or
# later: the tick has nothing to add.
SUCCESSOR = text("""
    SELECT run_id FROM runs
    WHERE trigger = cast(:trigger AS jsonb) AND written_at > :published_at
      AND run_id <> :run_id AND superseded_by IS NULL AND NOT no_session
    ORDER BY written_at DESC LIMIT 1
""")
ADD_TASKS = text("""
    INSERT INTO tasks (run_id, stock_code, timeframe, request)
    SELECT :run_id, stock_code, timeframe, cast(request AS jsonb)
    FROM unnest(cast(:stock_codes AS text[]), cast(:timeframes AS text[]),
                cast(:requests AS text[])) AS t (stock_code, timeframe, request)
    ON CONFLICT (run_id, stock_code, timeframe) DO NOTHING
""")
UNPUBLISHED_RUNS = text("""
    SELECT run_id FROM runs
    WHERE published_at IS NULL AND NOT no_session AND superseded_by IS NULL
      AND written_at < clock_timestamp() - make_interval(secs => :seconds)
    ORDER BY written_at
""")
UNPUBLISHED = text("""
    SELECT request::text FROM tasks JOIN runs USING (run_id)
    WHERE run_id = :run_id AND published_at IS NULL
    ORDER BY timeframe, stock_code
""")
PUBLISHED = text("""
    UPDATE runs SET published_at = clock_timestamp()
    WHERE run_id = :run_id AND published_at IS NULL
""")
NOT_PUBLISHED = text("UPDATE runs SET published_at = NULL WHERE run_id = :run_id")
# What is being loaded for the first time is late, and not behind before it has been
# waiting for longer than that can take. A target that was delisted before we knew it is
# not looked for; one that vanished is, until an operator takes it from the targets.
BEHIND = text(f"""
    SELECT stock_code, stock_name, timeframe, asked_at,
           CASE WHEN never_loaded THEN 'NEVER_LOADED' ELSE 'NOT_ASKED' END AS reason
    FROM ({LATE}) AS series
    WHERE late AND NOT (never_loaded AND coalesce((
        SELECT min(written_at) FROM tasks JOIN runs USING (run_id)
        WHERE tasks.stock_code = series.stock_code
          AND tasks.timeframe = series.timeframe
          AND tasks.state IN ('queued', 'running', 'failed')
    ) >= clock_timestamp() - make_interval(secs => :first_load), false))
    UNION ALL
    SELECT stock_code, stock_name, timeframe, asked_at, 'VANISHED'
    FROM stocks CROSS JOIN unnest(cast(:timeframes AS text[])) AS due (timeframe)
    LEFT JOIN series USING (stock_code, timeframe)
    WHERE is_target AND NOT listed AND absences > 0
    UNION ALL
    SELECT stock_code, stock_name, timeframe, unproven_on::timestamp
                                              AT TIME ZONE 'Asia/Seoul', 'UNPROVEN'
    FROM stocks JOIN series USING (stock_code)
    WHERE is_target AND listed AND unproven_on IS NOT NULL
      AND timeframe = ANY(cast(:timeframes AS text[]))
    ORDER BY stock_code, timeframe
""")
LAST_REQUESTED = text("SELECT max(requested_at) FROM runs")
COVERAGE = text("""
    SELECT stock_code, timeframe, covered_from, settled_through, ended
    FROM series
    JOIN unnest(cast(:stock_codes AS text[])) AS wanted (stock_code)
         USING (stock_code)
    WHERE timeframe = ANY(:timeframes)
""")
UNSETTLED = text("""
    SELECT EXISTS (
        SELECT FROM unnest(cast(:codes AS text[])) AS wanted (stock_code)
        CROSS JOIN unnest(cast(:timeframes AS text[]),
                          cast(:instants AS timestamptz[])) AS due (timeframe, over_at)
        LEFT JOIN series USING (stock_code, timeframe)
        WHERE NOT coalesce(ended, false)
          AND coalesce(asked_at, '-infinity') < over_at)
""")
# The first load of a whole market at the broker's pace takes no longer.
FIRST_LOAD = timedelta(hours=18)


class RunLedger:
    """Runs in PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        """Read and write through ``engine``."""
        self._engine = engine

    def open_run(self, run: NewRun) -> OpenedRun:
        """Write a run and its tasks, with the messages that are yet to be published.

        Doing it again changes nothing, and returns what the first time wrote until
        the run is marked as published. A superseded tick is only recorded.
        """
        values = _columns_of_run(run)
        with transaction(self._engine) as connection:
            successor = _successor(connection, run) if run.tick_of else None
            values["superseded_by"] = successor
            is_new = connection.execute(OPEN_RUN, values).rowcount
            if is_new and successor:
                return OpenedRun(superseded_by=successor)
            if is_new:
                connection.execute(ADD_TASKS, _columns_of_tasks(run))
            return OpenedRun(messages=_unpublished(connection, run.run_id))

    def unpublished_runs(self) -> dict[str, list[bytes]]:
        """Runs that were written but never published, with their requests.

        The instance that wrote them was stopped in between.
        """
        with transaction(self._engine) as connection:
            found = connection.execute(UNPUBLISHED_RUNS, {"seconds": ABANDONED_SECONDS})
            return {
                run_id: _unpublished(connection, run_id)
                for run_id in found.scalars().all()
            }

    def mark_published(self, run_id: str) -> None:
        """Record that all requests of the run are with Pub/Sub."""
        with transaction(self._engine) as connection:
            connection.execute(PUBLISHED, {"run_id": run_id})

    def coverage(
        self, stock_codes: Sequence[str], timeframes: Sequence[Timeframe]
    ) -> dict[tuple[str, Timeframe], Coverage]:
        """What has been read of those of these series that are known."""
        values = {
            "stock_codes": list(stock_codes),
            "timeframes": [timeframe.value for timeframe in timeframes],
        }
        with transaction(self._engine) as connection:
            rows = connection.execute(COVERAGE, values).all()
        return {
            (row.stock_code, Timeframe(row.timeframe)): Coverage(
                row.covered_from, row.settled_through, row.ended
            )
            for row in rows
        }

    def behind(self, due: Mapping[Timeframe, Due]) -> list[BehindSeries]:
        """The late series of targets, by what was last ``due`` of each timeframe.

        Those of targets that have vanished from the broker's list are among them, and
        those whose prices contradict each other, so that nothing of them is settled.

        Raises:
            DatabaseUnavailable: If PostgreSQL does not answer.
        """
        values = columns_of(due) | {"first_load": FIRST_LOAD.total_seconds()}
        with transaction(self._engine) as connection:
            rows = connection.execute(BEHIND, values).all()
        return [
            BehindSeries(
                stock_code=row.stock_code,
                stock_name=row.stock_name,
                timeframe=Timeframe(row.timeframe),
                reason=BehindReason[row.reason],
                since=row.asked_at,
            )
            for row in rows
        ]

    def last_requested_at(self) -> datetime | None:
        """When the newest run was requested; None before the first one.

        Raises:
            DatabaseUnavailable: If PostgreSQL does not answer.
        """
        with transaction(self._engine) as connection:
            found: datetime | None = connection.execute(LAST_REQUESTED).scalar()
        return found

    def is_unsettled(
        self, stock_codes: Sequence[str], over: Mapping[Timeframe, datetime]
    ) -> bool:
        """Whether any of these series was not asked for since its session was over.

        ``over`` is when that was. A series that was asked for since and is not settled,
        as that of a halted stock, has nothing new before the next session.
        """
        values = {
            "codes": list(stock_codes),
            "timeframes": [timeframe.value for timeframe in over],
            "instants": list(over.values()),
        }
        with transaction(self._engine) as connection:
            return bool(connection.execute(UNSETTLED, values).scalar())


def add_tasks(connection: Connection, run: NewRun) -> tuple[bytes, ...]:
    """Write a run, or add tasks to it, in a transaction of the caller's.

    Returns:
        The messages of the run that are yet to be published; none if all its tasks
        were there already.
    """
    connection.execute(OPEN_RUN, _columns_of_run(run))
    if not connection.execute(ADD_TASKS, _columns_of_tasks(run)).rowcount:
        return ()
    connection.execute(NOT_PUBLISHED, {"run_id": run.run_id})
    return tuple(_unpublished(connection, run.run_id))


def run_id_of(message_id: str, scope: str = "") -> str:
    """The run of a trigger message: the same one, however often it is delivered.

    ``scope`` tells apart messages that share an id, as those of two emulators do.
    """
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"trigger {scope} {message_id}"))


def _unpublished(connection: Connection, run_id: str) -> list[bytes]:
    requests = connection.execute(UNPUBLISHED, {"run_id": run_id}).scalars()
    return [request.encode() for request in requests]


def _columns_of_run(run: NewRun) -> dict[str, object]:
    return {
        "run_id": run.run_id,
        "message_id": run.message_id,
        "trigger": run.trigger.decode(),
        "requested_at": run.requested_at,
        "no_session": not run.requests,
        "superseded_by": None,
    }


def _columns_of_tasks(run: NewRun) -> dict[str, object]:
    return {
        "run_id": run.run_id,
        "stock_codes": [request.stock_code for request in run.requests],
        "timeframes": [request.timeframe.value for request in run.requests],
        "requests": [request.to_bytes().decode() for request in run.requests],
    }


def _successor(connection: Connection, run: NewRun) -> str | None:
    """The run that does the work of this tick, if there is one."""
    tick = _columns_of_run(run) | {"published_at": run.tick_of}
    connection.execute(ONE_AT_A_TIME, tick)
    found: str | None = connection.execute(SUCCESSOR, tick).scalar()
    return found
