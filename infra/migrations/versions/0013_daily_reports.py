"""The daily reports, a chain of hashes; and how long requests were held back.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

REPORTS = """
CREATE TABLE daily_reports (
    day              date PRIMARY KEY,
    made_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    has_session      boolean NOT NULL,
    sealed           integer NOT NULL,
    complete         integer NOT NULL,
    thin             integer NOT NULL,
    missing          integer NOT NULL,
    late             integer NOT NULL,
    revisions        integer NOT NULL,
    actions          integer NOT NULL,
    quarantined      integer NOT NULL,
    dead_tasks       integer NOT NULL,
    requests         bigint NOT NULL,
    least_requests   bigint NOT NULL,
    due              bigint NOT NULL,
    due_met          bigint NOT NULL CHECK (due_met <= due),
    slowdown_seconds double precision,
    slowdown_total   double precision NOT NULL,
    database_bytes   bigint NOT NULL,
    timeframes       jsonb NOT NULL,
    seals_digest     bytea NOT NULL CHECK (length(seals_digest) = 32),
    previous         bytea NOT NULL UNIQUE CHECK (length(previous) = 32),
    chain            bytea NOT NULL UNIQUE CHECK (length(chain) = 32)
);
COMMENT ON TABLE daily_reports IS
    'One row a day, from 21:00 in Seoul on the day before to 21:00; never changed';
COMMENT ON COLUMN daily_reports.made_at IS
    'What is counted at one instant was counted then: complete, thin, missing, late';
COMMENT ON COLUMN daily_reports.due IS
    'Due times of series in the thirty days up to then; due_met, those within 90 s';
COMMENT ON COLUMN daily_reports.slowdown_seconds IS
    'Since the report before was made; empty where that is not known';
COMMENT ON COLUMN daily_reports.seals_digest IS
    'SHA-256 of lines stock,timeframe,session_date,candles,digest of what was sealed';
COMMENT ON COLUMN daily_reports.chain IS
    'SHA-256 of the lines chain of the day before, day, seals_digest';

-- Seals are found by when they were written, without an index entry for each.
CREATE INDEX session_seals_sealed_at ON session_seals
    USING brin (sealed_at) WITH (pages_per_range = 16, autosummarize = on);

ALTER TABLE rate_slots ADD COLUMN slowed_seconds double precision NOT NULL DEFAULT 0;
COMMENT ON COLUMN rate_slots.slowed_seconds IS
    'By how much intervals were longer than usual, and pauses, of all time';
"""


def upgrade() -> None:
    """Add what is new; no row is rewritten."""
    op.execute(REPORTS)


def downgrade() -> None:
    """Take it away again."""
    op.execute("ALTER TABLE rate_slots DROP COLUMN slowed_seconds")
    op.execute("DROP INDEX session_seals_sealed_at")
    op.execute("DROP TABLE daily_reports")
