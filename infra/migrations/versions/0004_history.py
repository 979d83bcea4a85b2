"""What makes history right: proven coverage, chains of pages, complete tasks.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SERIES = """
ALTER TABLE series
    ADD COLUMN wanted_from date,
    ADD COLUMN loaded_on date,
    ADD COLUMN end_seen_on date;
UPDATE series SET wanted_from = covered_from;
-- An end of history that was seen once was believed so far: it is seen once more.
UPDATE series SET history_exhausted = false WHERE history_exhausted;
COMMENT ON COLUMN series.covered_from IS
    'From this day in Seoul on, the answers of the broker are complete';
COMMENT ON COLUMN series.wanted_from IS
    'The first day ever wanted; earlier than covered_from where answers ended too soon';
COMMENT ON COLUMN series.loaded_on IS
    'When the series was first loaded; empty for those loaded before this column was';
COMMENT ON COLUMN series.settled_through IS
    'Up to this session candles are final: they were read on a later day';
COMMENT ON COLUMN series.end_seen_on IS
    'When the history of the broker was seen to end; believed once seen on another day';
"""

CHAINS = """
DROP TABLE staged_pages;
CREATE TABLE staged_chains (
    chain_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id     text NOT NULL,
    stock_code text NOT NULL,
    timeframe  text NOT NULL,
    anchor     date NOT NULL,
    read_at    timestamptz NOT NULL,
    UNIQUE (run_id, stock_code, timeframe, anchor)
);
COMMENT ON TABLE staged_chains IS
    'Pages of unfinished attempts, read one after another; they age as a whole';
CREATE TABLE staged_pages (
    chain_id bigint NOT NULL REFERENCES staged_chains ON DELETE CASCADE,
    number   integer NOT NULL CHECK (number > 0),
    cursor   text NOT NULL,
    content  jsonb NOT NULL,
    PRIMARY KEY (chain_id, number)
);
"""

TASKS = """
ALTER TABLE tasks
    DROP CONSTRAINT tasks_state_check,
    ADD CONSTRAINT tasks_state_check CHECK (state IN
        ('queued', 'running', 'failed', 'done', 'incomplete', 'no_data', 'dead')),
    ADD COLUMN revised integer NOT NULL DEFAULT 0,
    ADD COLUMN withdrawn integer NOT NULL DEFAULT 0,
    ADD COLUMN missing integer NOT NULL DEFAULT 0,
    ADD COLUMN first_missing timestamptz[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN tasks.missing IS
    'Candles that the task answers for, and that are neither there nor explained';
COMMENT ON COLUMN tasks.first_missing IS 'The first of them';
COMMENT ON COLUMN tasks.revised IS 'Settled candles that the broker has corrected';
COMMENT ON COLUMN tasks.withdrawn IS 'Candles that the broker no longer serves';

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

KNOWLEDGE = """
-- What is there was believed without a candle on both sides: it is asked for again.
TRUNCATE absent_slots;
ALTER TABLE absent_slots
    ADD COLUMN confirmations integer NOT NULL DEFAULT 1,
    ADD COLUMN seen_at timestamptz NOT NULL DEFAULT clock_timestamp();
COMMENT ON TABLE absent_slots IS
    'The broker has no candle there: both of its neighbours were in one answer';
COMMENT ON COLUMN absent_slots.seen_at IS
    'When that was last seen; after some weeks a repair asks again';
ALTER TABLE revisions ADD COLUMN withdrawn boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN revisions.withdrawn IS 'The broker no longer serves the candle';
ALTER TABLE quarantine ADD COLUMN opened_at timestamptz;
COMMENT ON COLUMN quarantine.opened_at IS
    'Where the candle of the row would open, where the row tells';
"""

READERS = """
DROP VIEW regular_candles;
CREATE VIEW regular_candles AS
SELECT stock_code, timeframe, opened_at, open, high, low, close, volume, turnover,
       coalesce(opened_at < (settled_through + 1)::timestamp AT TIME ZONE 'Asia/Seoul',
                false) AS is_settled
FROM candles LEFT JOIN series USING (stock_code, timeframe)
WHERE session = 'regular';
COMMENT ON VIEW regular_candles IS
    'Candles without those of the after-market; one that is not settled may change';
"""

FORMER = """
DROP VIEW regular_candles;
CREATE VIEW regular_candles AS
SELECT stock_code, timeframe, opened_at, open, high, low, close, volume, turnover
FROM candles WHERE session = 'regular';
COMMENT ON VIEW regular_candles IS 'Candles without those of the after-market';
DROP VIEW run_states;
CREATE VIEW run_states AS
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
ALTER TABLE quarantine DROP COLUMN opened_at;
ALTER TABLE revisions DROP COLUMN withdrawn;
ALTER TABLE absent_slots DROP COLUMN confirmations, DROP COLUMN seen_at;
UPDATE tasks SET state = 'done' WHERE state = 'incomplete';
ALTER TABLE tasks
    DROP CONSTRAINT tasks_state_check,
    ADD CONSTRAINT tasks_state_check CHECK (state IN
        ('queued', 'running', 'failed', 'done', 'no_data', 'dead')),
    DROP COLUMN revised, DROP COLUMN withdrawn,
    DROP COLUMN missing, DROP COLUMN first_missing;
DROP TABLE staged_pages, staged_chains;
CREATE TABLE staged_pages (
    run_id     text NOT NULL,
    stock_code text NOT NULL,
    timeframe  text NOT NULL,
    anchor     date NOT NULL,
    oldest     timestamptz NOT NULL,
    cursor     text NOT NULL,
    read_at    timestamptz NOT NULL,
    content    jsonb NOT NULL,
    PRIMARY KEY (run_id, stock_code, timeframe, anchor, oldest)
);
ALTER TABLE series
    DROP COLUMN wanted_from, DROP COLUMN loaded_on, DROP COLUMN end_seen_on;
"""


def upgrade() -> None:
    """Add what is new; pages of unfinished attempts are read again."""
    for part in (SERIES, CHAINS, TASKS, KNOWLEDGE, READERS):
        op.execute(part)


def downgrade() -> None:
    """Take it away again."""
    op.execute(FORMER)
