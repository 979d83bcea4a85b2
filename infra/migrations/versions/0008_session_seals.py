"""Seals of settled sessions, and those that were found broken.

What is there by then is sealed by ``infra/seal.py``, series by series, after the
migrations.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

SEALS = """
CREATE TABLE session_seals (
    stock_code      text NOT NULL,
    timeframe       text NOT NULL,
    session_date    date NOT NULL,
    candles         integer NOT NULL CHECK (candles > 0),
    digest          bytea NOT NULL CHECK (length(digest) = 32),
    sealed_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    first_sealed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stock_code, timeframe, session_date)
);
COMMENT ON TABLE session_seals IS
    'Count and SHA-256 of the candles of each settled session; of days and weeks, of
each calendar year, by its first day';
COMMENT ON COLUMN session_seals.digest IS
    'Of lines epoch,open,high,low,close,volume,turnover,session in the order of time';

CREATE TABLE broken_seals (
    stock_code   text NOT NULL,
    timeframe    text NOT NULL,
    session_date date NOT NULL,
    sealed       integer NOT NULL,
    found        integer NOT NULL,
    found_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stock_code, timeframe, session_date)
);
COMMENT ON TABLE broken_seals IS
    'Seals that were not those of their candles: how many they are of, and were found';
"""


def upgrade() -> None:
    """Add the tables."""
    op.execute(SEALS)


def downgrade() -> None:
    """Take them away again."""
    op.execute("DROP TABLE broken_seals, session_seals")
