"""Corporate actions: recorded, applied to candles no longer served, and passed on."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from shared.candles import Timeframe
from shared.database.candle_rows import ratios
from shared.database.run_ledger import add_tasks
from shared.database.session_seals import EARLIEST
from shared.runs import rebuild_run
from shared.series import FollowUp
from shared.sessions import DAY, midnight

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from shared.database.session_seals import Touched
    from shared.messages import CollectRequest
    from shared.series import CollectedSeries


# Turnover stays: it is money, not shares. Minutes keep their volume, as at the broker.
RESCALE = text("""
    UPDATE candles
    SET open = greatest(1, round(open * cast(:ratio AS numeric))),
        high = greatest(1, round(high * cast(:ratio AS numeric))),
        low = greatest(1, round(low * cast(:ratio AS numeric))),
        close = greatest(1, round(close * cast(:ratio AS numeric))),
        volume = round(volume / cast(:volume_ratio AS numeric)),
        rescaled = true
    WHERE stock_code = :stock_code AND timeframe = :timeframe
      AND opened_at < :oldest_served AND opened_at < :moved_before
""")
# Whether the series has what another timeframe tells of: as a reading of its own has
# found it, or within what was found over a longer time. What a reading finds itself is
# never known: it was compared with candles that have all that is.
KNOWN_ACTION = text("""
    SELECT EXISTS (
        SELECT FROM corporate_actions
        WHERE stock_code = :stock_code AND timeframe = :timeframe
          AND (abs(ratio / cast(:number AS float8) - 1) < 0.001
               AND after_date < :effective_by AND effective_by > :after
               OR after_date < :after AND effective_by >= :effective_by))
""")
RECORD_ACTION = text("""
    INSERT INTO corporate_actions (stock_code, timeframe, after_date, effective_by,
                                   ratio, evidence, run_id)
    VALUES (:stock_code, :timeframe, :after, :effective_by, :ratio,
            cast(:evidence AS jsonb), :run_id)
    ON CONFLICT (stock_code, timeframe, after_date, effective_by) DO NOTHING
""")
OTHER_TIMEFRAMES = text("""
    SELECT timeframe FROM series
    WHERE stock_code = :stock_code AND timeframe <> :timeframe
      AND covered_from IS NOT NULL
      AND NOT EXISTS (
          SELECT FROM corporate_actions AS known
          WHERE known.stock_code = series.stock_code
            AND known.timeframe = series.timeframe
            AND abs(ratio / cast(:number AS float8) - 1) < 0.001
            AND after_date < :effective_by AND effective_by > :after)
    ORDER BY timeframe
""")
AFTER_ALL_CANDLES = midnight(date(2900, 1, 1))


def apply_move(
    connection: Connection,
    key: dict[str, Any],
    request: CollectRequest,
    collected: CollectedSeries,
    touched: Touched,
) -> tuple[int, FollowUp | None]:
    """Record a corporate action, and move what the broker no longer serves.

    Returns:
        How many candles were rescaled, and the run that tells the other timeframes.
    """
    move = collected.move
    if move is None:
        return 0, None
    action = {
        "after": move.after,
        "effective_by": move.effective_by,
        "number": float(move.ratio),
        "ratio": float(move.ratio),
        "evidence": move.evidence,
    }
    is_told = move == request.move
    if is_told and connection.execute(KNOWN_ACTION, key | action).scalar():
        return 0, None
    connection.execute(RECORD_ACTION, key | action)
    served = [candle.opened_at for candle in collected.candles]
    scale = ratios(key, move) | {
        "moved_before": midnight(move.after + DAY),
        "oldest_served": min(served, default=AFTER_ALL_CANDLES),
    }
    rescaled = connection.execute(RESCALE, key | scale).rowcount
    if rescaled:
        touched.add(EARLIEST, move.after)
    others = connection.execute(OTHER_TIMEFRAMES, key | action).scalars().all()
    if not others:
        return rescaled, None
    timeframes = [Timeframe(other) for other in others]
    run = rebuild_run(request, move, timeframes, collected.read_at)
    messages = add_tasks(connection, run)
    if not messages:
        return rescaled, None
    return rescaled, FollowUp(run_id=run.run_id, messages=messages)
