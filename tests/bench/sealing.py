"""What seals cost: a stock's year of minutes, its ticks and its mornings, both ways.

It is CPU time of this process and of PostgreSQL's, which other work on the machine
disturbs least.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from functions.reference_sync.reference_data import bundled_calendar
from shared.candles import Candle, CandleSession, Timeframe
from shared.database import candle_store
from shared.database.candle_store import CandleStore
from shared.database.engine import new_engine
from shared.database.run_ledger import RunLedger
from shared.database.session_store import SessionStore
from shared.database.task_ledger import TaskLedger
from shared.runs import NewRun
from shared.series import CollectedSeries, Period, Series
from shared.sessions import DAY, kst_date, midnight
from shared.settings import DatabaseSettings
from tests.support.builders import a_request, day, kst

FIRST, LAST = day("2025-11-24"), day("2026-11-20")
STOCKS = 8


def measure(url, runs):
    """How much longer storing takes with seals, as ratios of medians."""
    engine = new_engine(DatabaseSettings(url=url, pool_size=1))
    SessionStore(engine).write(bundled_calendar())
    storing = Storing(engine)
    taken = {name: ([], []) for name in ("first_load", "tick", "morning")}
    for number in range(runs * STOCKS):
        # By turns, so that what else the machine does hits both alike.
        sealed = number % 2
        for name, seconds in storing.stock(f"{number:06}", sealed=bool(sealed)):
            taken[name][sealed].append(seconds)
    engine.dispose()
    ratios = {
        name: round(median(sealed) / median(without), 3)
        for name, (without, sealed) in taken.items()
    }
    milliseconds = {
        name: [round(1000 * median(seconds), 1) for seconds in both]
        for name, both in taken.items()
    }
    candles = sum(map(len, storing.days))
    return {"ratios": ratios, "milliseconds": milliseconds, "candles": candles}


class Storing:
    """Stores as the collector does."""

    def __init__(self, engine):
        self.engine = engine
        with engine.begin() as connection:
            backend = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        self.statistics = Path(f"/proc/{backend}/schedstat")
        self.runs, self.tasks = RunLedger(engine), TaskLedger(engine)
        self.calendar = SessionStore(engine).calendar()
        self.store = CandleStore(engine, lambda: self.calendar)
        self.seal = candle_store.seal_again
        self.days = [
            self.calendar.slots(Timeframe.MINUTE_5, day)
            for day in self.calendar.session_dates(FIRST, LAST)
        ]

    def stock(self, code, *, sealed):
        """A first load, a tick, and the morning after it; seconds of each."""
        candle_store.seal_again = self.seal if sealed else _nothing
        *year, yesterday, today = self.days
        known = Series(covered_from=FIRST, wanted_from=FIRST)
        before = replace(known, settled_through=kst_date(yesterday[0]))
        after = replace(known, settled_through=kst_date(today[0]))
        loaded = [at for slots in (*year, yesterday) for at in slots]
        yield "first_load", self._store(code, loaded, before)
        yield "tick", self._store(code, yesterday + today, before)
        yield "morning", self._store(code, yesterday + today, after)
        candle_store.seal_again = self.seal

    def _store(self, code, slots, series):
        request = a_request(
            "5m", run_id=f"{code} {time.perf_counter()}", stock_code=code
        )
        run = NewRun(
            run_id=request.run_id,
            message_id=code,
            trigger=b"{}",
            requests=[request],
            requested_at=kst("2026-11-21"),
        )
        self.runs.open_run(run)
        collected = CollectedSeries(
            series=series,
            calendar=self.calendar.version,
            read_at=kst("2026-11-21"),
            candles=tuple(_candle(code, at) for at in slots),
            complete=(Period(slots[0], midnight(kst_date(slots[-1]) + DAY)),),
            expected=tuple(slots),
        )
        with self.tasks.attempt(request) as attempt:
            began = self._used()
            self.store.store(attempt, collected)
            return self._used() - began

    def _used(self):
        """Seconds of CPU so far; the database has one connection."""
        nanoseconds, *_ = self.statistics.read_text().split()
        return time.process_time() + int(nanoseconds) / 1e9


def _candle(code, at):
    n = int(at.timestamp()) // 300 % 900
    return Candle(
        stock_code=code,
        timeframe=Timeframe.MINUTE_5,
        opened_at=at,
        open=70_000 + n,
        high=70_500 + n,
        low=69_900 + n,
        close=70_100 + n,
        volume=123_456 + n,
        turnover=None,
        session=CandleSession.REGULAR,
    )


def _nothing(*_):
    """No seals."""
