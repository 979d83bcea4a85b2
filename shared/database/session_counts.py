"""What is stored of each session, counted by PostgreSQL for many stocks at once.

Of each session of a stock it tells one number, a thousand times the day (counted from
2000) plus how many candles it has, and another one where candles are absent. A list of
numbers costs a tenth of rows, and stocks with the same list, as most are, share a row.
A candle that opens in no slot of the grid does not count: in the ten minutes of the
closing call, and in the pause after the session.
"""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from shared.candles import Timeframe
from shared.session_map import MANY_SERIES, Detail
from shared.sessions import DAY, midnight
from shared.verdicts import SessionFacts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection

# A whole market is counted in memory, instead of by way of the disk.
IN_MEMORY = text("SET LOCAL work_mem = '32MB'")
# Days are counted from here.
EPOCH = date(2000, 1, 1)
DAY_OF = "((opened_at AT TIME ZONE interval '9 hours')::date - date '2000-01-01')"
IN_RANGE = """
    timeframe = :timeframe AND opened_at >= :first AND opened_at < :beyond
    AND (cast(:codes AS text[]) IS NULL OR stock_code = ANY(cast(:codes AS text[])))
"""
SHARED = """
    SELECT string_agg(stock_code, ' ') AS codes, told::text
    FROM ({told}) AS stocks (stock_code, told) GROUP BY stocks.told
"""
OF_MINUTES = f"""
    SELECT stock_code, array_agg(day * 1000 + candles) FROM (
        SELECT stock_code, {DAY_OF} AS day, count(*) AS candles
        FROM candles WHERE {IN_RANGE} GROUP BY 1, 2) AS counted
    GROUP BY stock_code
"""
OF_FIVE_MINUTES = f"""
    SELECT stock_code, array_agg(day * 1000 + candles) FROM (
        SELECT stock_code, {DAY_OF} AS day, count(*) AS candles
        FROM candles JOIN market_sessions
          ON session_date = (opened_at AT TIME ZONE interval '9 hours')::date
        WHERE {IN_RANGE}
          AND NOT (opened_at >= closes_at - interval '10 minutes'
                   AND opened_at < closes_at)
          AND NOT (opened_at > closes_at + interval '5 minutes'
                   AND opened_at < closes_at + interval '30 minutes')
        GROUP BY 1, 2) AS counted
    GROUP BY stock_code
"""
OF_DAYS = f"""
    SELECT stock_code, array_agg({DAY_OF} * 1000 + 1)
    FROM candles WHERE {IN_RANGE} GROUP BY stock_code
"""
# Of a whole market, settled minutes are taken from their seals: there are a hundred
# times as many candles. What was changed behind our backs is found by `make verify`.
OF_SETTLED = """
    SELECT stock_code,
           (session_date - date '2000-01-01') * 1000 + coalesce(on_grid, candles)
               AS number
    FROM session_seals
    WHERE timeframe = :timeframe AND session_date BETWEEN :start AND :last
      AND (cast(:codes AS text[]) IS NULL
           OR stock_code = ANY(cast(:codes AS text[])))
"""
OF_OPEN = f"""
    SELECT series.stock_code, fresh.day * 1000 + fresh.candles
    FROM series CROSS JOIN LATERAL (
        SELECT {DAY_OF} AS day, count(*) AS candles FROM candles
        WHERE candles.stock_code = series.stock_code
          AND candles.timeframe = :timeframe
          AND opened_at >= greatest(
              :first, (settled_through + 1)::timestamp
                      AT TIME ZONE interval '9 hours')
          AND opened_at < :beyond
        GROUP BY 1) AS fresh
    WHERE series.timeframe = :timeframe
      AND (cast(:codes AS text[]) IS NULL
           OR series.stock_code = ANY(cast(:codes AS text[])))
"""
OF_SEALS = f"""
    SELECT stock_code, array_agg(number) FROM ({OF_SETTLED}) AS counted
    GROUP BY stock_code
"""
SEALED = f"""
    SELECT stock_code, array_agg(number)
    FROM ({OF_SETTLED} UNION ALL {OF_OPEN}) AS counted
    GROUP BY stock_code
"""
MANY = text("""
    SELECT count(*) FROM series
    WHERE timeframe = :timeframe AND covered_from IS NOT NULL
""")
ABSENT = """
    SELECT stock_code,
           array_agg((session_date - date '2000-01-01') * bigint '1000000'
                     + absent * 1000 + confirmed ORDER BY session_date)
    FROM absence_counts
    WHERE timeframe = :timeframe AND session_date BETWEEN :start AND :last
      AND (cast(:codes AS text[]) IS NULL OR stock_code = ANY(cast(:codes AS text[])))
    GROUP BY stock_code
"""
# Days on which no one traded, by the daily candles.
WITHOUT_TRADES = text("""
    SELECT stock_code,
           string_agg(((opened_at AT TIME ZONE interval '9 hours')::date
                       - date '2000-01-01')::text, ' ')
    FROM candles
    WHERE timeframe = '1d' AND volume = 0
      AND opened_at >= :first AND opened_at < :beyond
      AND stock_code = ANY(cast(:codes AS text[]))
    GROUP BY stock_code
""")


def sessions(  # noqa: PLR0913 - the questions of a map
    connection: Connection,
    timeframe: Timeframe,
    start: date,
    last: date,
    codes: Sequence[str] | None,
    detail: Detail,
) -> dict[str, dict[date, SessionFacts]]:
    """What is stored of each session from ``start`` to ``last``, by stock.

    Of a whole market, settled minutes are told by their seals. What is equal is one
    object, of sessions as of stocks.
    """
    values = between(start, last) | {
        "timeframe": timeframe.value,
        "codes": None if codes is None else list(codes),
        "start": start,
        "last": last,
    }
    counting = _counting(timeframe)
    if timeframe.minutes:
        is_sealed = detail is Detail.SEALED_LETTERS
        if codes is None:
            many = connection.execute(MANY, values).scalar_one()
            is_sealed = is_sealed or many > MANY_SERIES
        if is_sealed:
            counting = SEALED if detail is Detail.COUNTS else OF_SEALS
    connection.execute(IN_MEMORY)
    counted, absent = (
        connection.execute(text(SHARED.format(told=each)), values).all()
        for each in (counting, ABSENT)
    )
    found: dict[str, dict[date, SessionFacts]] = {}
    for stocks, candles in _decoded(counted, 1000):
        stored = {day: _facts(number) for day, number in candles}
        found |= dict.fromkeys(stocks, stored)
    for stocks, absences in _decoded(absent, 1_000_000):
        merged: dict[int, dict[date, SessionFacts]] = {}
        for code in stocks:
            stored = found.get(code, {})
            key = id(found.get(code))
            if key not in merged:
                merged[key] = _with_absent(stored, absences)
            found[code] = merged[key]
    return found


def days_without_trades(
    connection: Connection, start: date, last: date, codes: Sequence[str]
) -> dict[str, frozenset[date]]:
    """Days on which a stock did not trade, by its daily candles."""
    values = between(start, last) | {"codes": list(codes)}
    rows = connection.execute(WITHOUT_TRADES, values).all()
    return {code: frozenset(map(_day, days.split())) for code, days in rows}


def between(start: date, last: date) -> dict[str, Any]:
    """The instants from which, and before which, candles of these days open."""
    return {"first": midnight(start), "beyond": midnight(last + DAY)}


def _counting(timeframe: Timeframe) -> str:
    if timeframe is Timeframe.MINUTE_5:
        return OF_FIVE_MINUTES
    return OF_MINUTES if timeframe.minutes else OF_DAYS


def _decoded(
    rows: Iterable[Any], base: int
) -> Iterator[tuple[list[str], list[tuple[date, int]]]]:
    """Stocks, with days and what is told of each; equal numbers are decoded once."""
    known: dict[str, tuple[date, int]] = {}
    for codes, numbers in rows:
        told = []
        for number in numbers[1:-1].split(","):
            pair = known.get(number)
            if pair is None:
                day, value = divmod(int(number), base)
                pair = known[number] = EPOCH + DAY * day, value
            told.append(pair)
        yield codes.split(), told


def _with_absent(
    stored: dict[date, SessionFacts], absences: Iterable[tuple[date, int]]
) -> dict[date, SessionFacts]:
    """The same, of a dictionary of its own: others may have the sessions as well."""
    found = {**stored}
    for day, number in absences:
        facts = stored.get(day)
        found[day] = _facts(facts.candles if facts else 0, number)
    return found


@lru_cache(maxsize=65536)
def _facts(candles: int, absences: int = 0) -> SessionFacts:
    """Equal facts are one object."""
    return SessionFacts(candles, *divmod(absences, 1000))


def _day(number: str) -> date:
    return EPOCH + DAY * int(number)
