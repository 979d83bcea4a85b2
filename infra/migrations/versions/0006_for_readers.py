"""The views of the schema ``reader``: all that the package tradesmart reads.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

DAILY_CANDLES = """
CREATE OR REPLACE VIEW daily_candles AS
SELECT day.stock_code, seoul.session_date, day.open, day.high, day.low, day.close,
       day.volume, day.turnover,
       CASE WHEN seoul.session_date < '2026-09-14' THEN day.close
            ELSE regular.close END AS official_close,
       coalesce(seoul.session_date <= days.settled_through, false) AS is_settled,
       day.opened_at
FROM candles AS day
LEFT JOIN series AS days ON days.stock_code = day.stock_code AND days.timeframe = '1d'
CROSS JOIN LATERAL (
    SELECT (day.opened_at AT TIME ZONE 'Asia/Seoul')::date AS session_date
) AS seoul
LEFT JOIN LATERAL (
    SELECT minute.close
    FROM market_sessions AS hours
    CROSS JOIN (VALUES ('5m', 1), ('30m', 2), ('60m', 3)) AS finest (timeframe, place)
    CROSS JOIN LATERAL (
        SELECT opened_at, close FROM candles
        WHERE stock_code = day.stock_code AND timeframe = finest.timeframe
          AND opened_at >= day.opened_at AND opened_at <= hours.closes_at
          AND session = 'regular'
        ORDER BY opened_at DESC LIMIT 1
    ) AS minute
    WHERE seoul.session_date >= '2026-09-14'
      AND hours.session_date = seoul.session_date
      AND (minute.opened_at = hours.closes_at
           OR EXISTS (
               SELECT FROM candles AS later
               WHERE later.stock_code = day.stock_code
                 AND later.timeframe = finest.timeframe
                 AND later.opened_at > hours.closes_at
                 AND later.opened_at < day.opened_at + interval '1 day')
           OR EXISTS (
               SELECT FROM series
               WHERE series.stock_code = day.stock_code
                 AND series.timeframe = finest.timeframe
                 AND series.settled_through >= seoul.session_date))
    ORDER BY finest.place LIMIT 1
) AS regular ON true
WHERE day.timeframe = '1d';
"""

SCHEMA = """
CREATE SCHEMA reader;
COMMENT ON SCHEMA reader IS 'Views for readers of candles; docs/data.md describes them';

CREATE VIEW reader.contract AS SELECT 1 AS version;
COMMENT ON VIEW reader.contract IS
    'The package refuses another version. One more column is none; one less is';

CREATE VIEW reader.stocks AS
SELECT stock_code, stock_name, market_code, market_name, sector, listed, is_target,
       concat(state, audit_info) LIKE '%거래정지%' AS halted, listed_on, listed_shares
FROM public.stocks;
COMMENT ON VIEW reader.stocks IS 'Stocks of KOSPI and KOSDAQ; delisted ones stay';

CREATE VIEW reader.calendar AS
SELECT first_day, last_day, version FROM public.calendar_state;
COMMENT ON VIEW reader.calendar IS
    'One row: the span within which a day without a session is closed';

CREATE VIEW reader.sessions AS
SELECT session_date, opens_at, closes_at, source FROM public.market_sessions;
COMMENT ON VIEW reader.sessions IS 'Hours of each session, as they hold now';

CREATE VIEW reader.series AS
SELECT stock_code, timeframe, covered_from, wanted_from, loaded_on, settled_through,
       oldest,
       (SELECT max(opened_at) FROM public.candles
        WHERE candles.stock_code = series.stock_code
          AND candles.timeframe = series.timeframe) AS newest,
       end_seen_on, history_exhausted, ended, collected_at AS asked_at, version
FROM public.series;
COMMENT ON VIEW reader.series IS
    'What is proven of a stock in a timeframe; asked_at is when the broker answered';

CREATE VIEW reader.candles AS
SELECT stock_code, timeframe, opened_at, open, high, low, close, volume, turnover,
       session, rescaled
FROM public.candles;
COMMENT ON VIEW reader.candles IS
    'Adjusted prices in KRW a share; session is regular or after';

CREATE VIEW reader.daily_candles AS
SELECT stock_code, opened_at, open, high, low, close, volume, turnover, official_close
FROM public.daily_candles;
COMMENT ON VIEW reader.daily_candles IS
    'Days with the price of the closing auction, where minutes tell it';

CREATE VIEW reader.absences AS
SELECT stock_code, timeframe, opened_at, confirmations FROM public.absent_slots;
COMMENT ON VIEW reader.absences IS
    'Candle slots where the broker is proven to have no candle, and how often';

CREATE VIEW reader.days_without_trades AS
SELECT stock_code, (opened_at AT TIME ZONE 'Asia/Seoul')::date AS session_date
FROM public.candles WHERE timeframe = '1d' AND volume = 0;
COMMENT ON VIEW reader.days_without_trades IS
    'Sessions on which no one traded the stock, by its daily candle';

CREATE VIEW reader.actions AS
SELECT stock_code, timeframe, after_date, effective_by, ratio, evidence::text,
       detected_at
FROM public.corporate_actions;
COMMENT ON VIEW reader.actions IS
    'Splits and the like: prices up to after_date were multiplied by ratio';
"""

# The role of readers, where it exists by now; otherwise infra/migrate.py grants it.
GRANTS = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pipeline_reader') THEN
        GRANT USAGE ON SCHEMA reader TO pipeline_reader;
        GRANT SELECT ON ALL TABLES IN SCHEMA reader TO pipeline_reader;
    END IF;
END $$
"""


def upgrade() -> None:
    """Add the views; no candle is touched."""
    op.execute(DAILY_CANDLES)
    op.execute(SCHEMA)
    op.execute(GRANTS)


def downgrade() -> None:
    """Take them away again; daily_candles keeps its last column."""
    op.execute("DROP SCHEMA reader CASCADE")
