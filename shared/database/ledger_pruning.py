"""The old rows of the ledger: removed in batches, and kept as counts a day.

What is removed is counted by the statement that removes it: nothing is counted twice,
and nothing is lost, wherever a batch is cut off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from shared.database.engine import transaction

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine

# Locked, so that no task is added to a run that goes. A run whose tasks were published
# again, as those of a rebuild may be, is as young as that.
OLDEST = text("""
    WITH kept AS (
        SELECT ((clock_timestamp() AT TIME ZONE 'Asia/Seoul')::date
                - cast(:days AS integer))::timestamp AT TIME ZONE 'Asia/Seoul' AS since
    )
    SELECT run_id FROM runs
    WHERE written_at < (SELECT since FROM kept)
      AND (no_session OR superseded_by IS NOT NULL
           OR published_at < (SELECT since FROM kept))
    ORDER BY written_at LIMIT :runs
    FOR UPDATE SKIP LOCKED
""")
REMOVE_TASKS = text("""
    WITH gone AS (
        DELETE FROM tasks WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM tasks WHERE run_id = ANY(cast(:run_ids AS text[]))
            LIMIT :tasks))
        RETURNING *
    ), counted AS (
        INSERT INTO task_days AS known
               (day, timeframe, state, error_code, tasks, attempts, requests, seconds,
                inserted, updated, unchanged, rejected, revised, withdrawn, missing)
        SELECT (written_at AT TIME ZONE 'Asia/Seoul')::date, timeframe, state,
               coalesce(error_code, ''), count(*), sum(attempts), sum(requests),
               coalesce(sum(extract(epoch FROM finished_at - started_at)), 0),
               sum(inserted), sum(updated), sum(unchanged), sum(rejected),
               sum(revised), sum(withdrawn), sum(missing)
        FROM gone JOIN runs USING (run_id)
        GROUP BY 1, 2, 3, 4
        ON CONFLICT (day, timeframe, state, error_code) DO UPDATE
        SET tasks = known.tasks + excluded.tasks,
            attempts = known.attempts + excluded.attempts,
            requests = known.requests + excluded.requests,
            seconds = known.seconds + excluded.seconds,
            inserted = known.inserted + excluded.inserted,
            updated = known.updated + excluded.updated,
            unchanged = known.unchanged + excluded.unchanged,
            rejected = known.rejected + excluded.rejected,
            revised = known.revised + excluded.revised,
            withdrawn = known.withdrawn + excluded.withdrawn,
            missing = known.missing + excluded.missing
    )
    SELECT count(*) FROM gone
""")
REMOVE_RUNS = text("""
    WITH gone AS (
        DELETE FROM runs
        WHERE run_id = ANY(cast(:run_ids AS text[]))
          AND NOT EXISTS (SELECT FROM tasks WHERE tasks.run_id = runs.run_id)
        RETURNING *
    ), counted AS (
        INSERT INTO run_days AS known (day, runs, no_session, superseded)
        SELECT (written_at AT TIME ZONE 'Asia/Seoul')::date, count(*),
               count(*) FILTER (WHERE no_session), count(superseded_by)
        FROM gone GROUP BY 1
        ON CONFLICT (day) DO UPDATE
        SET runs = known.runs + excluded.runs,
            no_session = known.no_session + excluded.no_session,
            superseded = known.superseded + excluded.superseded
    )
    SELECT count(*) FROM gone
""")
REMOVE_CHAINS = text("""
    DELETE FROM staged_chains WHERE chain_id = ANY(ARRAY(
        SELECT chain_id FROM staged_chains WHERE read_at < :before LIMIT :chains))
""")
# One batch takes a tenth of a second; a run of the whole market has 14,000 tasks.
RUNS_AT_ONCE = 200
TASKS_AT_ONCE = 5_000
CHAINS_AT_ONCE = 20


class LedgerPruning:
    """Removes what is old from the ledger in PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        """Read and write through ``engine``."""
        self._engine = engine

    def remove_tasks(self, days: int) -> tuple[int, int]:
        """Remove a batch of runs and tasks recorded more than ``days`` days ago.

        Days are those of Seoul by the database's clock, which dated the runs.

        Returns:
            How many runs and how many tasks; none of either when nothing is left.
        """
        with transaction(self._engine) as connection:
            values = {"days": days, "runs": RUNS_AT_ONCE}
            found = connection.execute(OLDEST, values).scalars().all()
            batch = {"run_ids": list(found), "tasks": TASKS_AT_ONCE}
            if not found:
                return 0, 0
            tasks: int = connection.execute(REMOVE_TASKS, batch).scalar_one()
            runs: int = connection.execute(REMOVE_RUNS, batch).scalar_one()
        return runs, tasks

    def remove_chains(self, before: datetime) -> int:
        """Remove a batch of the chains that were begun ``before`` an instant.

        Their pages go with them.

        Returns:
            How many; 0 when none is left.
        """
        values = {"before": before, "chains": CHAINS_AT_ONCE}
        with transaction(self._engine) as connection:
            return connection.execute(REMOVE_CHAINS, values).rowcount
