"""What delivery needs: superseded ticks, and a pace that gives way.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TICKS = """
ALTER TABLE runs ADD COLUMN superseded_by text;
COMMENT ON COLUMN runs.superseded_by IS
    'The later run that did what this tick asked for';
CREATE INDEX ON runs (written_at);

CREATE OR REPLACE VIEW run_states AS
SELECT run_id, runs.requested_at, runs.published_at,
       count(task.run_id) AS tasks,
       count(*) FILTER (WHERE task.state = 'done') AS done,
       count(*) FILTER (WHERE task.state = 'no_data') AS no_data,
       count(*) FILTER (WHERE task.state = 'failed') AS failed,
       count(*) FILTER (WHERE task.state = 'dead') AS dead,
       CASE WHEN runs.no_session THEN 'no session'
            WHEN runs.superseded_by IS NOT NULL THEN 'superseded'
            WHEN bool_or(task.state IN ('queued', 'running', 'failed')) THEN 'running'
            WHEN bool_or(task.state = 'dead') THEN 'incomplete'
            ELSE 'complete' END AS state
FROM runs LEFT JOIN tasks AS task USING (run_id)
GROUP BY run_id;
"""

PACE = """
ALTER TABLE rate_slots
    ADD COLUMN slowdown real NOT NULL DEFAULT 1,
    ADD COLUMN slowed_at timestamptz,
    ADD COLUMN live_until timestamptz;
COMMENT ON COLUMN rate_slots.slowdown IS
    'How much longer than usual the interval is, since the broker refused requests';
COMMENT ON COLUMN rate_slots.slowed_at IS
    'When the broker refused one: slots that were reserved before are void';
COMMENT ON COLUMN rate_slots.live_until IS
    'The last slot of live work: until then backfills give way';
"""

FORMER_STATES = """
DROP VIEW run_states;
CREATE VIEW run_states AS
SELECT run_id, runs.requested_at, runs.published_at,
       count(task.run_id) AS tasks,
       count(*) FILTER (WHERE task.state = 'done') AS done,
       count(*) FILTER (WHERE task.state = 'no_data') AS no_data,
       count(*) FILTER (WHERE task.state = 'failed') AS failed,
       count(*) FILTER (WHERE task.state = 'dead') AS dead,
       CASE WHEN runs.no_session THEN 'no session'
            WHEN bool_or(task.state IN ('queued', 'running', 'failed')) THEN 'running'
            WHEN bool_or(task.state = 'dead') THEN 'incomplete'
            ELSE 'complete' END AS state
FROM runs LEFT JOIN tasks AS task USING (run_id)
GROUP BY run_id;
"""


def upgrade() -> None:
    """Add what is new; no row is rewritten."""
    op.execute(TICKS)
    op.execute(PACE)


def downgrade() -> None:
    """Take it away again."""
    op.execute(FORMER_STATES)
    op.execute("ALTER TABLE runs DROP COLUMN superseded_by")
    op.execute("DROP INDEX runs_written_at_idx")
    op.execute(
        "ALTER TABLE rate_slots DROP COLUMN slowdown, DROP COLUMN slowed_at, "
        "DROP COLUMN live_until"
    )
