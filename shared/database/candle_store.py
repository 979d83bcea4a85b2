"""Candles, their series and the task that brought them: one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from shared.candles import Candle, CandleSession
from shared.database import absences, staged_chains
from shared.database.candle_rows import upsert, withdraw
from shared.database.engine import transaction
from shared.database.literals import bounds, instants
from shared.database.price_moves import apply_move
from shared.database.session_seals import (
    Touched,
    look_for_broken,
    mend,
    seal_again,
)
from shared.database.session_store import lock_version
from shared.errors import StaleSeries
from shared.modes import Mode
from shared.series import (
    Attempt,
    CollectedSeries,
    Period,
    Stored,
    WriteCounts,
    task_state,
)
from shared.sessions import kst_date, midnight

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date, datetime

    from sqlalchemy import Connection, Engine

    from shared.candles import RejectedRow
    from shared.messages import CollectRequest
    from shared.sessions import Calendar


LOCK_SERIES = text("""
    SELECT version,
           EXISTS (SELECT FROM broken_seals
                   WHERE broken_seals.stock_code = series.stock_code
                     AND broken_seals.timeframe = series.timeframe) AS is_broken
    FROM series
    WHERE stock_code = :stock_code AND timeframe = :timeframe AND leased_by = :owner
    FOR UPDATE
""")
CANDLES = text("""
    SELECT opened_at, open, high, low, close, volume, turnover, session
    FROM candles
    WHERE stock_code = :stock_code AND timeframe = :timeframe
      AND opened_at >= :first AND opened_at < :beyond
""")
HAS_TRADED = text("""
    SELECT bool_or(volume > 0 AND opened_at >= :since) FROM candles
    WHERE stock_code = :stock_code AND timeframe = '1d'
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
        history_exhausted = :history_exhausted, unproven_on = :unproven_on,
        unproven_ratio = :unproven_ratio, ended = :ended,
        version = version + 1, collected_at = :read_at,
        asked_at = greatest(asked_at, :asked_through),
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
# The first missing slots are kept with the task.
FIRST_MISSING = 10


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
            rows = connection.execute(CANDLES, _key(request) | bounds(period))
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
        values = _key(attempt.request) | bounds(period)
        values["believed_for"] = absences.BELIEVED_FOR
        with transaction(self._engine) as connection:
            return set(connection.execute(absences.KNOWN_SLOTS, values).scalars())

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
            is_broken = _refuse_stale(connection, key, attempt, collected)
            is_broken |= _finds_broken(connection, key, attempt, collected)
            touched = Touched()
            withdrawn = withdraw(connection, key, attempt, collected, touched)
            inserted, updated, revised = upsert(
                connection, key, attempt, collected, touched
            )
            rescaled, follow_up = apply_move(
                connection, key, request, collected, touched
            )
            counts = WriteCounts(
                inserted=inserted,
                updated=updated,
                unchanged=len(collected.candles) - inserted - updated,
                rejected=_quarantine(connection, key, collected.rejected),
                revised=revised,
                withdrawn=withdrawn,
                rescaled=rescaled,
            )
            touched.absences = absences.record(connection, key, collected)
            missing = absences.missing(connection, key, collected)
            _write_series(connection, key, collected)
            if is_broken and collected.complete:
                series = collected.series
                touched.add_days(mend(connection, key, series, collected.complete))
            seal_again(connection, key, attempt.series, collected.series, touched)
            state = task_state(collected, missing)
            _finish_task(connection, key, attempt, state, counts, missing)
            staged_chains.discard(connection, key)
        return Stored(state=state, counts=counts, missing=missing, follow_up=follow_up)


def _key(request: CollectRequest) -> dict[str, Any]:
    return {
        "stock_code": request.stock_code,
        "timeframe": request.timeframe.value,
    }


def _refuse_stale(
    connection: Connection,
    key: dict[str, Any],
    attempt: Attempt,
    collected: CollectedSeries,
) -> bool:
    """Lock calendar and series; tell whether a seal of the series is known broken."""
    # The calendar first, as one who changes it locks them in this order.
    if lock_version(connection) != collected.calendar:
        message = "the trading calendar changed while candles were collected"
        raise StaleSeries(message)
    lock = connection.execute(LOCK_SERIES, key | {"owner": attempt.owner}).first()
    if lock is None or lock.version != attempt.series.version:
        message = f"{attempt.request.stock_code} changed while it was collected"
        raise StaleSeries(message)
    return bool(lock.is_broken)


def _finds_broken(
    connection: Connection,
    key: dict[str, Any],
    attempt: Attempt,
    collected: CollectedSeries,
) -> bool:
    """Compare seals where they will be written anew, or are to be verified."""
    request = attempt.request
    if request.timeframe.minutes and request.mode is not Mode.VERIFY:
        return False
    read = [period.first for period in collected.complete]
    read += [candle.opened_at for candle in collected.candles[:1]]
    first = kst_date(min(read, default=collected.read_at))
    return look_for_broken(connection, key, attempt.series, first)


def _quarantine(
    connection: Connection, key: dict[str, Any], rejected: tuple[RejectedRow, ...]
) -> int:
    if not rejected:
        return 0
    rows = {
        "reasons": [row.reason for row in rejected],
        "raws": [row.raw for row in rejected],
        "instants": instants(row.opened_at for row in rejected),
    }
    connection.execute(QUARANTINE, key | rows)
    return len(rejected)


def _write_series(
    connection: Connection, key: dict[str, Any], collected: CollectedSeries
) -> None:
    series = collected.series
    values = {
        "read_at": collected.read_at,
        "asked_through": collected.asked_through,
        "covered_from": series.covered_from,
        "wanted_from": series.wanted_from,
        "loaded_on": series.loaded_on,
        "settled_through": series.settled_through,
        "end_seen_on": series.end_seen_on,
        "history_exhausted": series.history_exhausted,
        "unproven_on": series.unproven_on,
        "unproven_ratio": series.unproven_ratio,
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
        "first_missing": instants(missing[:FIRST_MISSING]),
    }
    connection.execute(FINISH_TASK, key | result)
