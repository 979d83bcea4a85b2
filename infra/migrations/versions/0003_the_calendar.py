"""The calendar's span and version, former listings, and the official close.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# What was loaded so far were tables of whole years; an operator's single days are none.
CALENDAR = """
CREATE TABLE calendar_state (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    first_day date,
    last_day  date,
    version   bigint NOT NULL DEFAULT 0,
    CHECK (first_day <= last_day)
);
COMMENT ON TABLE calendar_state IS
    'One row: the span of market_sessions, and how often the calendar changed';
COMMENT ON COLUMN calendar_state.first_day IS
    'Within first_day to last_day a day without a session is closed; outside, only the
days in session_overrides are known. Both are null before the first sync.';
INSERT INTO calendar_state (first_day, last_day)
SELECT date_trunc('year', min(session_date))::date,
       (date_trunc('year', max(session_date)) + interval '1 year - 1 day')::date
FROM market_sessions WHERE source <> 'operator';
COMMENT ON TABLE market_sessions IS
    'The trading calendar as it holds: the table of the repository, and the operator''s
overrides above it; see calendar_state for its span';
COMMENT ON TABLE session_overrides IS
    'What an operator said about single days, closed without hours; kept apart from the
table, so that it can be withdrawn';
"""

LISTINGS = """
CREATE TABLE former_listings (
    stock_code  text NOT NULL,
    listed_on   date NOT NULL,
    stock_name  text NOT NULL,
    market_code text NOT NULL,
    market_name text NOT NULL,
    archived_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stock_code, listed_on)
);
COMMENT ON TABLE former_listings IS
    'What a stock code stood for before it was listed again, by its listing date then';
CREATE TABLE former_candles (
    LIKE candles INCLUDING COMMENTS,
    listed_on date NOT NULL,
    PRIMARY KEY (stock_code, listed_on, timeframe, opened_at),
    FOREIGN KEY (stock_code, listed_on) REFERENCES former_listings
);
COMMENT ON TABLE former_candles IS
    'Candles of former_listings, as they were when the code was listed again';
"""

# Only days since the after-market began need minutes. A day's last regular price is
# known to be the last one if the series is settled, or goes on after the auction.
OFFICIAL_CLOSE = """
CREATE OR REPLACE VIEW daily_candles AS
SELECT day.stock_code, seoul.session_date, day.open, day.high, day.low, day.close,
       day.volume, day.turnover,
       CASE WHEN seoul.session_date < '2026-09-14' THEN day.close
            ELSE regular.close END AS official_close,
       coalesce(seoul.session_date <= days.settled_through, false) AS is_settled
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
COMMENT ON VIEW daily_candles IS
    'Since 2026-09-14 days include the after-market. official_close is the price of the
closing auction; where no trade took place in it, the last regular price of the day.
It comes from the finest minutes we have, null until they reach past the auction. A day
that is not settled may change.';
"""

FORMER_CLOSE = """
DROP VIEW daily_candles;
CREATE VIEW daily_candles AS
SELECT day.stock_code, session_date, day.open, day.high, day.low, day.close,
       day.volume, day.turnover,
       CASE WHEN session_date < '2026-09-14' THEN day.close ELSE auction.close END
           AS official_close
FROM candles AS day
CROSS JOIN LATERAL (
    SELECT (day.opened_at AT TIME ZONE 'Asia/Seoul')::date AS session_date
) AS seoul
LEFT JOIN LATERAL (
    SELECT minute.close
    FROM market_sessions JOIN candles AS minute ON minute.opened_at = closes_at
    WHERE market_sessions.session_date = seoul.session_date
      AND minute.stock_code = day.stock_code AND minute.timeframe IN ('5m', '30m')
    ORDER BY minute.timeframe DESC LIMIT 1
) AS auction ON true
WHERE day.timeframe = '1d';
COMMENT ON VIEW daily_candles IS
    'Since 2026-09-14 days include the after-market; official_close is the price
of the closing auction, from the minutes where we have them';
"""


def upgrade() -> None:
    """Add what is new; no candle is touched."""
    op.execute(CALENDAR)
    op.execute(LISTINGS)
    op.execute(OFFICIAL_CLOSE)


def downgrade() -> None:
    """Take it away again; candles of former listings are lost."""
    op.execute(FORMER_CLOSE)
    op.execute("DROP TABLE former_candles, former_listings, calendar_state")
    op.execute(
        "COMMENT ON TABLE market_sessions IS "
        "'The trading calendar; a day within its years that is not here is closed'"
    )
    op.execute(
        "COMMENT ON TABLE session_overrides IS "
        "'What an operator said about a day; without hours it is closed'"
    )
