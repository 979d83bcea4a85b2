"""The states of large runs are counted in an index, not in the tasks themselves.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

INDEXES = """
CREATE INDEX tasks_states ON tasks (run_id, state);
CREATE INDEX tasks_missing ON tasks (run_id) WHERE missing > 0;
"""

# The index alone answers only for pages that were vacuumed since they changed, and the
# newest runs are those that people look at: a fixed number of changes, some three
# thousand tasks, not a fifth of a table that has been growing for 90 days.
VACUUM = """
ALTER TABLE tasks SET (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 10000
);
"""

STATES = """
CREATE OR REPLACE VIEW run_states AS
SELECT run_id, requested_at, published_at, tasks, done, no_data, failed, dead,
       CASE WHEN no_session THEN 'no session'
            WHEN superseded_by IS NOT NULL THEN 'superseded'
            WHEN unfinished > 0 THEN 'running'
            WHEN dead + incomplete > 0 THEN 'incomplete'
            ELSE 'complete' END AS state,
       incomplete, missing, first_missing
FROM runs CROSS JOIN LATERAL (
    SELECT coalesce(sum(n), 0)::bigint AS tasks,
           coalesce(sum(n) FILTER (WHERE state = 'done'), 0)::bigint
               AS done,
           coalesce(sum(n) FILTER (WHERE state = 'no_data'), 0)::bigint
               AS no_data,
           coalesce(sum(n) FILTER (WHERE state = 'failed'), 0)::bigint
               AS failed,
           coalesce(sum(n) FILTER (WHERE state = 'dead'), 0)::bigint
               AS dead,
           coalesce(sum(n) FILTER (WHERE state = 'incomplete'), 0)::bigint
               AS incomplete,
           coalesce(sum(n) FILTER (WHERE state IN ('queued', 'running', 'failed')), 0)
               AS unfinished
    FROM (
        SELECT state, count(*) AS n FROM tasks
        WHERE tasks.run_id = runs.run_id GROUP BY state
    ) AS by_state
) AS counted CROSS JOIN LATERAL (
    SELECT coalesce(sum(task.missing), 0) AS missing,
           min(task.first_missing[1]) AS first_missing
    FROM tasks AS task WHERE task.run_id = runs.run_id AND task.missing > 0
) AS gaps;
"""

FORMER_STATES = """
CREATE OR REPLACE VIEW run_states AS
SELECT run_id, requested_at, published_at, tasks, done, no_data, failed, dead,
       CASE WHEN no_session THEN 'no session'
            WHEN superseded_by IS NOT NULL THEN 'superseded'
            WHEN unfinished > 0 THEN 'running'
            WHEN dead + incomplete > 0 THEN 'incomplete'
            ELSE 'complete' END AS state,
       incomplete, missing, first_missing
FROM runs CROSS JOIN LATERAL (
    SELECT count(*) AS tasks,
           count(*) FILTER (WHERE state = 'done') AS done,
           count(*) FILTER (WHERE state = 'no_data') AS no_data,
           count(*) FILTER (WHERE state = 'failed') AS failed,
           count(*) FILTER (WHERE state = 'dead') AS dead,
           count(*) FILTER (WHERE state = 'incomplete') AS incomplete,
           count(*) FILTER (WHERE state IN ('queued', 'running', 'failed'))
               AS unfinished,
           coalesce(sum(task.missing), 0) AS missing,
           min(task.first_missing[1]) AS first_missing
    FROM tasks AS task WHERE task.run_id = runs.run_id
) AS counted;
"""


def upgrade() -> None:
    """Add the indexes, and count in them."""
    op.execute(INDEXES)
    op.execute(VACUUM)
    op.execute(STATES)


def downgrade() -> None:
    """Count in the tasks again."""
    op.execute(FORMER_STATES)
    op.execute("""
        ALTER TABLE tasks RESET (
            autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold,
            autovacuum_vacuum_insert_scale_factor, autovacuum_vacuum_insert_threshold)
    """)
    op.execute("DROP INDEX tasks_states, tasks_missing")
