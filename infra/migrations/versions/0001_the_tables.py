"""The tables: reference data, candles, series, the ledger and the request slots."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIMEFRAMES = ("5m", "30m", "60m", "1d", "1w")

REFERENCE = """
CREATE TABLE stocks (
    stock_code    text PRIMARY KEY CHECK (stock_code ~ '^[0-9A-Z]{6}$'),
    stock_name    text NOT NULL,
    market_code   text NOT NULL,
    market_name   text NOT NULL,
    listed        boolean NOT NULL DEFAULT true,
    is_target     boolean NOT NULL DEFAULT false,
    absences      integer NOT NULL DEFAULT 0,
    listed_on     date,
    listed_shares bigint,
    audit_info    text,
    state         text,
    sector        text,
    size_class    text,
    order_warning text,
    nxt_enabled   boolean,
    first_seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE stocks IS 'Stocks of KOSPI and KOSDAQ; delisted ones stay';
COMMENT ON COLUMN stocks.is_target IS 'Collected where a trigger names no stocks';

CREATE TABLE market_sessions (
    session_date date PRIMARY KEY,
    opens_at     timestamptz NOT NULL,
    closes_at    timestamptz NOT NULL CHECK (closes_at > opens_at),
    source       text NOT NULL
);
CREATE TABLE session_overrides (
    session_date date PRIMARY KEY,
    opens_at     timestamptz,
    closes_at    timestamptz,
    said_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((opens_at IS NULL) = (closes_at IS NULL)),
    CHECK (closes_at > opens_at)
);
COMMENT ON TABLE session_overrides IS
    'What an operator said about a day; without hours it is closed';
COMMENT ON COLUMN stocks.absences IS
    'How often in a row the master did not name the stock; twice means unlisted';

COMMENT ON TABLE market_sessions IS
    'The trading calendar; a day within its years that is not here is closed';
"""

CANDLES = """
CREATE TABLE candles (
    stock_code text NOT NULL,
    timeframe  text NOT NULL,
    opened_at  timestamptz NOT NULL,
    open       bigint NOT NULL,
    high       bigint NOT NULL,
    low        bigint NOT NULL,
    close      bigint NOT NULL,
    volume     bigint NOT NULL CHECK (volume >= 0),
    turnover   bigint,
    session    text NOT NULL CHECK (session IN ('regular', 'after')),
    rescaled   boolean NOT NULL DEFAULT false,
    PRIMARY KEY (stock_code, timeframe, opened_at),
    CHECK (low > 0 AND low <= open AND low <= close AND high >= open AND high >= close)
) PARTITION BY LIST (timeframe);
COMMENT ON TABLE candles IS 'Adjusted prices in KRW a share; turnover in KRW';
COMMENT ON COLUMN candles.opened_at IS
    'Start of the candle; of days and weeks, midnight in Seoul of the (first) session';

COMMENT ON COLUMN candles.rescaled IS
    'Moved to another price basis by us: the broker no longer serves this candle';

CREATE TABLE series (
    stock_code        text NOT NULL,
    timeframe         text NOT NULL,
    covered_from      date,
    settled_through   date,
    oldest            date,
    history_exhausted boolean NOT NULL DEFAULT false,
    ended             boolean NOT NULL DEFAULT false,
    version           bigint NOT NULL DEFAULT 0,
    collected_at      timestamptz,
    leased_by         text,
    leased_until      timestamptz,
    PRIMARY KEY (stock_code, timeframe)
);
COMMENT ON TABLE series IS
    'What was asked for: from covered_from on, a missing candle is one nobody traded';

CREATE TABLE revisions (
    revision_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id      text NOT NULL,
    stock_code  text NOT NULL,
    timeframe   text NOT NULL,
    opened_at   timestamptz NOT NULL,
    open        bigint NOT NULL,
    high        bigint NOT NULL,
    low         bigint NOT NULL,
    close       bigint NOT NULL,
    volume      bigint NOT NULL,
    turnover    bigint,
    last_seen_at timestamptz,
    revised_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE revisions IS
    'Old values of settled candles that changed, when we last had them, and when not';
CREATE INDEX ON revisions (stock_code, timeframe, opened_at);

CREATE TABLE corporate_actions (
    stock_code   text NOT NULL,
    timeframe    text NOT NULL,
    after_date   date NOT NULL,
    effective_by date NOT NULL,
    ratio        double precision NOT NULL CHECK (ratio > 0),
    evidence     jsonb NOT NULL,
    run_id       text NOT NULL,
    detected_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stock_code, timeframe, after_date, effective_by)
);
COMMENT ON TABLE corporate_actions IS
    'Splits and the like: old prices times ratio are new prices, after after_date';

CREATE TABLE absent_slots (
    stock_code text NOT NULL,
    timeframe  text NOT NULL,
    opened_at  timestamptz NOT NULL,
    run_id     text NOT NULL,
    PRIMARY KEY (stock_code, timeframe, opened_at)
);
COMMENT ON TABLE absent_slots IS
    'A repair asked for these and the broker has nothing: they are not asked for again';

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
COMMENT ON TABLE staged_pages IS
    'Pages of unfinished attempts: the next attempt goes on where the last one failed';

CREATE TABLE quarantine (
    quarantine_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id        text NOT NULL,
    stock_code    text NOT NULL,
    timeframe     text NOT NULL,
    reason        text NOT NULL,
    raw           text NOT NULL,
    refused_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE quarantine IS 'Rows of the broker that are no candles, as they came';
CREATE UNIQUE INDEX ON quarantine (stock_code, timeframe, md5(raw));
"""

READERS = """
CREATE VIEW regular_candles AS
SELECT stock_code, timeframe, opened_at, open, high, low, close, volume, turnover
FROM candles WHERE session = 'regular';
COMMENT ON VIEW regular_candles IS 'Candles without those of the after-market';

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

LEDGER = """
CREATE TABLE runs (
    run_id       text PRIMARY KEY,
    message_id   text NOT NULL,
    trigger      jsonb NOT NULL,
    requested_at timestamptz NOT NULL,
    written_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at timestamptz,
    no_session   boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE runs IS 'What was asked for, and whether its tasks were sent out';

CREATE TABLE tasks (
    run_id        text NOT NULL REFERENCES runs ON DELETE CASCADE,
    stock_code    text NOT NULL,
    timeframe     text NOT NULL,
    request       jsonb NOT NULL,
    state         text NOT NULL DEFAULT 'queued' CHECK
                  (state IN ('queued', 'running', 'failed', 'done', 'no_data', 'dead')),
    attempts      integer NOT NULL DEFAULT 0,
    requests      integer NOT NULL DEFAULT 0,
    inserted      integer NOT NULL DEFAULT 0,
    updated       integer NOT NULL DEFAULT 0,
    unchanged     integer NOT NULL DEFAULT 0,
    rejected      integer NOT NULL DEFAULT 0,
    error_code    text,
    error_message text,
    started_at    timestamptz,
    finished_at   timestamptz,
    PRIMARY KEY (run_id, stock_code, timeframe)
);
COMMENT ON TABLE tasks IS 'One stock in one timeframe of one run';
COMMENT ON COLUMN tasks.requests IS 'HTTP calls to the broker, of all attempts';
CREATE INDEX ON tasks (stock_code, timeframe);

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
COMMENT ON VIEW run_states IS 'How far each run is: always counted, never kept';

CREATE TABLE rate_slots (
    app_key_id   text NOT NULL,
    api_id       text NOT NULL,
    next_free_at timestamptz NOT NULL,
    PRIMARY KEY (app_key_id, api_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE rate_slots IS 'When the next request of each call may be sent';
"""


def upgrade() -> None:
    """Create everything, from an empty database."""
    op.execute(REFERENCE)
    op.execute(CANDLES)
    for timeframe in TIMEFRAMES:
        op.execute(
            f"CREATE TABLE candles_{timeframe} PARTITION OF candles "
            f"FOR VALUES IN ('{timeframe}')"
        )
    op.execute(READERS)
    op.execute(LEDGER)


def downgrade() -> None:
    """Drop everything."""
    op.execute("DROP VIEW run_states, daily_candles, regular_candles")
    op.execute(
        "DROP TABLE rate_slots, tasks, runs, quarantine, staged_pages, absent_slots, "
        "corporate_actions, revisions, series, candles, session_overrides, "
        "market_sessions, stocks"
    )
