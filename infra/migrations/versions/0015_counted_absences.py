"""Absences are counted by session: a map of a market reads no slot.

Thinly traded stocks have no candle in a third of their slots, so that a market has
millions of absent slots in a few weeks. Whatever changes them counts those sessions
anew, in the same transaction.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

COUNTS = """
CREATE TABLE absence_counts (
    stock_code   text NOT NULL,
    timeframe    text NOT NULL,
    session_date date NOT NULL,
    absent       integer NOT NULL CHECK (absent > 0),
    confirmed    integer NOT NULL,
    PRIMARY KEY (stock_code, timeframe, session_date)
);
COMMENT ON TABLE absence_counts IS
    'How many absent slots each session has; triggers on absent_slots count them';
COMMENT ON COLUMN absence_counts.confirmed IS
    'How many of them a later reading found again';
CREATE INDEX absence_counts_of_a_map ON absence_counts (timeframe, session_date)
    INCLUDE (stock_code, absent, confirmed);
"""
FILL = """
INSERT INTO absence_counts
SELECT stock_code, timeframe, (opened_at AT TIME ZONE interval '9 hours')::date,
       count(*), count(*) FILTER (WHERE confirmations > 1)
FROM absent_slots GROUP BY 1, 2, 3;
"""
# No account has to have the right to write the counts.
COUNT = """
CREATE FUNCTION count_absences() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM changed) THEN
        RETURN NULL;
    END IF;
    -- Who counts the same sessions waits, and then sees what was counted.
    PERFORM FROM series
    WHERE (stock_code, timeframe) IN (SELECT stock_code, timeframe FROM changed)
    ORDER BY stock_code, timeframe FOR NO KEY UPDATE;
    WITH sessions AS (
        SELECT DISTINCT stock_code, timeframe,
               (opened_at AT TIME ZONE interval '9 hours')::date AS session_date
        FROM changed
    ), counted AS (
        SELECT sessions.*, slots.absent, slots.confirmed
        FROM sessions CROSS JOIN LATERAL (
            SELECT count(*) AS absent,
                   count(*) FILTER (WHERE confirmations > 1) AS confirmed
            FROM absent_slots
            WHERE absent_slots.stock_code = sessions.stock_code
              AND absent_slots.timeframe = sessions.timeframe
              AND opened_at >= session_date::timestamp AT TIME ZONE interval '9 hours'
              AND opened_at < (session_date + 1)::timestamp
                              AT TIME ZONE interval '9 hours'
        ) AS slots
    ), gone AS (
        DELETE FROM absence_counts USING counted
        WHERE absence_counts.stock_code = counted.stock_code
          AND absence_counts.timeframe = counted.timeframe
          AND absence_counts.session_date = counted.session_date
          AND counted.absent = 0
    )
    INSERT INTO absence_counts AS known
    SELECT * FROM counted WHERE absent > 0
    ORDER BY stock_code, timeframe, session_date
    ON CONFLICT (stock_code, timeframe, session_date) DO UPDATE
    SET absent = excluded.absent, confirmed = excluded.confirmed
    WHERE (known.absent, known.confirmed) <> (excluded.absent, excluded.confirmed);
    RETURN NULL;
END $$;
"""
TRIGGERS = """
CREATE TRIGGER count_inserted AFTER INSERT ON absent_slots
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_absences();
CREATE TRIGGER count_updated AFTER UPDATE ON absent_slots
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_absences();
CREATE TRIGGER count_deleted AFTER DELETE ON absent_slots
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_absences();
"""


def upgrade() -> None:
    """Count what is there, and from now on what changes."""
    op.execute(COUNTS)
    op.execute(COUNT)
    op.execute(TRIGGERS)
    op.execute("LOCK TABLE absent_slots IN SHARE ROW EXCLUSIVE MODE")
    op.execute(FILL)
    op.execute("DROP INDEX absent_slots_of_a_map")


def downgrade() -> None:
    """Count slots again where their number is asked for."""
    for event in ("inserted", "updated", "deleted"):
        op.execute(f"DROP TRIGGER count_{event} ON absent_slots")
    op.execute("DROP FUNCTION count_absences")
    op.execute("DROP TABLE absence_counts")
    op.execute("""
        CREATE INDEX absent_slots_of_a_map
            ON absent_slots (timeframe, opened_at) INCLUDE (stock_code, confirmations)
    """)
