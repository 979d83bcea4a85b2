"""Readers see the seals that are stored, and none is computed for them any more.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

STORED = """
CREATE OR REPLACE VIEW reader.seals AS
SELECT stock_code, timeframe, session_date, candles::bigint AS candles,
       encode(digest, 'hex') AS digest
FROM public.session_seals;
"""
COMPUTED = """
CREATE OR REPLACE VIEW reader.seals AS
SELECT stock_code, timeframe, session_date, count(*) AS candles,
       encode(sha256(convert_to(string_agg(line, '' ORDER BY opened_at), 'UTF8')),
              'hex') AS digest
FROM (
    SELECT stock_code, timeframe, opened_at,
           CASE WHEN timeframe IN ('1d', '1w') THEN date_trunc('year', opens)::date
                ELSE opens::date END AS session_date,
           concat_ws(',', extract(epoch FROM opened_at)::bigint, open, high, low, close,
                     volume, coalesce(turnover::text, ''), session) || E'\\n' AS line
    FROM public.candles JOIN public.series USING (stock_code, timeframe)
    CROSS JOIN LATERAL (
        SELECT opened_at AT TIME ZONE interval '9 hours' AS opens
    ) AS seoul
    WHERE opens::date <= settled_through
) AS settled
GROUP BY stock_code, timeframe, session_date;
"""


def upgrade() -> None:
    """Read the table; whoever may read the view still may."""
    op.execute(STORED)


def downgrade() -> None:
    """Compute them again."""
    op.execute(COMPUTED)
