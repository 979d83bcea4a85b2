"""Candles, their series and the task that brought them: one transaction."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from shared.candles import Candle, CandleSession, Timeframe
from shared.database.engine import transaction
from shared.database.ledger import (
    ADD_TASKS,
    OPEN_RUN,
    UNSTAGE,
    columns_of_run,
    columns_of_tasks,
    run_id_of,
)
from shared.errors import StaleSeries
from shared.messages import CollectRequest
from shared.modes import Mode
from shared.runs import NewRun
from shared.series import Attempt, Counts, FollowUp, Harvest, Series
from shared.sessions import DAY, midnight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import Connection, Engine

    from shared.candles import RejectedRow
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
        SELECT :run_id, :stock_code, :timeframe, opened_at, old_open, old_high,
               old_low, old_close, old_volume, old_turnover,
               (SELECT collected_at FROM series
                WHERE stock_code = :stock_code AND timeframe = :timeframe)
        FROM differing
        WHERE is_known AND opened_at < :settled_before
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
    SELECT count(*) FILTER (WHERE NOT is_known), count(*) FILTER (WHERE is_known)
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
SETTLED = text("""
    SELECT opened_at, open, high, low, close, volume, turnover, session
    FROM candles
    WHERE stock_code = :stock_code AND timeframe = :timeframe
      AND opened_at >= :first AND opened_at < :settled_before
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
      AND NOT EXISTS (
          SELECT FROM unnest(cast(:served AS timestamptz[])) AS t (served_at)
          WHERE served_at = opened_at)
""")
RECORD_ACTION = text("""
    INSERT INTO corporate_actions (stock_code, timeframe, after_date, effective_by,
                                   ratio, evidence, run_id)
    VALUES (:stock_code, :timeframe, :after, :effective_by, :ratio,
            cast(:evidence AS jsonb), :run_id)
    ON CONFLICT (stock_code, timeframe, after_date, effective_by) DO NOTHING
""")
# What is known of each slot that is settled: a candle, or that there is none.
KNOWN_SLOTS = text("""
    SELECT opened_at FROM candles
    WHERE stock_code = :stock_code AND timeframe = :timeframe
      AND opened_at >= :first AND opened_at < :beyond
    UNION ALL
    SELECT opened_at FROM absent_slots
    WHERE stock_code = :stock_code AND timeframe = :timeframe
      AND opened_at >= :first AND opened_at < :beyond
""")
REMEMBER_ABSENT = text("""
    INSERT INTO absent_slots (stock_code, timeframe, opened_at, run_id)
    SELECT :stock_code, :timeframe, opened_at, :run_id
    FROM unnest(cast(:opened_at AS timestamptz[])) AS t (opened_at)
    ON CONFLICT (stock_code, timeframe, opened_at) DO NOTHING
""")
OTHER_TIMEFRAMES = text("""
    SELECT timeframe FROM series
    WHERE stock_code = :stock_code AND timeframe <> :timeframe
      AND covered_from IS NOT NULL
    ORDER BY timeframe
""")
QUARANTINE = text("""
    INSERT INTO quarantine (run_id, stock_code, timeframe, reason, raw)
    SELECT :run_id, :stock_code, :timeframe, reason, raw
    FROM unnest(cast(:reasons AS text[]), cast(:raws AS text[])) AS t (reason, raw)
    ON CONFLICT (stock_code, timeframe, md5(raw)) DO NOTHING
""")
MOVE_SERIES = text("""
    UPDATE series
    SET covered_from = :covered_from, settled_through = :settled_through,
        oldest = :oldest, history_exhausted = :history_exhausted, ended = :ended,
        version = version + 1, collected_at = clock_timestamp(),
        leased_by = NULL, leased_until = NULL
    WHERE stock_code = :stock_code AND timeframe = :timeframe
""")
FINISH_TASK = text("""
    UPDATE tasks
    SET state = :state, requests = :requests, inserted = :inserted, updated = :updated,
        unchanged = :unchanged, rejected = :rejected,
        error_code = NULL, error_message = NULL, finished_at = clock_timestamp()
    WHERE run_id = :run_id AND stock_code = :stock_code AND timeframe = :timeframe
""")
# Of a series without a settled session, nothing can be revised.
BEFORE_ALL_CANDLES = midnight(date(1900, 1, 1))
# So many candles go into one statement: large enough to be fast, small enough for the
# memory of a small instance.
BATCH = 9000


class CandleStore:
    """Candles in PostgreSQL."""

    def __init__(self, engine: Engine, calendar: Callable[[], Calendar]) -> None:
        """Take the sessions of the exchange from ``calendar``."""
        self._engine = engine
        self.calendar = calendar

    def settled(self, attempt: Attempt, first: datetime) -> dict[datetime, Candle]:
        """The settled candles of the series from ``first`` on, by their opening."""
        request, through = attempt.request, attempt.series.settled_through
        if through is None:
            return {}
        period = {"first": first, "settled_before": midnight(through + DAY)}
        with transaction(self._engine) as connection:
            rows = connection.execute(SETTLED, _key(request) | period).mappings().all()
        return {
            row["opened_at"]: Candle(
                stock_code=request.stock_code,
                timeframe=request.timeframe,
                **{**row, "session": CandleSession(row["session"])},
            )
            for row in rows
        }

    def known_slots(
        self, attempt: Attempt, first: datetime, beyond: datetime
    ) -> set[datetime]:
        """Slots with a candle, and those where the broker is known to have none."""
        period = {"first": first, "beyond": beyond}
        with transaction(self._engine) as connection:
            slots = connection.execute(KNOWN_SLOTS, _key(attempt.request) | period)
            return set(slots.scalars())

    def store(self, attempt: Attempt, harvest: Harvest) -> Counts:
        """Store candles, series and task; all of it or nothing.

        Raises:
            StaleSeries: If another attempt took the series over, or changed it.
            DatabaseUnavailable: If PostgreSQL did not answer.
        """
        request, series = attempt.request, harvest.series
        key: dict[str, Any] = _key(request) | {"run_id": request.run_id}
        with transaction(self._engine) as connection:
            lock = connection.execute(LOCK_SERIES, key | {"owner": attempt.owner})
            if lock.scalar() != attempt.series.version:
                message = f"{request.stock_code} changed while it was collected"
                raise StaleSeries(message)
            counts = _upsert(connection, key, attempt, harvest)
            counts = replace(
                counts,
                rejected=_quarantine(connection, key, harvest.rejected),
                rescaled=_rebase(connection, key, request.timeframe, harvest),
                follow_up=_follow_up(connection, key, request, harvest),
            )
            if harvest.absent:
                absent = {"opened_at": _instants(harvest.absent)}
                connection.execute(REMEMBER_ABSENT, key | absent)
            covered = {
                "covered_from": series.covered_from,
                "settled_through": series.settled_through,
                "oldest": series.oldest,
                "history_exhausted": series.history_exhausted,
                "ended": series.ended,
            }
            connection.execute(MOVE_SERIES, key | covered)
            result = {
                "state": "no_data" if harvest.no_data else "done",
                "requests": attempt.requests,
                "inserted": counts.inserted,
                "updated": counts.updated + counts.rescaled,
                "unchanged": counts.unchanged,
                "rejected": counts.rejected,
            }
            connection.execute(FINISH_TASK, key | result)
            connection.execute(UNSTAGE, key)
        return counts


def _key(request: CollectRequest) -> dict[str, Any]:
    return {
        "stock_code": request.stock_code,
        "timeframe": request.timeframe.value,
    }


def _rebase(
    connection: Connection, key: dict[str, Any], timeframe: Timeframe, harvest: Harvest
) -> int:
    """Record a corporate action; move what the broker no longer serves to its basis."""
    rebase = harvest.rebase
    if rebase is None:
        return 0
    action = {
        "after": rebase.after,
        "effective_by": rebase.effective_by,
        "ratio": rebase.ratio,
        "evidence": rebase.evidence,
    }
    connection.execute(RECORD_ACTION, key | action)
    scale = {
        "ratio": rebase.ratio,
        "volume_ratio": 1 if timeframe.minutes else rebase.ratio,
        "served": _instants(candle.opened_at for candle in harvest.candles),
    }
    return connection.execute(RESCALE, key | scale).rowcount


def _follow_up(
    connection: Connection,
    key: dict[str, Any],
    request: CollectRequest,
    harvest: Harvest,
) -> FollowUp | None:
    """Ask for the stock's other timeframes, which stand on the old basis as well."""
    if harvest.rebase is None or request.mode is Mode.REBUILD:
        return None
    timeframes = connection.execute(OTHER_TIMEFRAMES, key).scalars().all()
    if not timeframes:
        return None
    cause = f"rebuild {request.run_id} {request.stock_code} {request.timeframe}"
    run_id = run_id_of(cause)
    requests = [
        CollectRequest(
            run_id=run_id,
            stock_code=request.stock_code,
            timeframe=Timeframe(timeframe),
            mode=Mode.REBUILD,
        )
        for timeframe in timeframes
    ]
    trigger = {"mode": Mode.REBUILD.value, "stocks": [request.stock_code]}
    trigger |= {"timeframes": list(timeframes)}
    run = NewRun(
        run_id=run_id,
        message_id=cause,
        trigger=json.dumps(trigger).encode(),
        requests=requests,
        requested_at=harvest.rebase.found_at,
    )
    connection.execute(OPEN_RUN, columns_of_run(run))
    connection.execute(ADD_TASKS, columns_of_tasks(run))
    messages = tuple(wanted.to_bytes() for wanted in requests)
    return FollowUp(run_id=run_id, messages=messages)


def _upsert(
    connection: Connection,
    key: dict[str, Any],
    attempt: Attempt,
    harvest: Harvest,
) -> Counts:
    candles = harvest.candles
    # A rebuilt series has its corporate action on record, not a revision a candle.
    settled = None if harvest.rebase else attempt.series.settled_through
    before = midnight(settled + DAY) if settled else BEFORE_ALL_CANDLES
    inserted = updated = 0
    for start in range(0, len(candles), BATCH):
        batch = candles[start : start + BATCH]
        columns = key | _columns(batch) | {"settled_before": before}
        if _is_new(batch, attempt.series):
            period = {"oldest": batch[0].opened_at, "newest": batch[-1].opened_at}
            found = connection.execute(INSERT_NEW, columns | period).rowcount
            if found:
                inserted += found
                continue
        row = connection.execute(UPSERT, columns).one()
        inserted, updated = inserted + row[0], updated + row[1]
    unchanged = len(candles) - inserted - updated
    return Counts(inserted=inserted, updated=updated, unchanged=unchanged)


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
