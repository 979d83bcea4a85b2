"""The ledger: runs, their tasks, and who is at which series."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import text

from shared.database.engine import transaction
from shared.database.staging import columns_of, page_of
from shared.errors import (
    AttemptsExhausted,
    Busy,
    PermanentError,
    PipelineError,
    Postponed,
    StaleSeries,
    TransientError,
    Unforeseen,
    UnknownTask,
)
from shared.runs import NewRun, OpenedRun
from shared.series import Attempt, Series, StagedPage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

    from sqlalchemy import Connection, Engine

    from shared.candles import Timeframe
    from shared.messages import CollectRequest

# A dead task is not among them: whoever replays its dead letter wants it done.
FINISHED = ("done", "no_data")
# A run that is not sent out after this time was left behind.
STRANDED_SECONDS = 60

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
""")
STRANDED = text("""
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
# Of the targets; a stock that is gone, or was never loaded, is behind nothing.
BEHIND = text("""
    SELECT timeframe, count(*) AS series
    FROM series
    JOIN stocks USING (stock_code)
    JOIN unnest(cast(:timeframes AS text[]), cast(:days AS date[]))
         AS due (timeframe, day) USING (timeframe)
    WHERE is_target AND listed AND NOT ended AND covered_from IS NOT NULL
      AND (settled_through IS NULL OR settled_through < day)
    GROUP BY timeframe ORDER BY timeframe
""")
# Rows are always locked in this order, series before task: no two attempts can wait
# for each other.
READ_TASK = text("""
    SELECT state FROM tasks
    WHERE run_id = :run_id AND stock_code = :stock_code AND timeframe = :timeframe
""")
LEASE = text("""
    INSERT INTO series (stock_code, timeframe, leased_by, leased_until)
    VALUES (:stock_code, :timeframe, :owner,
            clock_timestamp() + make_interval(secs => :seconds))
    ON CONFLICT (stock_code, timeframe) DO UPDATE
    SET leased_by = excluded.leased_by, leased_until = excluded.leased_until
    WHERE series.leased_until IS NULL OR series.leased_until < clock_timestamp()
    RETURNING covered_from, settled_through, oldest, history_exhausted, ended, version
""")
BEGIN = text("""
    UPDATE tasks
    SET state = 'running',
        -- A dead task that comes back was put back by somebody: it starts anew.
        attempts = CASE state WHEN 'dead' THEN 1 ELSE attempts + 1 END,
        started_at = coalesce(started_at, clock_timestamp())
    WHERE run_id = :run_id AND stock_code = :stock_code AND timeframe = :timeframe
      AND state NOT IN ('done', 'no_data')
    RETURNING requests
""")
JOINT = text("""
    SELECT (max(opened_at) AT TIME ZONE 'Asia/Seoul')::date
    FROM candles JOIN series USING (stock_code, timeframe)
    WHERE stock_code = :stock_code AND timeframe = :timeframe
      AND opened_at < (settled_through + 1)::timestamp AT TIME ZONE 'Asia/Seoul'
""")
STAGED = text("""
    SELECT anchor, cursor, oldest, read_at, content FROM staged_pages
    WHERE run_id = :run_id AND stock_code = :stock_code AND timeframe = :timeframe
    ORDER BY anchor, oldest DESC
""")
STAGE = text("""
    INSERT INTO staged_pages (run_id, stock_code, timeframe, anchor, oldest, cursor,
                              read_at, content)
    VALUES (:run_id, :stock_code, :timeframe, :anchor, :oldest, :cursor, :read_at,
            cast(:content AS jsonb))
    ON CONFLICT (run_id, stock_code, timeframe, anchor, oldest) DO NOTHING
""")
UNSTAGE = text("""
    DELETE FROM staged_pages
    WHERE run_id = :run_id AND stock_code = :stock_code AND timeframe = :timeframe
""")
IS_LISTED = text("SELECT listed FROM stocks WHERE stock_code = :stock_code")
KEEP = text("""
    WITH kept AS (
        UPDATE series
        SET leased_until = clock_timestamp() + make_interval(secs => :seconds)
        WHERE stock_code = :stock_code AND timeframe = :timeframe
          AND leased_by = :owner
        RETURNING 1
    ), noted AS (
        UPDATE tasks SET requests = :requests
        WHERE run_id = :run_id AND stock_code = :stock_code
          AND timeframe = :timeframe AND EXISTS (SELECT FROM kept)
    )
    SELECT count(*) FROM kept
""")
RELEASE = text("""
    UPDATE series SET leased_by = NULL, leased_until = NULL
    WHERE stock_code = :stock_code AND timeframe = :timeframe AND leased_by = :owner
""")
GIVE_BACK = text("""
    UPDATE tasks
    SET state = 'queued', attempts = attempts - 1, requests = :requests,
        error_code = :error_code, error_message = :error_message
    WHERE run_id = :run_id AND stock_code = :stock_code AND timeframe = :timeframe
      AND state = 'running'
""")
FAIL = text("""
    UPDATE tasks
    SET state = CASE WHEN attempts >= :last_attempt THEN 'dead' ELSE 'failed' END,
        finished_at = CASE WHEN attempts >= :last_attempt THEN clock_timestamp() END,
        requests = :requests, error_code = :error_code, error_message = :error_message
    WHERE run_id = :run_id AND stock_code = :stock_code AND timeframe = :timeframe
      AND state = 'running'
    RETURNING state
""")


class Ledger:
    """Runs and tasks in PostgreSQL."""

    def __init__(
        self,
        engine: Engine,
        max_attempts: int = 5,
        lease_seconds: float = 120.0,
    ) -> None:
        """A task that failed ``max_attempts`` times is dead.

        A series is kept for ``lease_seconds`` from one request to the next; a killed
        instance keeps others from it only this long.
        """
        self._engine = engine
        self._max_attempts = max_attempts
        self._lease_seconds = lease_seconds

    def open_run(self, run: NewRun) -> OpenedRun:
        """Write a run and its tasks, with the messages that are yet to be published.

        Doing it again changes nothing, and returns what the first time wrote until
        the run is marked as published. A superseded tick is only noted.
        """
        values = columns_of_run(run)
        with transaction(self._engine) as connection:
            successor = _successor(connection, run) if run.tick_of else None
            values["superseded_by"] = successor
            is_new = connection.execute(OPEN_RUN, values).rowcount
            if is_new and successor:
                return OpenedRun(superseded_by=successor)
            if is_new:
                connection.execute(ADD_TASKS, columns_of_tasks(run))
            unpublished = connection.execute(UNPUBLISHED, values)
            messages = [request.encode() for request in unpublished.scalars()]
            return OpenedRun(messages=messages)

    def stranded(self) -> dict[str, list[bytes]]:
        """Runs that were written down but never sent out, with their requests.

        Whoever wrote them was stopped in between.
        """
        with transaction(self._engine) as connection:
            run_ids = connection.execute(STRANDED, {"seconds": STRANDED_SECONDS})
            return {
                run_id: [
                    request.encode()
                    for request in connection.execute(
                        UNPUBLISHED, {"run_id": run_id}
                    ).scalars()
                ]
                for run_id in run_ids.scalars().all()
            }

    def behind(self, due: Mapping[Timeframe, date]) -> dict[str, int]:
        """Series of target stocks that are not settled through the day that is due.

        Returns:
            How many, for each timeframe that has some.
        """
        days = {
            "timeframes": [timeframe.value for timeframe in due],
            "days": list(due.values()),
        }
        with transaction(self._engine) as connection:
            rows = connection.execute(BEHIND, days).all()
        return {row.timeframe: row.series for row in rows}

    stale_series = behind
    unpublished_runs = stranded

    def mark_published(self, run_id: str) -> None:
        """Note that all requests of the run are with Pub/Sub."""
        with transaction(self._engine) as connection:
            connection.execute(PUBLISHED, {"run_id": run_id})

    @contextmanager
    def attempt(self, request: CollectRequest) -> Iterator[Attempt | None]:
        """Begin a try at a task, and note how it ends; None when it is finished.

        Raises:
            Busy: If somebody else is at the same series.
            UnknownTask: If there is no such task.
            AttemptsExhausted: If this was the last try that it had.
        """
        attempt = self._begin(request)
        if attempt is None:
            yield None
            return
        try:
            yield attempt
        except PipelineError as error:
            if self._end(attempt, error) and isinstance(error, TransientError):
                raise AttemptsExhausted(error, self._max_attempts) from error
            raise
        except Exception as error:
            unforeseen = Unforeseen(type(error).__name__)
            if self._end(attempt, unforeseen):
                raise AttemptsExhausted(unforeseen, self._max_attempts) from error
            raise

    def keep(self, attempt: Attempt, pages: Sequence[StagedPage] = ()) -> None:
        """Keep the series for as long again, with what the attempt has so far.

        Raises:
            StaleSeries: If the series was taken over meanwhile.
        """
        lease = {
            "owner": attempt.owner,
            "seconds": self._lease_seconds,
            "requests": attempt.requests,
        }
        with transaction(self._engine) as connection:
            key = _key(attempt.request)
            kept = connection.execute(KEEP, key | lease).scalar()
            for page in pages if kept else ():
                connection.execute(STAGE, key | columns_of(page))
        if not kept:
            message = f"another attempt took over {attempt.request.stock_code}"
            raise StaleSeries(message)

    def _begin(self, request: CollectRequest) -> Attempt | None:
        key, owner = _key(request), uuid.uuid4().hex
        with transaction(self._engine) as connection:
            task = connection.execute(READ_TASK, key).first()
            if task is None:
                message = f"the ledger has no task {request.run_id}"
                message += f" {request.stock_code} {request.timeframe};"
                message += " publish a trigger instead"
                raise UnknownTask(message)
            if task.state in FINISHED:
                return None
            lease = {"owner": owner, "seconds": self._lease_seconds}
            series = connection.execute(LEASE, key | lease).mappings().first()
            if series is None:
                message = f"{request.stock_code} {request.timeframe} is being collected"
                raise Busy(message)
            begun = connection.execute(BEGIN, key).first()
            if begun is None:
                # Finished while we waited for the series, which nobody holds now.
                connection.execute(RELEASE, key | {"owner": owner})
                return None
            joint = connection.execute(JOINT, key).scalar()
            return Attempt(
                request=request,
                owner=owner,
                series=Series(**series, joint=joint),
                listed=_listed(connection, request.stock_code),
                requests=begun.requests,
                staged=tuple(
                    page_of(request, row)
                    for row in connection.execute(STAGED, key).mappings()
                ),
            )

    def _end(self, attempt: Attempt, error: PipelineError) -> bool:
        """Note the error; tell whether the task is dead. A postponed try was none."""
        key = _key(attempt.request)
        permanent = isinstance(error, PermanentError)
        failure = {
            "last_attempt": 0 if permanent else self._max_attempts,
            "requests": attempt.requests,
            "error_code": error.error_code,
            "error_message": str(error),
        }
        with transaction(self._engine) as connection:
            connection.execute(RELEASE, key | {"owner": attempt.owner})
            if isinstance(error, Postponed):
                connection.execute(GIVE_BACK, key | failure)
                return False
            state = connection.execute(FAIL, key | failure).scalar()
            if permanent:
                # What led to a refusal is not built upon.
                connection.execute(UNSTAGE, key)
        return bool(state == "dead")


def run_id_of(message_id: str, scope: str = "") -> str:
    """The run that a trigger message asks for: the same however often it comes.

    ``scope`` tells apart messages that share an id, as those of two emulators do.
    """
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"trigger {scope} {message_id}"))


def columns_of_run(run: NewRun) -> dict[str, object]:
    """What ``OPEN_RUN`` is given."""
    return {
        "run_id": run.run_id,
        "message_id": run.message_id,
        "trigger": run.trigger.decode(),
        "requested_at": run.requested_at,
        "no_session": not run.requests,
        "superseded_by": None,
    }


def columns_of_tasks(run: NewRun) -> dict[str, object]:
    """What ``ADD_TASKS`` is given."""
    return {
        "run_id": run.run_id,
        "stock_codes": [request.stock_code for request in run.requests],
        "timeframes": [request.timeframe.value for request in run.requests],
        "requests": [request.to_bytes().decode() for request in run.requests],
    }


def _successor(connection: Connection, run: NewRun) -> str | None:
    """The run that does the work of this tick, if there is one."""
    tick = columns_of_run(run) | {"published_at": run.tick_of}
    connection.execute(ONE_AT_A_TIME, tick)
    found: str | None = connection.execute(SUCCESSOR, tick).scalar()
    return found


def _key(request: CollectRequest) -> dict[str, object]:
    return {
        "run_id": request.run_id,
        "stock_code": request.stock_code,
        "timeframe": request.timeframe.value,
    }


def _listed(connection: Connection, stock_code: str) -> bool:
    """Whether the stock is listed; one that we do not know yet is taken to be."""
    listed = connection.execute(IS_LISTED, {"stock_code": stock_code}).scalar()
    return listed is not False
