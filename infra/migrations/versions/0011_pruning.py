"""The ledger is pruned with the rights of its owner, and only of what is old.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# Runs are locked, so that no task is added to one that goes. A run whose tasks were
# published again, as those of a rebuild may be, is as young as that. What is removed is
# counted by the statement that removes it.
PRUNE = """
CREATE FUNCTION prune_ledger(
    kept_days integer, most_runs integer, most_tasks integer,
    OUT removed_runs bigint, OUT removed_tasks bigint
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    since timestamptz := ((clock_timestamp() AT TIME ZONE 'Asia/Seoul')::date
                          - kept_days)::timestamp AT TIME ZONE 'Asia/Seoul';
    old_runs text[];
BEGIN
    IF kept_days < 90 THEN
        RAISE EXCEPTION 'the ledger keeps 90 days, not %', kept_days;
    END IF;
    old_runs := ARRAY(
        SELECT run_id FROM runs
        WHERE written_at < since
          AND (no_session OR superseded_by IS NOT NULL OR published_at < since)
        ORDER BY written_at LIMIT most_runs
        FOR UPDATE SKIP LOCKED);
    WITH gone AS (
        DELETE FROM tasks WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM tasks WHERE run_id = ANY(old_runs) LIMIT most_tasks))
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
    SELECT count(*) FROM gone INTO removed_tasks;
    WITH gone AS (
        DELETE FROM runs
        WHERE run_id = ANY(old_runs)
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
    SELECT count(*) FROM gone INTO removed_runs;
END $$;
REVOKE ALL ON FUNCTION prune_ledger FROM PUBLIC;
COMMENT ON FUNCTION prune_ledger IS
    'Remove a batch of runs and tasks that are older than kept_days, and count them';
"""


def upgrade() -> None:
    """Add the function."""
    op.execute(PRUNE)


def downgrade() -> None:
    """Take it away again."""
    op.execute("DROP FUNCTION prune_ledger")
