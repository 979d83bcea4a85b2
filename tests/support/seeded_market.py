"""A market written straight into PostgreSQL: whole series, settled and complete."""

from __future__ import annotations

from datetime import date, timedelta

from sqlalchemy import text

from functions.reference_sync.reference_data import bundled_calendar
from shared.candles import Timeframe
from shared.database.engine import new_engine, transaction
from shared.database.session_store import SessionStore
from shared.sessions import DAY, midnight
from shared.settings import DatabaseSettings

# When the tick that settles a session has been worked off.
MORNING = timedelta(hours=7, minutes=31)
# Stocks a statement, because a statement may not take long.
AT_ONCE = 100
CALENDAR = bundled_calendar()
STOCKS = text("""
    INSERT INTO stocks (stock_code, stock_name, market_code, market_name, is_target,
                        listed_on)
    SELECT code, name, '0', 'KOSPI', true, date '1990-01-03'
    FROM unnest(cast(:codes AS text[]), cast(:names AS text[])) AS t (code, name)
    ON CONFLICT DO NOTHING
""")
# Prices follow a wave of their own for each stock; the noise on it is a hash.
CANDLES = text("""
    INSERT INTO candles (stock_code, timeframe, opened_at, open, high, low, close,
                         volume, turnover, session)
    SELECT code, :timeframe, to_timestamp(slot),
           base + 10 * mod(noise, 40), base + 400 + 10 * mod(noise / 64, 20),
           base - 10 * mod(noise / 4096, 20), base + 10 * mod(noise / 512, 40),
           1 + mod(noise, 100003), cast(:turnover AS bigint), part
    FROM unnest(cast(:codes AS text[])) WITH ORDINALITY AS c (code, number)
    CROSS JOIN unnest(cast(:slots AS bigint[]), cast(:parts AS text[]))
               WITH ORDINALITY AS s (slot, part, place)
    CROSS JOIN LATERAL (
        SELECT 10000 + number * 100 + mod(place, 400) * 50 AS base,
               abs(hashint8(cast(code AS bigint) * 1000003 + place)::bigint) AS noise
    ) AS price
""")
SERIES = text("""
    INSERT INTO series (stock_code, timeframe, covered_from, wanted_from, loaded_on,
                        settled_through, oldest, asked_at)
    SELECT code, :timeframe, cast(:first AS date), cast(:first AS date),
           cast(:first AS date), cast(:last AS date), cast(:oldest AS date),
           cast(:asked_at AS timestamptz)
    FROM unnest(cast(:codes AS text[])) AS c (code)
""")
# As the pipeline seals what it stores, but for all series in one statement.
SEALS = text("""
    INSERT INTO session_seals (stock_code, timeframe, session_date, candles, digest,
                               on_grid)
    SELECT stock_code, timeframe, session_date, count(*),
           sha256(convert_to(string_agg(line, '' ORDER BY opened_at), 'UTF8')), count(*)
    FROM (
        SELECT stock_code, timeframe, opened_at,
               CASE WHEN timeframe IN ('1d', '1w') THEN date_trunc('year', opens)::date
                    ELSE opens::date END AS session_date,
               format(E'%s,%s,%s,%s,%s,%s,%s,%s\\n',
                      extract(epoch FROM opened_at)::bigint, open, high, low, close,
                      volume, turnover, session) AS line
        FROM candles JOIN series USING (stock_code, timeframe)
        CROSS JOIN LATERAL (
            SELECT opened_at AT TIME ZONE interval '9 hours' AS opens
        ) AS seoul
        WHERE opens::date <= settled_through
          AND timeframe = :timeframe AND stock_code = ANY (cast(:codes AS text[]))
    ) AS settled
    GROUP BY stock_code, timeframe, session_date
""")


def seal_again(connection):
    """Seal all series, as if the pipeline had stored what is there."""
    connection.execute(text("DELETE FROM session_seals"))
    kept = connection.execute(text("SELECT stock_code, timeframe FROM series")).all()
    for timeframe in Timeframe:
        codes = [code for code, of in kept if of == timeframe]
        values = {"codes": codes, "timeframe": timeframe.value}
        connection.execute(SEALS, values)


def batched(stocks, size):
    codes = list(stocks)
    return [codes[begin : begin + size] for begin in range(0, len(codes), size)]


def write(url, stocks, timeframe, first, last, *, turnover=None):
    """Write every candle of ``stocks`` (name by code) from ``first`` to ``last``.

    Both days are included. The series are covered from ``first`` on, settled through
    ``last``, and were asked for on the morning after it.
    """
    first, last = date.fromisoformat(first), date.fromisoformat(last)
    timeframe = Timeframe(timeframe)
    slots = [
        slot
        for day in CALENDAR.session_dates(first, last)
        for slot in CALENDAR.slots(timeframe, day)
    ]
    values = {
        "timeframe": timeframe.value,
        "slots": [int(slot.timestamp()) for slot in slots],
        "parts": [CALENDAR.place(timeframe, slot).value for slot in slots],
        "turnover": turnover,
        "first": first,
        "last": last,
        "oldest": slots[0].date(),
        "asked_at": midnight(last + DAY) + MORNING,
    }
    engine = new_engine(DatabaseSettings(url=url))
    try:
        with transaction(engine) as connection:
            known = connection.execute(text("SELECT first_day FROM calendar_state"))
            empty = known.scalar() is None
        if empty:
            SessionStore(engine).write(CALENDAR)
        with transaction(engine) as connection:
            for some in batched(stocks, AT_ONCE):
                part = {"codes": list(some), "names": [stocks[code] for code in some]}
                for statement in (STOCKS, CANDLES, SERIES, SEALS):
                    connection.execute(statement, values | part)
    finally:
        engine.dispose()
    return slots
