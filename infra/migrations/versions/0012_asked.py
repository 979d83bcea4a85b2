"""When a series was asked for is kept apart from when something of it was stored.

``collected_at`` moves with every task, also with one that reads old days again.
``asked_at`` is through when all that the broker had was asked for. Of what is there by
then, no more is proven than what is settled: the next tick of each series tells the
rest.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

ASKED = """
ALTER TABLE series ADD COLUMN asked_at timestamptz;
COMMENT ON COLUMN series.asked_at IS
    'Through when all that the broker had was asked for';
COMMENT ON COLUMN series.collected_at IS 'When a task last stored its result';
UPDATE series
SET asked_at = least(collected_at,
                     (settled_through + 1)::timestamp AT TIME ZONE 'Asia/Seoul')
WHERE settled_through IS NOT NULL;
"""
VIEW = """
CREATE OR REPLACE VIEW reader.series AS
SELECT stock_code, timeframe, covered_from, wanted_from, loaded_on, settled_through,
       oldest,
       (SELECT max(opened_at) FROM public.candles
        WHERE candles.stock_code = series.stock_code
          AND candles.timeframe = series.timeframe) AS newest,
       end_seen_on, history_exhausted, ended, {asked_at} AS asked_at, version
FROM public.series;
COMMENT ON VIEW reader.series IS
    'What is proven of a stock in a timeframe; {comment}';
"""


def upgrade() -> None:
    """Add the column; readers see it under the name that they know."""
    op.execute(ASKED)
    told = "through asked_at all that the broker had was asked for"
    op.execute(VIEW.format(asked_at="asked_at", comment=told))


def downgrade() -> None:
    """Take it away again."""
    told = "asked_at is when the broker answered"
    op.execute(VIEW.format(asked_at="collected_at", comment=told))
    op.execute("ALTER TABLE series DROP COLUMN asked_at")
