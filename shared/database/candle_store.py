"""Candles, their series and the task that brought them: one transaction."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from shared.candles import Candle, CandleSession, Timeframe
from shared.coverage import missing_slots
from shared.database import staged_chains
from shared.database.engine import transaction
from shared.database.run_ledger import add_tasks
from shared.database.session_store import lock_version
from shared.errors import StaleSeries
from shared.runs import rebuild_run
from shared.series import (
    Attempt,
    CollectedSeries,
    FollowUp,
    Period,
    PriceMove,
    Series,
    Stored,
    WriteCounts,
    task_state,
)
from shared.sessions import DAY, midnight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import Connection, Engine

    from shared.candles import RejectedRow
    from shared.messages import CollectRequest
    from shared.sessions import Calendar

LOCK_SERIES = text("""
    SELECT version FROM series
    WHERE stock_code = :stock_code AND timeframe = :timeframe AND leased_by = :owner
    FOR UPDATE
""")
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
    SELECT count(*) FILTER (WHERE NOT is_known), count(*) FILTER (WHERE is_known),
           (SELECT count(*) FROM revised)
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
CANDLES = text("""
    SELECT opened_at, open, high, low, close, volume, turnover, session
    FROM candles
    WHERE stock_code = :stock_code AND timeframe = :timeframe
      AND opened_at >= :first AND opened_at < :beyond
""")
# Inside a complete period the broker has what it served and nothing else. Settled
# candles leave to the revisions, with the values that we last had.
WITHDRAW = text("""
    WITH gone AS (
        DELETE FROM candles
        WHERE stock_code = :stock_code AND timeframe = :timeframe
          AND opened_at >= :first AND opened_at < :beyond
          AND NOT EXISTS (
              SELECT FROM unnest(cast(:served AS timestamptz[])) AS t (served_at)
              WHERE served_at = opened_at)
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
# The same action, as another reading of the series has found it.
KNOWN_ACTION = text("""
    SELECT EXISTS (
        SELECT FROM corporate_actions
        WHERE stock_code = :stock_code AND timeframe = :timeframe
          AND abs(ratio / cast(:number AS float8) - 1) < 0.001
          AND after_date < :effective_by AND effective_by > :after)
""")
RECORD_ACTION = text("""
    INSERT INTO corporate_actions (stock_code, timeframe, after_date, effective_by,
                                   ratio, evidence, run_id)
    VALUES (:stock_code, :timeframe, :after, :effective_by, :ratio,
            cast(:evidence AS jsonb), :run_id)
    ON CONFLICT (stock_code, timeframe, after_date, effective_by) DO NOTHING
""")
HAS_TRADED = text("""
    SELECT bool_or(volume > 0 AND opened_at >= :since) FROM candles
    WHERE stock_code = :stock_code AND timeframe = '1d'
""")
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
QUARANTINE = text("""
    INSERT INTO quarantine (run_id, stock_code, timeframe, reason, raw, opened_at)
    SELECT :run_id, :stock_code, :timeframe, reason, raw, opened_at
    FROM unnest(cast(:reasons AS text[]), cast(:raws AS text[]),
                cast(:instants AS timestamptz[])) AS t (reason, raw, opened_at)
    ON CONFLICT (stock_code, timeframe, md5(raw)) DO NOTHING
""")
WRITE_SERIES = text("""
    UPDATE series
    SET covered_from = :covered_from, wanted_from = :wanted_from,
        loaded_on = :loaded_on,
        settled_through = :settled_through, end_seen_on = :end_seen_on,
        oldest = (SELECT (min(opened_at) AT TIME ZONE 'Asia/Seoul')::date FROM candles
                  WHERE stock_code = :stock_code AND timeframe = :timeframe),
        history_exhausted = :history_exhausted, ended = :ended,
        version = version + 1, collected_at = :read_at,
        leased_by = NULL, leased_until = NULL
    WHERE stock_code = :stock_code AND timeframe = :timeframe
""")
FINISH_TASK = text("""
    UPDATE tasks
    SET state = :state, requests = :requests, inserted = :inserted, updated = :updated,
        unchanged = :unchanged, rejected = :rejected, revised = :revised,
        withdrawn = :withdrawn, missing = :missing,
        first_missing = cast(:first_missing AS timestamptz[]),
        error_code = NULL, error_message = NULL, finished_at = clock_timestamp()
    WHERE run_id = :run_id AND stock_code = :stock_code AND timeframe = :timeframe
""")
# Of a series without a settled session, nothing can be revised.
BEFORE_ALL_CANDLES = midnight(date(1900, 1, 1))
AFTER_ALL_CANDLES = midnight(date(2900, 1, 1))
# So many candles go into one statement: large enough to be fast, small enough for the
# memory of a small instance.
BATCH = 9000


# The first missing slots are kept with the task.
FIRST_MISSING = 10
# A repair asks for an absent candle again after this time, and later more seldom.
ABSENCE_BELIEVED_FOR = timedelta(weeks=6)


class CandleStore:
    """Candles in PostgreSQL."""

    def __init__(self, engine: Engine, calendar: Callable[[], Calendar]) -> None:
        """Take the sessions of the exchange from ``calendar``."""
        self._engine = engine
        self.calendar = calendar

    def candles(self, attempt: Attempt, period: Period) -> dict[datetime, Candle]:
        """The candles of the series that open in ``period``, by their opening."""
        request = attempt.request
        with transaction(self._engine) as connection:
            rows = connection.execute(CANDLES, _key(request) | _bounds(period))
            return {
                row["opened_at"]: Candle(
                    stock_code=request.stock_code,
                    timeframe=request.timeframe,
                    **{**row, "session": CandleSession(row["session"])},
                )
                for row in rows.mappings()
            }

    def known_slots(self, attempt: Attempt, period: Period) -> set[datetime]:
        """Slots with a candle, and those where the broker is known to have none."""
        values = _key(attempt.request) | _bounds(period)
        values["believed_for"] = ABSENCE_BELIEVED_FOR
        with transaction(self._engine) as connection:
            return set(connection.execute(KNOWN_SLOTS, values).scalars())

    def has_traded_since(self, attempt: Attempt, day: date) -> bool | None:
        """Whether the stock has traded since, by its days; None if we have no days."""
        values = _key(attempt.request) | {"since": midnight(day)}
        with transaction(self._engine) as connection:
            traded: bool | None = connection.execute(HAS_TRADED, values).scalar()
        return traded

    def store(self, attempt: Attempt, collected: CollectedSeries) -> Stored:
        """Store candles, series and task; all of it or nothing.

        Raises:
            StaleSeries: If another attempt took the series over, or the series or the
                calendar changed since the attempt began.
            DatabaseUnavailable: If PostgreSQL did not answer.
        """
        request = attempt.request
        key: dict[str, Any] = _key(request) | {"run_id": request.run_id}
        with transaction(self._engine) as connection:
            _refuse_stale(connection, key, attempt, collected)
            withdrawn = _withdraw(connection, key, attempt, collected)
            inserted, updated, revised = _upsert(connection, key, attempt, collected)
            rescaled, follow_up = _move(connection, key, request, collected)
            counts = WriteCounts(
                inserted=inserted,
                updated=updated,
                unchanged=len(collected.candles) - inserted - updated,
                rejected=_quarantine(connection, key, collected.rejected),
                revised=revised,
                withdrawn=withdrawn,
                rescaled=rescaled,
            )
            _record_absences(connection, key, collected)
            missing = _missing(connection, key, collected)
            _write_series(connection, key, collected)
            state = task_state(collected, missing)
            _finish_task(connection, key, attempt, state, counts, missing)
            staged_chains.discard(connection, key)
        return Stored(state=state, counts=counts, missing=missing, follow_up=follow_up)


def _key(request: CollectRequest) -> dict[str, Any]:
    return {
        "stock_code": request.stock_code,
        "timeframe": request.timeframe.value,
    }


def _bounds(period: Period) -> dict[str, Any]:
    return {"first": period.first, "beyond": period.beyond}


def _refuse_stale(
    connection: Connection,
    key: dict[str, Any],
    attempt: Attempt,
    collected: CollectedSeries,
) -> None:
    # The calendar first, as one who changes it locks them in this order.
    if lock_version(connection) != collected.calendar:
        message = "the trading calendar changed while candles were collected"
        raise StaleSeries(message)
    lock = connection.execute(LOCK_SERIES, key | {"owner": attempt.owner})
    if lock.scalar() != attempt.series.version:
        message = f"{attempt.request.stock_code} changed while it was collected"
        raise StaleSeries(message)


def _settled_before(attempt: Attempt) -> datetime:
    settled = attempt.series.settled_through
    return midnight(settled + DAY) if settled else BEFORE_ALL_CANDLES


def _withdraw(
    connection: Connection,
    key: dict[str, Any],
    attempt: Attempt,
    collected: CollectedSeries,
) -> int:
    """Remove candles that the broker does not serve where it served all it has."""
    if attempt.series.covered_from is None:
        return 0
    served = {candle.opened_at for candle in collected.candles} | collected.unreadable
    values = {
        "served": _instants(sorted(served)),
        "settled_before": _settled_before(attempt),
    }
    return sum(
        connection.execute(WITHDRAW, key | values | _bounds(period)).scalar() or 0
        for period in collected.complete
    )


def _upsert(
    connection: Connection,
    key: dict[str, Any],
    attempt: Attempt,
    collected: CollectedSeries,
) -> tuple[int, int, int]:
    """Write the candles; return how many were inserted, updated and revised.

    Of a series that moved to another price basis only the outliers are revisions: the
    rest has its corporate action on record.
    """
    move = collected.move
    outliers = None if move is None else _instants(sorted(collected.outliers))
    values = _ratio(key, move) | {
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
                continue
        row = connection.execute(UPSERT, columns | values).one()
        inserted, updated = inserted + row[0], updated + row[1]
        revised += row[2]
    return inserted, updated, revised


def _ratio(key: dict[str, Any], move: PriceMove | None) -> dict[str, str]:
    """The ratio of prices and that of volumes, as numerals; minutes keep volumes."""
    ratio = 1.0 if move is None else float(move.ratio)
    minutes = Timeframe(key["timeframe"]).minutes
    return {"ratio": repr(ratio), "volume_ratio": "1" if minutes else repr(ratio)}


def _move(
    connection: Connection,
    key: dict[str, Any],
    request: CollectRequest,
    collected: CollectedSeries,
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
    if connection.execute(KNOWN_ACTION, key | action).scalar():
        return 0, None
    connection.execute(RECORD_ACTION, key | action)
    served = [candle.opened_at for candle in collected.candles]
    scale = _ratio(key, move) | {
        "moved_before": midnight(move.after + DAY),
        "oldest_served": min(served, default=AFTER_ALL_CANDLES),
    }
    rescaled = connection.execute(RESCALE, key | scale).rowcount
    others = connection.execute(OTHER_TIMEFRAMES, key | action).scalars().all()
    if not others:
        return rescaled, None
    run = rebuild_run(request, move, [Timeframe(other) for other in others])
    messages = add_tasks(connection, run)
    if not messages:
        return rescaled, None
    return rescaled, FollowUp(run_id=run.run_id, messages=messages)


def _record_absences(
    connection: Connection, key: dict[str, Any], collected: CollectedSeries
) -> None:
    if collected.forgotten:
        connection.execute(FORGET_ABSENT, key | _bounds(collected.forgotten))
    if collected.absent:
        absent = {
            "opened_at": _instants(collected.absent),
            "believed_for": ABSENCE_BELIEVED_FOR,
        }
        connection.execute(REMEMBER_ABSENT, key | absent)
    served = [candle.opened_at for candle in collected.candles]
    if served:
        connection.execute(NOT_ABSENT, key | {"opened_at": _instants(served)})


def _missing(
    connection: Connection, key: dict[str, Any], collected: CollectedSeries
) -> tuple[datetime, ...]:
    """Of what the task answers for, what is neither there nor explained now."""
    expected = collected.expected
    if not expected:
        return ()
    ends = {
        "first": min(expected),
        "last": max(expected),
        "expected": _instants(expected),
    }
    known = set(connection.execute(ACCOUNTED_FOR, key | ends).scalars())
    return missing_slots(expected, known, ())


def _write_series(
    connection: Connection, key: dict[str, Any], collected: CollectedSeries
) -> None:
    series = collected.series
    values = {
        "read_at": collected.read_at,
        "covered_from": series.covered_from,
        "wanted_from": series.wanted_from,
        "loaded_on": series.loaded_on,
        "settled_through": series.settled_through,
        "end_seen_on": series.end_seen_on,
        "history_exhausted": series.history_exhausted,
        "ended": series.ended,
    }
    connection.execute(WRITE_SERIES, key | values)


def _finish_task(  # noqa: PLR0913 - the columns of a finished task
    connection: Connection,
    key: dict[str, Any],
    attempt: Attempt,
    state: str,
    counts: WriteCounts,
    missing: tuple[datetime, ...],
) -> None:
    result = {
        "state": state,
        "requests": attempt.requests,
        "inserted": counts.inserted,
        "updated": counts.updated + counts.rescaled,
        "unchanged": counts.unchanged,
        "rejected": counts.rejected,
        "revised": counts.revised,
        "withdrawn": counts.withdrawn,
        "missing": len(missing),
        "first_missing": _instants(missing[:FIRST_MISSING]),
    }
    connection.execute(FINISH_TASK, key | result)


def _is_new(batch: tuple[Candle, ...], series: Series) -> bool:
    """Whether none of these candles, in the order of time, should be there yet."""
    if series.covered_from is None:
        return True
    return batch[-1].opened_at < midnight(series.covered_from)


def _quarantine(
    connection: Connection, key: dict[str, Any], rejected: tuple[RejectedRow, ...]
) -> int:
    if not rejected:
        return 0
    rows = {
        "reasons": [row.reason for row in rejected],
        "raws": [row.raw for row in rejected],
        "instants": _literal(
            [
                "NULL" if row.opened_at is None else row.opened_at.isoformat()
                for row in rejected
            ]
        ),
    }
    connection.execute(QUARANTINE, key | rows)
    return len(rejected)


def _columns(candles: tuple[Candle, ...]) -> dict[str, str]:
    """The candles as PostgreSQL's array literals, one for each column.

    Joined here, because the driver encodes lists element by element (1.7 times
    slower). All elements are numbers, instants and our own words: nothing to quote.
    """
    return {
        "opened_at": _instants([candle.opened_at for candle in candles]),
        "open": _literal([str(candle.open) for candle in candles]),
        "high": _literal([str(candle.high) for candle in candles]),
        "low": _literal([str(candle.low) for candle in candles]),
        "close": _literal([str(candle.close) for candle in candles]),
        "volume": _literal([str(candle.volume) for candle in candles]),
        "turnover": _literal(
            [
                "NULL" if candle.turnover is None else str(candle.turnover)
                for candle in candles
            ]
        ),
        "session": _literal([candle.session.value for candle in candles]),
    }


def _instants(instants: Iterable[datetime]) -> str:
    return _literal([instant.isoformat() for instant in instants])


def _literal(elements: list[str]) -> str:
    return "{" + ",".join(elements) + "}"
