"""Sealing reads session by session, in the order of the index.

It read all candles at once, looked up the hours of the market for each, and sorted
them: for a stock's year of minutes twice the work.

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

from alembic import context, op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

# One seal is of a session, or of a year of days or weeks. LATERAL with LIMIT has the
# hours looked up by their key, however little is known of the tables.
SEAL = """
CREATE OR REPLACE FUNCTION seal_sessions(
    code text, frame text, touched tstzmultirange, settled date
) RETURNS integer LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    seoul interval := '9 hours';
    unit text := CASE WHEN frame IN ('1d', '1w') THEN 'year' ELSE 'day' END;
    step interval := '1 ' || unit;
    beyond timestamptz := (coalesce(settled, date '1900-01-01') + 1)::timestamp
                          AT TIME ZONE seoul;
    unsealed_from timestamptz := coalesce(
        ((SELECT max(session_date) FROM session_seals
          WHERE stock_code = code AND timeframe = frame) + 1)::timestamp
        AT TIME ZONE seoul, '-infinity');
    begins timestamptz := least(lower(touched), unsealed_from);
    written integer;
BEGIN
    IF begins = '-infinity' THEN  -- nothing is sealed yet
        begins := (SELECT min(opened_at) FROM candles
                   WHERE stock_code = code AND timeframe = frame);
    END IF;
    WITH spans AS (
        SELECT at::date AS session_date, at AT TIME ZONE seoul AS begun,
               least((at + step) AT TIME ZONE seoul, beyond) AS ended
        FROM generate_series(date_trunc(unit, begins AT TIME ZONE seoul),
                             settled::timestamp, step) AS at
    ), sessions AS MATERIALIZED (
        SELECT spans.*, hours.*
        FROM spans LEFT JOIN LATERAL (
            SELECT closes_at - interval '10 minutes' AS call_begins, closes_at,
                   closes_at + interval '5 minutes' AS last_opens,
                   closes_at + interval '30 minutes' AS after_begins
            FROM market_sessions
            WHERE session_date = spans.session_date AND frame = '5m'
            LIMIT 1
        ) AS hours ON true
        WHERE ended > unsealed_from OR begun <@ touched
    ), fresh AS (
        SELECT session_date, candles, digest, off_grid
        FROM sessions CROSS JOIN LATERAL (
            SELECT count(*) AS candles,
                   sha256(convert_to(string_agg(
                       concat_ws(',', date_part('epoch', opened_at)::bigint, open, high,
                                 low, close, volume, coalesce(turnover::text, ''),
                                 session || E'\\n'),
                       '' ORDER BY opened_at), 'UTF8')) AS digest,
                   count(*) FILTER (
                       WHERE opened_at >= call_begins AND opened_at < after_begins
                       AND NOT opened_at BETWEEN closes_at AND last_opens) AS off_grid
            FROM candles
            WHERE stock_code = code AND timeframe = frame
              AND opened_at >= begun AND opened_at < ended
        ) AS reading
        WHERE candles > 0
    ), gone AS (
        DELETE FROM session_seals
        WHERE unsealed_from > '-infinity'  -- where nothing is sealed, nothing is gone
          AND stock_code = code AND timeframe = frame
          AND session_date >= least((begins AT TIME ZONE seoul)::date,
                                    coalesce(settled, '-infinity'))
          AND (session_date::timestamp AT TIME ZONE seoul <@ touched
               OR session_date > coalesce(settled, '-infinity'))
          AND session_date NOT IN (SELECT session_date FROM fresh)
    )
    INSERT INTO session_seals (stock_code, timeframe, session_date, candles, digest,
                               on_grid)
    SELECT code, frame, session_date, candles, digest, candles - off_grid
    FROM fresh
    ON CONFLICT (stock_code, timeframe, session_date) DO UPDATE
    SET candles = excluded.candles, digest = excluded.digest,
        sealed_at = excluded.sealed_at, on_grid = excluded.on_grid
    WHERE (session_seals.candles, session_seals.digest, session_seals.on_grid)
          IS DISTINCT FROM (excluded.candles, excluded.digest, excluded.on_grid);
    GET DIAGNOSTICS written = ROW_COUNT;
    UPDATE series SET accounted_for =
        (SELECT coalesce(sum(on_grid), 0) FROM session_seals
         WHERE stock_code = code AND timeframe = frame)
        + (SELECT count(*) FROM absent_slots
           WHERE stock_code = code AND timeframe = frame AND opened_at < beyond)
    WHERE stock_code = code AND timeframe = frame;
    RETURN written;
END $$;
"""


def upgrade() -> None:
    """Replace the function; what it writes stays the same."""
    op.execute(SEAL)


def downgrade() -> None:
    """Bring back the function as it was first written."""
    first = context.script.get_revision("0012").module.SEAL
    op.execute(first.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
