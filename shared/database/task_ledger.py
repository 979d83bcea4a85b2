"""The ledger of tasks: which are done, and which attempt works on which series."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import text

from shared.database import staged_chains
from shared.database.engine import transaction
from shared.errors import (
    AttemptsExhausted,
    Busy,
    ConfigError,
    PermanentError,
    PipelineError,
    Postponed,
    StaleSeries,
    TransientError,
    Unforeseen,
    UnknownTask,
)
from shared.series import Attempt, Series

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Engine

    from shared.messages import CollectRequest
    from shared.pages import PageChain

# A dead task is not among them: its dead letter may be replayed.
FINISHED = ("done", "no_data", "incomplete")

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
    RETURNING covered_from, wanted_from, loaded_on, settled_through, end_seen_on,
              history_exhausted, unproven_on, unproven_ratio, ended, version,
              (collected_at AT TIME ZONE 'Asia/Seoul')::date AS collected_on
""")
BEGIN = text("""
    UPDATE tasks
    SET state = 'running',
        -- The dead letter of a dead task was replayed: it starts anew.
        attempts = CASE state WHEN 'dead' THEN 1 ELSE attempts + 1 END,
        started_at = coalesce(started_at, clock_timestamp())
    WHERE run_id = :run_id AND stock_code = :stock_code AND timeframe = :timeframe
      AND state NOT IN ('done', 'no_data', 'incomplete')
    RETURNING requests
""")
# Read from the candles themselves: what is there cannot be believed wrongly.
ENDS = text("""
    SELECT (min(opened_at) AT TIME ZONE 'Asia/Seoul')::date AS oldest,
           max(opened_at) AS newest
    FROM candles WHERE stock_code = :stock_code AND timeframe = :timeframe
""")
STOCK = text("""
    SELECT coalesce(bool_and(listed), true) AS listed,
           coalesce(bool_or(concat(state, audit_info) LIKE '%거래정지%'), false)
               AS halted,
           min(listed_on) AS listed_on,
           least(min(listed_on),
                 (SELECT min(oldest) FROM series
                  WHERE stock_code = :stock_code AND timeframe <> :timeframe))
               AS known_from,
           (SELECT max(effective_by) FROM corporate_actions
            WHERE stock_code = :stock_code) AS moved_on
    FROM stocks WHERE stock_code = :stock_code
""")
RENEW = text("""
    WITH renewed AS (
        UPDATE series
        SET leased_until = clock_timestamp() + make_interval(secs => :seconds)
        WHERE stock_code = :stock_code AND timeframe = :timeframe
          AND leased_by = :owner
        RETURNING 1
    ), counted AS (
        UPDATE tasks SET requests = :requests
        WHERE run_id = :run_id AND stock_code = :stock_code
          AND timeframe = :timeframe AND EXISTS (SELECT FROM renewed)
    )
    SELECT count(*) FROM renewed
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


class TaskLedger:
    """Tasks in PostgreSQL."""

    def __init__(
        self,
        engine: Engine,
        max_attempts: int = 5,
        lease_seconds: float = 120.0,
    ) -> None:
        """A task that failed ``max_attempts`` times is dead.

        A series is leased for ``lease_seconds`` from one request to the next; a killed
        instance keeps others from it only this long.
        """
        self._engine = engine
        self._max_attempts = max_attempts
        self._lease_seconds = lease_seconds

    @contextmanager
    def attempt(self, request: CollectRequest) -> Iterator[Attempt | None]:
        """Begin an attempt at a task, and record how it ends; None when it is finished.

        Raises:
            Busy: If another attempt is at the same series.
            UnknownTask: If there is no such task.
            AttemptsExhausted: If this was the last attempt that it had.
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

    def renew_lease(self, attempt: Attempt, chains: Sequence[PageChain] = ()) -> None:
        """Renew the lease on the series and stage the pages read so far.

        Raises:
            StaleSeries: If the series was taken over meanwhile.
        """
        key = _key(attempt.request)
        lease = {
            "owner": attempt.owner,
            "seconds": self._lease_seconds,
            "requests": attempt.requests,
        }
        with transaction(self._engine) as connection:
            renewed = connection.execute(RENEW, key | lease).scalar()
            for chain in chains if renewed else ():
                staged_chains.stage(connection, key, chain)
        if not renewed:
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
                # Finished while we waited for the series, which no one holds now.
                connection.execute(RELEASE, key | {"owner": owner})
                return None
            ends = connection.execute(ENDS, key).mappings().one()
            stock = connection.execute(STOCK, key).mappings().one()
            return Attempt(
                request=request,
                owner=owner,
                series=Series(**series, **ends),
                **stock,
                requests=begun.requests,
                chains=staged_chains.read(connection, key, request),
            )

    def _end(self, attempt: Attempt, error: PipelineError) -> bool:
        """Record the error; tell whether the task is dead.

        A postponed attempt is not counted, nor one that the deployment does not allow.
        """
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
            if isinstance(error, Postponed | ConfigError):
                connection.execute(GIVE_BACK, key | failure)
                return False
            state = connection.execute(FAIL, key | failure).scalar()
            if permanent:
                # What led to a refusal is not built upon.
                staged_chains.discard(connection, key)
        return bool(state == "dead")


def _key(request: CollectRequest) -> dict[str, object]:
    return {
        "run_id": request.run_id,
        "stock_code": request.stock_code,
        "timeframe": request.timeframe.value,
    }
