"""Seals: the digest of the candles of each settled session, written with the candles.

Of minutes, a seal is of one session; of days and weeks, of one calendar year, and
``session_date`` is its first day. Its digest is the SHA-256 of the candles' lines
``epoch,open,high,low,close,volume,turnover,session`` in the order of time, each with a
line feed; nothing stands for a turnover that is not known. What changes candles up to
``settled_through``, or moves that day, seals them anew in the same transaction. So a
seal that is not that of its candles tells that they were changed behind our backs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from shared.candles import Timeframe
from shared.database.engine import transaction
from shared.database.literals import instants
from shared.sessions import DAY, kst_date, midnight

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from shared.series import Period, Series


def _seals(candles: str) -> str:
    """What seals the rows that ``candles`` (FROM and WHERE) names."""
    return f"""
        SELECT stock_code, timeframe, session_date, count(*) AS candles,
               sha256(convert_to(string_agg(line, '' ORDER BY opened_at), 'UTF8'))
                   AS digest
        FROM (
            SELECT stock_code, timeframe, opened_at,
                   date_trunc(:unit, opened_at AT TIME ZONE interval '9 hours')::date
                       AS session_date,
                   concat_ws(',', date_part('epoch', opened_at)::bigint, open, high,
                             low, close, volume, coalesce(turnover::text, ''),
                             session || E'\\n') AS line
            {candles}
        ) AS sealed
        GROUP BY stock_code, timeframe, session_date
    """


# Migration 0016 has the function.
SEAL = text("""
    SELECT seal_sessions(:stock_code, :timeframe, cast(:touched AS tstzmultirange),
                         cast(:settled_through AS date))
""")
# Series that were unsettled, to an earlier day or altogether. Of the year that this day
# is in, the seal is of the rest.
UNSEAL = text("""
    SELECT count(seal_sessions(
        stock_code, timeframe,
        CASE WHEN timeframe IN ('1d', '1w') AND settled_through IS NOT NULL
             THEN tstzmultirange(tstzrange(
                 date_trunc('year', settled_through::timestamp)
                     AT TIME ZONE interval '9 hours',
                 (date_trunc('year', settled_through::timestamp) + interval '1 year')
                     AT TIME ZONE interval '9 hours'))
             ELSE '{}' END, settled_through))
    FROM series JOIN unnest(cast(:stock_codes AS text[]), cast(:timeframes AS text[]))
         AS unsettled (stock_code, timeframe) USING (stock_code, timeframe)
""")
OF_THE_SETTLED = _seals("""
            FROM candles
            WHERE stock_code = :stock_code AND timeframe = :timeframe
              AND opened_at >= :first
              AND opened_at < (
                  SELECT (settled_through + 1)::timestamp
                         AT TIME ZONE interval '9 hours'
                  FROM series
                  WHERE stock_code = :stock_code AND timeframe = :timeframe)
""")
# A seal without candles, candles without a seal, and a seal of other candles.
BROKEN = f"""
    SELECT session_date, coalesce(seal.candles, 0) AS sealed,
           coalesce(fresh.candles, 0) AS found
    FROM (SELECT * FROM session_seals
          WHERE stock_code = :stock_code AND timeframe = :timeframe
            AND session_date >= :first_day) AS seal
    FULL JOIN ({OF_THE_SETTLED}) AS fresh USING (session_date)
    WHERE (seal.candles, seal.digest) IS DISTINCT FROM (fresh.candles, fresh.digest)
"""
FIND_BROKEN = text(f"{BROKEN} ORDER BY session_date")
RECORD_BROKEN = text(f"""
    INSERT INTO broken_seals (stock_code, timeframe, session_date, sealed, found)
    SELECT :stock_code, :timeframe, session_date, sealed, found
    FROM ({BROKEN}) AS broken
    ON CONFLICT (stock_code, timeframe, session_date) DO UPDATE
    SET sealed = excluded.sealed, found = excluded.found
""")
# Those that are no longer broken: sealed anew once the broker had told what is right.
FORGET_MENDED = text(f"""
    DELETE FROM broken_seals
    WHERE stock_code = :stock_code AND timeframe = :timeframe
      AND session_date NOT IN (SELECT session_date FROM ({BROKEN}) AS broken)
""")
# Broken seals of which one reading was complete: no settled candle lies outside of it.
MEND = text("""
    DELETE FROM broken_seals
    WHERE stock_code = :stock_code AND timeframe = :timeframe
      AND EXISTS (
          SELECT FROM unnest(cast(:firsts AS timestamptz[]),
                             cast(:beyonds AS timestamptz[])) AS read (first, beyond)
          CROSS JOIN LATERAL (
              SELECT session_date::timestamp AT TIME ZONE interval '9 hours' AS begins,
                     (session_date + cast(:days AS integer))::timestamp
                         AT TIME ZONE interval '9 hours' AS ends
          ) AS sealed
          WHERE first < ends AND beyond > begins
            AND NOT EXISTS (
                SELECT FROM candles
                WHERE stock_code = :stock_code AND timeframe = :timeframe
                  AND opened_at >= begins AND opened_at < least(ends, :settled_before)
                  AND (opened_at < first OR opened_at >= beyond)))
    RETURNING session_date
""")
# With settled candles after their last seal.
UNSEALED = text("""
    SELECT stock_code, timeframe FROM series
    WHERE settled_through IS NOT NULL
      AND EXISTS (
          SELECT FROM candles
          WHERE candles.stock_code = series.stock_code
            AND candles.timeframe = series.timeframe
            AND opened_at < (settled_through + 1)::timestamp
                            AT TIME ZONE interval '9 hours'
            AND opened_at >= coalesce(
                (SELECT (max(session_date)
                         + CASE WHEN series.timeframe IN ('1d', '1w')
                                THEN interval '1 year' ELSE interval '1 day' END)
                        AT TIME ZONE interval '9 hours'
                 FROM session_seals AS seal
                 WHERE seal.stock_code = series.stock_code
                   AND seal.timeframe = series.timeframe), '-infinity'))
    ORDER BY stock_code, timeframe
""")
SERIES = text("""
    SELECT stock_code, timeframe FROM series
    WHERE settled_through IS NOT NULL
      AND (cardinality(cast(:stock_codes AS text[])) = 0
           OR stock_code = ANY(cast(:stock_codes AS text[])))
    UNION
    SELECT stock_code, timeframe FROM session_seals
    WHERE cardinality(cast(:stock_codes AS text[])) = 0
       OR stock_code = ANY(cast(:stock_codes AS text[]))
    ORDER BY stock_code, timeframe
""")
KNOWN_BROKEN = text("""
    SELECT stock_code, timeframe, session_date, sealed, found
    FROM broken_seals JOIN series USING (stock_code, timeframe)
    WHERE session_date <= settled_through
    ORDER BY stock_code, timeframe, session_date
""")
LOCK_SETTLED = text("""
    SELECT settled_through FROM series
    WHERE stock_code = :stock_code AND timeframe = :timeframe FOR UPDATE
""")
# Nothing was traded before it.
EARLIEST = date(1900, 1, 1)


@dataclass(slots=True)
class Touched:
    """The days, in Seoul, of which a transaction changed candles.

    ``absences`` says whether it changed what is known of empty slots.
    """

    spans: list[tuple[date, date]] = field(default_factory=list)
    absences: bool = False

    def add(self, first: date, last: date) -> None:
        """Note all days from ``first`` to ``last``, both included."""
        self.spans.append((first, last))

    def add_days(self, days: Iterable[date]) -> None:
        """Note single days."""
        self.spans += ((day, day) for day in days)

    def add_instants(self, opened: Iterable[datetime]) -> None:
        """Note the days of some candles."""
        self.add_days({kst_date(at) for at in opened})


class Kind(StrEnum):
    """What happened to the candles of a broken seal."""

    ADDED = "added"
    DELETED = "deleted"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenSeal:
    """A seal that is not that of its candles: how many it is of, and how many we have.

    The first of the days that it is of is ``session_date``.
    """

    stock_code: str
    timeframe: Timeframe
    session_date: date
    sealed: int
    found: int

    @property
    def kind(self) -> Kind:
        """Told by the numbers; changed also stands for one for another."""
        if self.found > self.sealed:
            return Kind.ADDED
        return Kind.DELETED if self.found < self.sealed else Kind.CHANGED

    @property
    def last_day(self) -> date:
        """The last day that the seal is of."""
        if self.timeframe.minutes:
            return self.session_date
        return self.session_date.replace(month=12, day=31)


class SessionSeals:
    """Compares the seals in PostgreSQL with the candles that they are of."""

    def __init__(self, engine: Engine) -> None:
        """Read and write through ``engine``."""
        self._engine = engine

    def series(self, stock_codes: Sequence[str] = ()) -> list[tuple[str, Timeframe]]:
        """All series with a seal, or that should have one; of these stocks, if any."""
        with transaction(self._engine) as connection:
            rows = connection.execute(SERIES, {"stock_codes": list(stock_codes)}).all()
        return [(row.stock_code, Timeframe(row.timeframe)) for row in rows]

    def unsealed(self) -> list[tuple[str, Timeframe]]:
        """The series with settled candles after their last seal."""
        with transaction(self._engine) as connection:
            rows = connection.execute(UNSEALED).all()
        return [(row.stock_code, Timeframe(row.timeframe)) for row in rows]

    def check(
        self, stock_code: str, timeframe: Timeframe, *, record: bool = True
    ) -> list[BrokenSeal]:
        """Compare every seal of a series with its candles: 1 µs a candle.

        With ``record``, ``known_broken`` tells the result from then on.
        """
        key: dict[str, Any] = {"stock_code": stock_code, "timeframe": timeframe.value}
        everything = key | _all_since(timeframe, EARLIEST)
        with transaction(self._engine) as connection:
            rows = connection.execute(FIND_BROKEN, everything).all()
            if record:
                connection.execute(FORGET_MENDED, everything)
            if record and rows:
                connection.execute(RECORD_BROKEN, everything)
        return [_broken(stock_code, timeframe.value, *row) for row in rows]

    def known_broken(self) -> list[BrokenSeal]:
        """The broken seals that were found and are not mended: a small table."""
        with transaction(self._engine) as connection:
            return [_broken(*row) for row in connection.execute(KNOWN_BROKEN)]

    def seal(self, stock_code: str, timeframe: Timeframe) -> int:
        """Seal what has settled since the last seal of a series, or all of it.

        Returns:
            How many seals were written.
        """
        key = {"stock_code": stock_code, "timeframe": timeframe.value}
        with transaction(self._engine) as connection:
            settled: date | None = connection.execute(LOCK_SETTLED, key).scalar()
            if settled is None:
                return 0
            return _write(connection, key, [], settled)

    def accept(
        self, stock_code: str, timeframe: Timeframe, broken: Sequence[BrokenSeal]
    ) -> None:
        """Seal the candles of broken seals as they are now."""
        key: dict[str, Any] = {"stock_code": stock_code, "timeframe": timeframe.value}
        spans = [(seal.session_date, seal.last_day) for seal in broken]
        with transaction(self._engine) as connection:
            settled: date | None = connection.execute(LOCK_SETTLED, key).scalar()
            _write(connection, key, spans, settled)
            everything = key | _all_since(timeframe, EARLIEST)
            connection.execute(FORGET_MENDED, everything)


def seal_what_is_there(engine: Engine) -> int:
    """Seal what settled before there were seals, a transaction a series.

    It can be interrupted, and run again: what is sealed stays sealed.

    Returns:
        How many seals were written.
    """
    seals = SessionSeals(engine)
    return sum(seals.seal(*series) for series in seals.unsealed())


def look_for_broken(
    connection: Connection, key: dict[str, Any], series: Series, first: date
) -> bool:
    """Compare seals with candles before those change; record what is broken.

    A year of days or weeks is sealed anew with each session: without a look at it, the
    new seal would cover up a change behind our backs.
    """
    if series.settled_through is None:
        return False
    timeframe = Timeframe(key["timeframe"])
    values = key | _all_since(timeframe, min(series.settled_through, first))
    return connection.execute(RECORD_BROKEN, values).rowcount > 0


def mend(
    connection: Connection,
    key: dict[str, Any],
    series: Series,
    complete: Sequence[Period],
) -> list[date]:
    """Forget the broken seals that a complete reading has covered; their first days."""
    values = {
        "firsts": instants(period.first for period in complete),
        "beyonds": instants(period.beyond for period in complete),
        # The exchange never opens on the first of January.
        "days": 1 if Timeframe(key["timeframe"]).minutes else 366,
        "settled_before": midnight((series.settled_through or EARLIEST) + DAY),
    }
    return list(connection.execute(MEND, key | values).scalars())


def seal_again(
    connection: Connection,
    key: dict[str, Any],
    before: Series,
    after: Series,
    touched: Touched,
) -> None:
    """Seal the sessions that were touched, and those that settled, or no longer are.

    It also counts the slots that are accounted for.
    """
    ends = sorted(series.settled_through or EARLIEST for series in (before, after))
    spans = list(touched.spans)
    if ends[0] < ends[1]:
        spans.append((ends[0] + DAY, ends[1]))
    spans = [(first, last) for first, last in spans if first <= ends[1]]
    if spans or touched.absences:
        _write(connection, key, spans, after.settled_through)


def unseal(connection: Connection, series: Sequence[tuple[str, str]]) -> None:
    """Remove the seals of what is not settled any more, of series in any number."""
    codes, timeframes = [list(column) for column in zip(*series, strict=True)]
    values = {"stock_codes": codes, "timeframes": timeframes}
    connection.execute(UNSEAL, values)


def _write(
    connection: Connection,
    key: dict[str, Any],
    spans: Iterable[tuple[date, date]],
    settled_through: date | None,
) -> int:
    timeframe = Timeframe(key["timeframe"])
    if not timeframe.minutes:
        spans = {
            (first.replace(month=1, day=1), last.replace(month=12, day=31))
            for first, last in spans
        }
    values = {"touched": _instants(spans), "settled_through": settled_through}
    written: int = connection.execute(SEAL, key | values).scalar_one()
    return written


def _all_since(timeframe: Timeframe, day: date) -> dict[str, Any]:
    """The seals from that of ``day`` on, and their candles."""
    first_day = day if timeframe.minutes else day.replace(month=1, day=1)
    first = midnight(first_day)
    return {"first_day": first_day, "first": first, "unit": _unit(timeframe)}


def _instants(spans: Iterable[tuple[date, date]]) -> str:
    """Days as a multirange of PostgreSQL, which joins what overlaps."""
    ranges = (
        f"[{midnight(a).isoformat()},{midnight(b + DAY).isoformat()})" for a, b in spans
    )
    return "{" + ",".join(ranges) + "}"


def _unit(timeframe: Timeframe) -> str:
    return "day" if timeframe.minutes else "year"


def _broken(
    stock_code: str, timeframe: str, session_date: date, sealed: int, found: int
) -> BrokenSeal:
    return BrokenSeal(
        stock_code=stock_code,
        timeframe=Timeframe(timeframe),
        session_date=session_date,
        sealed=sealed,
        found=found,
    )
