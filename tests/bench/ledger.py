"""A ledger of a million tasks: how soon its newest runs are found, and old ones go."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from statistics import median

from sqlalchemy import text

from functions.reference_sync.prune import KEPT_DAYS, prune
from infra.local import progress
from shared.database.engine import new_engine
from shared.database.ledger_pruning import LedgerPruning
from shared.settings import MIGRATION_DEADLINES, DatabaseSettings
from tests.support import ledger

# A million tasks as ticks of the targets leave them, and as ticks of the whole market do.
RUNS, STOCKS = 33_334, 30
MARKET_RUNS, MARKET_STOCKS = 371, 2_700
EMPTY = text("TRUNCATE runs, tasks CASCADE")
DAYS = 2 * KEPT_DAYS
NEWEST = text("SELECT * FROM run_states ORDER BY requested_at DESC LIMIT 20")
YESTERDAY = text(
    "SELECT * FROM ledger_days WHERE day = (now() AT TIME ZONE 'Asia/Seoul')::date - 1"
)


def measure(url, runs):
    """Milliseconds of what is asked often, and seconds of the pruning of half of it."""
    patient = new_engine(DatabaseSettings(url=url, deadlines=MIGRATION_DEADLINES))
    engine = new_engine(DatabaseSettings(url=url, pool_size=2))
    since = datetime.now(UTC) - timedelta(days=DAYS)
    asked = {
        "newest_runs_ms": lambda: _rows(engine, NEWEST),
        "one_day_ms": lambda: _rows(engine, YESTERDAY),
        "status_ms": lambda: progress.read(engine, since, timedelta(0), lambda _: 1),
    }
    found = {"tasks": RUNS * STOCKS}
    ledger.fill(patient, runs=MARKET_RUNS, stocks=MARKET_STOCKS, days=DAYS)
    newest = asked["newest_runs_ms"]
    found["newest_market_runs_ms"] = _milliseconds(newest, runs)
    with patient.begin() as connection:
        connection.execute(EMPTY)
    ledger.fill(patient, runs=RUNS, stocks=STOCKS, days=DAYS)
    patient.dispose()
    for name, ask in asked.items():
        found[name] = _milliseconds(ask, runs)
    began = time.perf_counter()
    pruned = prune(LedgerPruning(engine), datetime.now(UTC))
    found["pruned_tasks"] = pruned.tasks
    found["pruning_seconds"] = round(time.perf_counter() - began, 1)
    engine.dispose()
    return found


def _milliseconds(ask, runs):
    ask()
    return round(1000 * median(_seconds(ask) for _ in range(runs)), 1)


def _rows(engine, statement):
    with engine.begin() as connection:
        return connection.execute(statement).all()


def _seconds(ask):
    began = time.perf_counter()
    ask()
    return time.perf_counter() - began
