"""The rows of candles: written, revised and withdrawn, in the caller's transaction."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from shared.candles import Timeframe
from shared.database.literals import bounds, instants, literal
from shared.sessions import DAY, kst_date, midnight

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from shared.candles import Candle
    from shared.database.session_seals import Touched
    from shared.series import Attempt, CollectedSeries, PriceMove, Series


# Rows that are there already, unchanged, never reach the INSERT: they cost no WAL.
# All parts of the statement see the table as it was before it, so the old values and
# the counts are exact; the lock on the series keeps every other writer out.
UPSERT = text("""
    WITH incoming AS MATERIALIZED (
        SELECT * FROM unnest(
            cast(:opened_at AS timestamptz[]), cast(:open AS bigint[]),
            cast(:high AS bigint[]), cast(:low AS bigint[]), cast(:close AS bigint[]),
            cast(:volume AS bigint[]), cast(:turnover AS bigint[]),
            cast(:session AS text[])
        ) AS t (opened_at, open, high, low, close, volume, turnover, session)
    ), differing AS MATERIALIZED (
        SELECT incoming.*, old.opened_at IS NOT NULL AS is_known,
               old.open AS old_open, old.high AS old_high, old.low AS old_low,
               old.close AS old_close, old.volume AS old_volume,
               old.turnover AS old_turnover
        FROM incoming LEFT JOIN candles AS old
          ON old.stock_code = :stock_code AND old.timeframe = :timeframe
         AND old.opened_at = incoming.opened_at
        WHERE old.opened_at IS NULL
           OR (old.open, old.high, old.low, old.close, old.volume, old.turnover,
               old.session, old.rescaled)
              IS DISTINCT FROM
              (incoming.open, incoming.high, incoming.low, incoming.close,
               incoming.volume, incoming.turnover, incoming.session, false)
    ), revised AS (
        INSERT INTO revisions (run_id, stock_code, timeframe, opened_at,
                               open, high, low, close, volume, turnover, last_seen_at)
        SELECT :run_id, :stock_code, :timeframe, opened_at,
               greatest(1, round(old_open * cast(:ratio AS numeric))),
               greatest(1, round(old_high * cast(:ratio AS numeric))),
               greatest(1, round(old_low * cast(:ratio AS numeric))),
               greatest(1, round(old_close * cast(:ratio AS numeric))),
               round(old_volume / cast(:volume_ratio AS numeric)), old_turnover,
               (SELECT collected_at FROM series
                WHERE stock_code = :stock_code AND timeframe = :timeframe)
        FROM differing
        WHERE is_known AND opened_at < :settled_before
          AND (cast(:outliers AS timestamptz[]) IS NULL
               OR opened_at = ANY(cast(:outliers AS timestamptz[])))
        RETURNING 1
    ), written AS (
        INSERT INTO candles (stock_code, timeframe, opened_at, open, high, low, close,
                             volume, turnover, session)
        SELECT :stock_code, :timeframe, opened_at, open, high, low, close, volume,
               turnover, session
        FROM differing
        ON CONFLICT (stock_code, timeframe, opened_at) DO UPDATE
        SET open = excluded.open, high = excluded.high, low = excluded.low,
            close = excluded.close, volume = excluded.volume,
            turnover = excluded.turnover, session = excluded.session,
            rescaled = false
    )
    SELECT count(*) FILTER (WHERE NOT is_known) AS inserted,
           count(*) FILTER (WHERE is_known) AS updated,
           (SELECT count(*) FROM revised) AS revised,
           array_agg(DISTINCT (opened_at AT TIME ZONE interval '9 hours')::date) AS days
    FROM differing
""")
# Where there is no candle at all, nothing has to be compared and no conflict looked
# for: nearly twice as fast. Otherwise it inserts nothing.
INSERT_NEW = text("""
    INSERT INTO candles (stock_code, timeframe, opened_at, open, high, low, close,
                         volume, turnover, session)
    SELECT :stock_code, :timeframe, *
    FROM unnest(
        cast(:opened_at AS timestamptz[]), cast(:open AS bigint[]),
        cast(:high AS bigint[]), cast(:low AS bigint[]), cast(:close AS bigint[]),
        cast(:volume AS bigint[]), cast(:turnover AS bigint[]),
        cast(:session AS text[])
    ) AS t (opened_at, open, high, low, close, volume, turnover, session)
    WHERE NOT EXISTS (
        SELECT FROM candles
        WHERE stock_code = :stock_code AND timeframe = :timeframe
          AND opened_at BETWEEN :oldest AND :newest)
""")
STORED = text("""
    SELECT opened_at FROM candles
    WHERE stock_code = :stock_code AND timeframe = :timeframe
      AND opened_at >= :first AND opened_at < :beyond
""")
# Settled candles leave to the revisions, with the values that we last had.
WITHDRAW = text("""
    WITH gone AS (
        DELETE FROM candles
        WHERE stock_code = :stock_code AND timeframe = :timeframe
          AND opened_at = ANY(cast(:gone AS timestamptz[]))
        RETURNING *
    ), revised AS (
        INSERT INTO revisions (run_id, stock_code, timeframe, opened_at, open, high,
                               low, close, volume, turnover, last_seen_at, withdrawn)
        SELECT :run_id, stock_code, timeframe, opened_at, open, high, low, close,
               volume, turnover,
               (SELECT collected_at FROM series
                WHERE stock_code = :stock_code AND timeframe = :timeframe), true
        FROM gone WHERE opened_at < :settled_before
    )
    SELECT count(*) FROM gone
""")
# Of a series without a settled session, nothing can be revised.
BEFORE_ALL_CANDLES = midnight(date(1900, 1, 1))
# So many candles go into one statement: large enough to be fast, small enough for the
# memory of a small instance.
BATCH = 9000


def withdraw(
    connection: Connection,
    key: dict[str, Any],
    attempt: Attempt,
    collected: CollectedSeries,
    touched: Touched,
) -> int:
    """Remove candles that the broker does not serve where it served all it has."""
    if attempt.series.covered_from is None:
        return 0
    served = {candle.opened_at for candle in collected.candles} | collected.unreadable
    gone: set[datetime] = set()
    for period in collected.complete:
        # Compared here: the planner takes two long lists for short ones.
        stored = connection.execute(STORED, key | bounds(period)).scalars()
        gone |= set(stored) - served
    if gone:
        values = {"gone": instants(gone), "settled_before": _settled_before(attempt)}
        connection.execute(WITHDRAW, key | values)
        touched.add_instants(gone)
    return len(gone)


def upsert(
    connection: Connection,
    key: dict[str, Any],
    attempt: Attempt,
    collected: CollectedSeries,
    touched: Touched,
) -> tuple[int, int, int]:
    """Write the candles; return how many were inserted, updated and revised.

    Of a series that moved to another price basis only the outliers are revisions: the
    rest has its corporate action on record.
    """
    move = collected.move
    outliers = None if move is None else instants(sorted(collected.outliers))
    values = ratios(key, move) | {
        "settled_before": _settled_before(attempt),
        "outliers": outliers,
    }
    inserted = updated = revised = 0
    for start in range(0, len(collected.candles), BATCH):
        batch = collected.candles[start : start + BATCH]
        columns = key | _columns(batch)
        if _is_new(batch, attempt.series):
            period = {"oldest": batch[0].opened_at, "newest": batch[-1].opened_at}
            found = connection.execute(INSERT_NEW, columns | period).rowcount
            if found:
                inserted += found
                touched.add(*map(kst_date, period.values()))
                continue
        row = connection.execute(UPSERT, columns | values).one()
        inserted, updated = inserted + row.inserted, updated + row.updated
        revised += row.revised
        touched.add_days(row.days or ())
    return inserted, updated, revised


def ratios(key: dict[str, Any], move: PriceMove | None) -> dict[str, str]:
    """The ratio of prices and that of volumes, as numerals; minutes keep volumes."""
    ratio = 1.0 if move is None else float(move.ratio)
    minutes = Timeframe(key["timeframe"]).minutes
    return {"ratio": repr(ratio), "volume_ratio": "1" if minutes else repr(ratio)}


def _settled_before(attempt: Attempt) -> datetime:
    settled = attempt.series.settled_through
    return midnight(settled + DAY) if settled else BEFORE_ALL_CANDLES


def _is_new(batch: tuple[Candle, ...], series: Series) -> bool:
    """Whether none of these candles, in the order of time, should be there yet."""
    if series.covered_from is None:
        return True
    return batch[-1].opened_at < midnight(series.covered_from)


def _columns(candles: tuple[Candle, ...]) -> dict[str, str]:
    """The candles as PostgreSQL's array literals, one for each column.

    Joined here, because the driver encodes lists element by element (1.7 times
    slower). All elements are numbers, instants and our own words: nothing to quote.
    """
    return {
        "opened_at": instants([candle.opened_at for candle in candles]),
        "open": literal([str(candle.open) for candle in candles]),
        "high": literal([str(candle.high) for candle in candles]),
        "low": literal([str(candle.low) for candle in candles]),
        "close": literal([str(candle.close) for candle in candles]),
        "volume": literal([str(candle.volume) for candle in candles]),
        "turnover": literal(
            [
                "NULL" if candle.turnover is None else str(candle.turnover)
                for candle in candles
            ]
        ),
        "session": literal([candle.session.value for candle in candles]),
    }
