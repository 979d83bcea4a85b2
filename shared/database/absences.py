"""Slots without a candle: what is known of them, and what is missing."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from shared.coverage import missing_slots
from shared.database.literals import bounds, instants

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from shared.series import CollectedSeries


# What is known of each slot: a candle, or that there is none. The longer that was so,
# the longer it is believed.
KNOWN_SLOTS = text("""
    SELECT opened_at FROM candles
    WHERE stock_code = :stock_code AND timeframe = :timeframe
      AND opened_at >= :first AND opened_at < :beyond
    UNION ALL
    SELECT opened_at FROM absent_slots
    WHERE stock_code = :stock_code AND timeframe = :timeframe
      AND opened_at >= :first AND opened_at < :beyond
      AND seen_at > clock_timestamp() - cast(:believed_for AS interval) * confirmations
""")
# Of a task's slots, those with a candle or a known absence, however old, and those of
# minutes on a day without a trade.
ACCOUNTED_FOR = text("""
    SELECT opened_at FROM candles
    WHERE stock_code = :stock_code AND timeframe = :timeframe
      AND opened_at BETWEEN :first AND :last
    UNION ALL
    SELECT opened_at FROM absent_slots
    WHERE stock_code = :stock_code AND timeframe = :timeframe
      AND opened_at BETWEEN :first AND :last
    UNION ALL
    SELECT slot FROM unnest(cast(:expected AS timestamptz[])) AS t (slot)
    JOIN candles AS day
      ON day.stock_code = :stock_code AND day.timeframe = '1d' AND day.volume = 0
     AND day.opened_at = date_trunc('day', slot AT TIME ZONE 'Asia/Seoul')
                         AT TIME ZONE 'Asia/Seoul'
    WHERE :timeframe NOT IN ('1d', '1w')
""")
# An absence that is seen anew within a day is the same reading, or a tick's.
REMEMBER_ABSENT = text("""
    INSERT INTO absent_slots AS known (stock_code, timeframe, opened_at, run_id)
    SELECT :stock_code, :timeframe, opened_at, :run_id
    FROM unnest(cast(:opened_at AS timestamptz[])) AS t (opened_at)
    WHERE NOT EXISTS (
        SELECT FROM absent_slots AS fresh
        WHERE fresh.stock_code = :stock_code AND fresh.timeframe = :timeframe
          AND fresh.opened_at = t.opened_at
          AND fresh.seen_at > clock_timestamp() - cast(:believed_for AS interval))
    ON CONFLICT (stock_code, timeframe, opened_at) DO UPDATE
    SET run_id = excluded.run_id, seen_at = excluded.seen_at,
        confirmations = known.confirmations + 1
""")
FORGET_ABSENT = text("""
    DELETE FROM absent_slots
    WHERE stock_code = :stock_code AND timeframe = :timeframe
      AND opened_at >= :first AND opened_at < :beyond
""")
# A candle that is there is not absent.
NOT_ABSENT = text("""
    DELETE FROM absent_slots
    WHERE stock_code = :stock_code AND timeframe = :timeframe
      AND opened_at = ANY(cast(:opened_at AS timestamptz[]))
""")
# A repair requests an absent candle again after this time, and later less often.
BELIEVED_FOR = timedelta(weeks=6)


def record(
    connection: Connection, key: dict[str, Any], collected: CollectedSeries
) -> bool:
    """Record the absences that a reading proved, and forget those that it disproved.

    Returns:
        Whether any changed.
    """
    changed = 0
    if collected.forgotten:
        forgotten = key | bounds(collected.forgotten)
        changed += connection.execute(FORGET_ABSENT, forgotten).rowcount
    if collected.absent:
        absent = {
            "opened_at": instants(collected.absent),
            "believed_for": BELIEVED_FOR,
        }
        changed += connection.execute(REMEMBER_ABSENT, key | absent).rowcount
    served = [candle.opened_at for candle in collected.candles]
    if served:
        slots = key | {"opened_at": instants(served)}
        changed += connection.execute(NOT_ABSENT, slots).rowcount
    return changed > 0


def missing(
    connection: Connection, key: dict[str, Any], collected: CollectedSeries
) -> tuple[datetime, ...]:
    """Of what the task answers for, what is neither there nor explained now."""
    expected = collected.expected
    if not expected:
        return ()
    ends = {
        "first": min(expected),
        "last": max(expected),
        "expected": instants(expected),
    }
    known = set(connection.execute(ACCOUNTED_FOR, key | ends).scalars())
    return missing_slots(expected, known, ())
