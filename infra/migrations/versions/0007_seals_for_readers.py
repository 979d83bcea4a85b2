"""Seals of settled sessions, and absences with their sessions, for readers.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

SEALS = """
CREATE VIEW reader.seals AS
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
COMMENT ON VIEW reader.seals IS
    'Count and SHA-256 of the candles of each settled session; of days and weeks, of
each calendar year, by its first day';
"""


def upgrade() -> None:
    """Add the view."""
    op.execute(SEALS)


def downgrade() -> None:
    """Take it away again."""
    op.execute("DROP VIEW reader.seals")
