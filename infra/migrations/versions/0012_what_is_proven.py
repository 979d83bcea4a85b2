"""Through when a series was asked for, and how many of its slots are accounted for.

``collected_at`` moves with every task, also with one that reads old days again.
``asked_at`` is through when all that the broker had was asked for. Of what is there by
then, no more is proven than what is settled: the next tick of each series tells the
rest.

``accounted_for`` counts the slots of settled sessions that have a candle, or where the
broker is known to have none: with the calendar it tells that nothing is missing, and no
seal has to be read. ``seal_sessions`` writes it with the seals. It is planned anew each
time: a plan from when the tables were small would be kept for as long as a connection.

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


ACCOUNTED_FOR = """
ALTER TABLE session_seals ADD COLUMN on_grid integer;
ALTER TABLE series ADD COLUMN accounted_for bigint;
-- What a map of sessions reads of a whole market, without the tables.
CREATE INDEX session_seals_of_a_map
    ON session_seals (timeframe, session_date) INCLUDE (stock_code, on_grid, candles);
CREATE INDEX absent_slots_of_a_map
    ON absent_slots (timeframe, opened_at) INCLUDE (stock_code, confirmations);
COMMENT ON COLUMN session_seals.on_grid IS
    'How many of the candles open in a slot of the grid: none in the closing call';
COMMENT ON COLUMN series.accounted_for IS
    'Slots of settled sessions with a candle, or where the broker has none';
"""
# Whatever comes after the last seal is sealed, too: a series that settled before there
# were seals catches up. What is touched is told in whole days, or in whole years.
SEAL = """
CREATE FUNCTION seal_sessions(
    code text, frame text, touched tstzmultirange, settled date
) RETURNS integer LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    unit text := CASE WHEN frame IN ('1d', '1w') THEN 'year' ELSE 'day' END;
    beyond timestamptz := (coalesce(settled, date '1900-01-01') + 1)::timestamp
                          AT TIME ZONE interval '9 hours';
    unsealed_from timestamptz := coalesce(
        ((SELECT max(session_date) FROM session_seals
          WHERE stock_code = code AND timeframe = frame) + 1)::timestamp
        AT TIME ZONE interval '9 hours', '-infinity');
    begins timestamptz := least(lower(touched), unsealed_from);
    written integer;
BEGIN
    WITH fresh AS (
        SELECT session_date, count(*) AS candles,
               sha256(convert_to(string_agg(line, '' ORDER BY opened_at), 'UTF8'))
                   AS digest,
               count(*) FILTER (WHERE off_grid) AS off_grid
        FROM (
            SELECT opened_at, opens.session_date,
                   concat_ws(',', date_part('epoch', opened_at)::bigint, open, high,
                             low, close, volume, coalesce(turnover::text, ''),
                             session || E'\\n') AS line,
                   frame = '5m'
                   AND opened_at >= closes_at - interval '10 minutes'
                   AND opened_at < closes_at + interval '30 minutes'
                   AND NOT opened_at BETWEEN closes_at
                                         AND closes_at + interval '5 minutes'
                       AS off_grid
            FROM candles
            CROSS JOIN LATERAL (
                SELECT date_trunc(unit, opened_at AT TIME ZONE interval '9 hours')::date
                           AS session_date
            ) AS opens
            LEFT JOIN market_sessions AS hours
              ON hours.session_date = opens.session_date
            WHERE stock_code = code AND timeframe = frame
              AND opened_at >= begins AND opened_at < beyond
              AND (opened_at >= unsealed_from OR opened_at <@ touched)
        ) AS sealed
        GROUP BY session_date
    ), gone AS (
        DELETE FROM session_seals
        WHERE stock_code = code AND timeframe = frame
          AND session_date >= least((begins AT TIME ZONE interval '9 hours')::date,
                                    coalesce(settled, '-infinity'))
          AND (session_date::timestamp AT TIME ZONE interval '9 hours' <@ touched
               OR session_date > coalesce(settled, '-infinity'))
          AND session_date NOT IN (SELECT session_date FROM fresh)
    )
    INSERT INTO session_seals (stock_code, timeframe, session_date, candles, digest,
                               on_grid)
    SELECT code, frame, session_date, candles, digest,
           candles - off_grid
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
COMMENT ON FUNCTION seal_sessions IS
    'Seal what was touched or has settled of a series; how many seals were written';
"""
# As the function does it, for what is there.
COUNT = """
UPDATE session_seals AS seal
SET on_grid = candles - CASE WHEN timeframe <> '5m' THEN 0 ELSE coalesce((
    SELECT off_grid.candles FROM market_sessions AS hours
    CROSS JOIN LATERAL (
        SELECT count(*) AS candles FROM candles
        WHERE candles.stock_code = seal.stock_code
          AND candles.timeframe = seal.timeframe
          AND opened_at >= closes_at - interval '10 minutes'
          AND opened_at < closes_at + interval '30 minutes'
          AND NOT opened_at BETWEEN closes_at AND closes_at + interval '5 minutes'
    ) AS off_grid
    WHERE hours.session_date = seal.session_date), 0) END;
UPDATE series SET accounted_for =
    (SELECT coalesce(sum(on_grid), 0) FROM session_seals AS seal
     WHERE seal.stock_code = series.stock_code AND seal.timeframe = series.timeframe)
    + (SELECT count(*) FROM absent_slots AS absent
       WHERE absent.stock_code = series.stock_code
         AND absent.timeframe = series.timeframe
         AND opened_at < (settled_through + 1)::timestamp
                         AT TIME ZONE interval '9 hours');
"""


def upgrade() -> None:
    """Add the columns; readers see one under the name that they know."""
    op.execute(ASKED)
    op.execute(ACCOUNTED_FOR)
    op.execute(SEAL)
    op.execute(COUNT)
    told = "through asked_at all that the broker had was asked for"
    op.execute(VIEW.format(asked_at="asked_at", comment=told))


def downgrade() -> None:
    """Take it away again."""
    told = "asked_at is when the broker answered"
    op.execute(VIEW.format(asked_at="collected_at", comment=told))
    op.execute("DROP FUNCTION seal_sessions")
    op.execute("DROP INDEX session_seals_of_a_map, absent_slots_of_a_map")
    op.execute("ALTER TABLE session_seals DROP COLUMN on_grid")
    op.execute("ALTER TABLE series DROP COLUMN asked_at, DROP COLUMN accounted_for")
