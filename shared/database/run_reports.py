"""What came of runs, read from PostgreSQL; nothing here writes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from shared.candles import Timeframe
from shared.database.engine import transaction
from shared.database.least_requests import LEAST_REQUESTS, PAGES, WITH_PAGES
from shared.reports import ErrorGroup, RunDetail, RunRow, TaskGroup

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine, Row

RUN = """
    SELECT runs.run_id, runs.trigger, runs.requested_at, runs.written_at,
           runs.published_at, runs.superseded_by, runs.no_session,
           task.states, task.requests, task.missing, task.finished_at
    FROM runs CROSS JOIN LATERAL (
        SELECT jsonb_object_agg(state, tasks) AS states,
               coalesce(sum(requests), 0) AS requests,
               coalesce(sum(missing), 0) AS missing, max(finished_at) AS finished_at
        FROM (SELECT state, count(*) AS tasks, sum(requests) AS requests,
                     sum(missing) AS missing, max(finished_at) AS finished_at
              FROM tasks WHERE tasks.run_id = runs.run_id GROUP BY state) AS state
    ) AS task
"""
RUNS = text(f"""{RUN}
    WHERE cast(:before AS timestamptz) IS NULL OR runs.written_at < :before
    ORDER BY runs.written_at DESC, runs.run_id LIMIT :limit
""")
ONE_RUN = text(f"{RUN} WHERE runs.run_id = :run_id")
TASK_GROUPS = text(f"""
    SELECT timeframe, state, count(*) AS tasks, sum(attempts) AS attempts,
           sum(requests) AS requests,
           {LEAST_REQUESTS} AS least_requests,
           sum(inserted) AS inserted, sum(updated) AS updated,
           sum(unchanged) AS unchanged, sum(rejected) AS rejected,
           sum(revised) AS revised, sum(withdrawn) AS withdrawn,
           sum(missing) AS missing
    FROM tasks {WITH_PAGES}
    WHERE run_id = :run_id GROUP BY timeframe, state
""")
ERROR_GROUPS = text("""
    SELECT error_code, state, count(*) AS tasks, max(error_message) AS message,
           (array_agg(stock_code || ' ' || timeframe
                      ORDER BY stock_code, timeframe))[1:5] AS examples
    FROM tasks WHERE run_id = :run_id AND error_code IS NOT NULL
    GROUP BY error_code, state ORDER BY count(*) DESC, error_code
""")
FINISHED = frozenset({"done", "no_data", "incomplete", "dead"})


class RunReports:
    """Reads runs and their tasks, each call in one transaction."""

    def __init__(self, engine: Engine, offset: timedelta = timedelta()) -> None:
        """The pipeline's clock runs ``offset`` ahead of PostgreSQL's."""
        self._engine = engine
        self._offset = offset

    def newest(self, limit: int, before: datetime | None = None) -> list[RunRow]:
        """The newest runs, or the newest that were recorded before an instant."""
        values = {"limit": limit, "before": before and before - self._offset}
        with transaction(self._engine) as connection:
            rows = connection.execute(RUNS, values).all()
        return [self._run(row) for row in rows]

    def of(self, run_id: str) -> RunDetail | None:
        """A run with its tasks in groups; None if there is none of that id."""
        values = {"run_id": run_id}
        with transaction(self._engine) as connection:
            row = connection.execute(ONE_RUN, values).first()
            if row is None:
                return None
            groups = connection.execute(TASK_GROUPS, values | PAGES).mappings().all()
            errors = connection.execute(ERROR_GROUPS, values).all()
        order = list(Timeframe)
        found = [
            TaskGroup(**{**group, "timeframe": Timeframe(group["timeframe"])})
            for group in groups
        ]
        return RunDetail(
            run=self._run(row),
            groups=sorted(found, key=lambda g: (order.index(g.timeframe), g.state)),
            errors=[
                ErrorGroup(
                    error_code=error.error_code,
                    state=error.state,
                    tasks=error.tasks,
                    message=error.message or "",
                    examples=tuple(error.examples),
                )
                for error in errors
            ],
            open_tasks=sum(g.tasks for g in found if g.state not in FINISHED),
        )

    def _run(self, row: Row[Any]) -> RunRow:
        states: dict[str, int] = row.states or {}
        state = "complete"
        if row.no_session:
            state = "no_session"
        elif row.superseded_by:
            state = "superseded"
        elif states.keys() - FINISHED:
            state = "running"
        elif states.keys() & {"dead", "incomplete"}:
            state = "incomplete"
        finished = row.finished_at if state != "running" else None
        return RunRow(
            run_id=row.run_id,
            trigger=row.trigger,
            state=state,
            requested_at=row.requested_at,
            written_at=row.written_at + self._offset,
            published_at=row.published_at and row.published_at + self._offset,
            finished_at=finished and finished + self._offset,
            superseded_by=row.superseded_by,
            tasks=states,
            requests=int(row.requests),
            missing=int(row.missing),
        )
