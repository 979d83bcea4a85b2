"""The ledger stays small and quick: its newest runs first, its old days as counts.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INDEXES = """
CREATE INDEX runs_requested_at ON runs (requested_at);
CREATE INDEX runs_unpublished ON runs (written_at)
    WHERE published_at IS NULL AND NOT no_session AND superseded_by IS NULL;
CREATE INDEX runs_day ON runs (((written_at AT TIME ZONE 'Asia/Seoul')::date));
CREATE INDEX tasks_unfinished ON tasks (run_id)
    WHERE state IN ('queued', 'running', 'failed');
"""

# Counted run by run, so that a query with a limit counts only what it shows.
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

DAYS = """
CREATE TABLE run_days (
    day        date PRIMARY KEY,
    runs       bigint NOT NULL,
    no_session bigint NOT NULL,
    superseded bigint NOT NULL
);
COMMENT ON TABLE run_days IS
    'Runs that were removed from the ledger, by the day in Seoul that recorded them';
CREATE TABLE task_days (
    day        date NOT NULL,
    timeframe  text NOT NULL,
    state      text NOT NULL,
    error_code text NOT NULL,
    tasks      bigint NOT NULL,
    attempts   bigint NOT NULL,
    requests   bigint NOT NULL,
    seconds    double precision NOT NULL,
    inserted   bigint NOT NULL,
    updated    bigint NOT NULL,
    unchanged  bigint NOT NULL,
    rejected   bigint NOT NULL,
    revised    bigint NOT NULL,
    withdrawn  bigint NOT NULL,
    missing    bigint NOT NULL,
    PRIMARY KEY (day, timeframe, state, error_code)
);
COMMENT ON TABLE task_days IS
    'Tasks that were removed from the ledger, counted by the day of their run';
COMMENT ON COLUMN task_days.error_code IS 'The last error, empty where there was none';
COMMENT ON COLUMN task_days.seconds IS 'From the start of each task to its end';

CREATE VIEW ledger_days AS
WITH counted AS (
    SELECT day, runs, no_session, superseded, 0 AS tasks, 0 AS done, 0 AS incomplete,
           0 AS no_data, 0 AS dead, 0 AS attempts, 0 AS requests, 0 AS seconds,
           0 AS inserted, 0 AS updated, 0 AS unchanged, 0 AS rejected, 0 AS revised,
           0 AS withdrawn, 0 AS missing, NULL AS error_code
    FROM run_days
    UNION ALL
    SELECT (written_at AT TIME ZONE 'Asia/Seoul')::date, 1, no_session::int,
           (superseded_by IS NOT NULL)::int, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
           0, NULL
    FROM runs
    UNION ALL
    SELECT day, 0, 0, 0, tasks,
           CASE state WHEN 'done' THEN tasks ELSE 0 END,
           CASE state WHEN 'incomplete' THEN tasks ELSE 0 END,
           CASE state WHEN 'no_data' THEN tasks ELSE 0 END,
           CASE state WHEN 'dead' THEN tasks ELSE 0 END,
           attempts, requests, seconds, inserted, updated, unchanged, rejected,
           revised, withdrawn, missing, nullif(error_code, '')
    FROM task_days
    UNION ALL
    SELECT (written_at AT TIME ZONE 'Asia/Seoul')::date, 0, 0, 0, 1,
           (state = 'done')::int, (state = 'incomplete')::int,
           (state = 'no_data')::int, (state = 'dead')::int, attempts, requests,
           coalesce(extract(epoch FROM finished_at - started_at)::float8, 0), inserted,
           updated, unchanged, rejected, revised, withdrawn, missing, error_code
    FROM runs JOIN tasks USING (run_id)
), by_error AS (
    SELECT day, error_code, sum(runs) AS runs, sum(no_session) AS no_session,
           sum(superseded) AS superseded, sum(tasks) AS tasks, sum(done) AS done,
           sum(incomplete) AS incomplete, sum(no_data) AS no_data, sum(dead) AS dead,
           sum(attempts) AS attempts, sum(requests) AS requests,
           sum(seconds) AS seconds, sum(inserted) AS inserted,
           sum(updated) AS updated, sum(unchanged) AS unchanged,
           sum(rejected) AS rejected, sum(revised) AS revised,
           sum(withdrawn) AS withdrawn, sum(missing) AS missing
    FROM counted GROUP BY day, error_code
)
SELECT day, sum(runs)::bigint AS runs, sum(no_session)::bigint AS no_session,
       sum(superseded)::bigint AS superseded, sum(tasks)::bigint AS tasks,
       sum(done)::bigint AS done, sum(incomplete)::bigint AS incomplete,
       sum(no_data)::bigint AS no_data, sum(dead)::bigint AS dead,
       sum(tasks - done - incomplete - no_data - dead)::bigint AS unfinished,
       sum(attempts)::bigint AS attempts, sum(requests)::bigint AS requests,
       sum(seconds) AS seconds, sum(inserted)::bigint AS inserted,
       sum(updated)::bigint AS updated, sum(unchanged)::bigint AS unchanged,
       sum(rejected)::bigint AS rejected, sum(revised)::bigint AS revised,
       sum(withdrawn)::bigint AS withdrawn, sum(missing)::bigint AS missing,
       coalesce(jsonb_object_agg(error_code, tasks)
                    FILTER (WHERE error_code IS NOT NULL), '{}') AS error_codes
FROM by_error GROUP BY day;
COMMENT ON VIEW ledger_days IS
    'What each day in Seoul recorded, whether its tasks are still there or not';
"""

FORMER_STATES = """
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
            WHEN bool_or(task.state IN ('dead', 'incomplete')) THEN 'incomplete'
            ELSE 'complete' END AS state,
       count(*) FILTER (WHERE task.state = 'incomplete') AS incomplete,
       coalesce(sum(task.missing), 0) AS missing,
       min(task.first_missing[1]) AS first_missing
FROM runs LEFT JOIN tasks AS task USING (run_id)
GROUP BY run_id;
"""


def upgrade() -> None:
    """Add what is new; no row is rewritten."""
    for part in (INDEXES, STATES, DAYS):
        op.execute(part)


def downgrade() -> None:
    """Take it away again, with the counts of what was removed."""
    op.execute("DROP VIEW ledger_days")
    op.execute("DROP TABLE task_days, run_days")
    op.execute(FORMER_STATES)
    op.execute(
        "DROP INDEX runs_requested_at, runs_unpublished, runs_day, tasks_unfinished"
    )
