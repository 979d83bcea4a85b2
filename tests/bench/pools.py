"""``python -m tests.bench.pools``: how many connections sixteen collectors need.

Threads do what a collector does to the database, on its own stores: begin an attempt,
reserve a slot, wait for the broker, renew the lease and stage the page, store. What is
counted is how long they wait for a place in the pool, and the longest statements.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count

from sqlalchemy import event

from shared.database.candle_store import CandleStore
from shared.database.engine import new_engine
from shared.database.rate_slots import RateSlots, WaitPolicy
from shared.database.run_ledger import RunLedger
from shared.database.session_store import SessionStore
from shared.database.task_ledger import TaskLedger
from shared.pages import Page, PageChain
from shared.runs import NewRun
from shared.series import CollectedSeries, Series
from shared.settings import REQUESTS_PER_SECOND, DatabaseSettings
from tests.support import servers
from tests.support.builders import CALENDAR, a_candle, a_request, day, kst

THREADS = 16
SIZES = (1, 2, 3, 4, 6, 8, 16)
CALLS = ("ka10080", "ka10081", "ka10082")
ANSWER_SECONDS = 0.1
PAGE = 900
START = kst("2026-11-20 09:00")
TICK, FIRST_LOAD = 30, 31_000


def candles(how_many):
    return tuple(
        a_candle(timeframe="5m", opened_at=START - timedelta(minutes=5 * n))
        for n in reversed(range(how_many))
    )


class Collectors:
    """Sixteen of them, on a pool of ``size``."""

    def __init__(self, url, size, rate):
        self.engine = new_engine(DatabaseSettings(url=url, pool_size=size))
        self.ledger, self.runs = TaskLedger(self.engine), RunLedger(self.engine)
        self.store = CandleStore(self.engine, lambda: CALENDAR)
        self.slots = RateSlots(self.engine, rate, WaitPolicy(max_wait=600), time.sleep)
        self.version = SessionStore(self.engine).calendar().version
        self.waits, self.longest = [], defaultdict(float)
        self._measure()

    def _measure(self):
        checkout = self.engine.pool._do_get

        def timed():
            began = time.perf_counter()
            record = checkout()
            self.waits.append(time.perf_counter() - began)
            return record

        self.engine.pool._do_get = timed
        event.listen(self.engine, "before_cursor_execute", self._begin)
        event.listen(self.engine, "after_cursor_execute", self._end)

    def _begin(self, connection, *_):
        connection.info["began"] = time.perf_counter()

    def _end(self, connection, _cursor, statement, *_):
        took = time.perf_counter() - connection.info["began"]
        name = " ".join(statement.split()[:4])
        self.longest[name] = max(self.longest[name], took)

    def task(self, number, rows):
        request = a_request("5m", run_id=f"run-{number}", stock_code=f"{number:06}")
        self.runs.open_run(
            NewRun(
                run_id=request.run_id,
                message_id=request.run_id,
                trigger=b"{}",
                requests=[request],
                requested_at=START,
            )
        )
        with self.ledger.attempt(request) as attempt:
            for page in range(0, len(rows), PAGE):
                self.slots.wait("bench", CALLS[number % 3])
                time.sleep(ANSWER_SECONDS)
                attempt.requests += 1
                chain = PageChain(
                    anchor=day("2026-11-20"),
                    read_at=START,
                    pages=(Page(candles=rows[page : page + PAGE], cursor=str(page)),),
                )
                self.ledger.renew_lease(attempt, [chain] if page else [])
            self.store.store(
                attempt,
                CollectedSeries(
                    series=Series(covered_from=day("2026-11-20")),
                    calendar=self.version,
                    read_at=START,
                    candles=rows,
                ),
            )

    def work(self, rows, seconds):
        until, numbers = time.perf_counter() + seconds, count(1)

        def one(_):
            done = 0
            while time.perf_counter() < until:
                self.task(next(numbers), rows)
                done += 1
            return done

        with ThreadPoolExecutor(THREADS) as threads:
            done = sum(threads.map(one, range(THREADS)))
        self.engine.dispose()
        return done


def measure(postgres, kind, rows, rate, seconds):
    numbers = count()
    for size in SIZES:
        name = f"pool_{kind}_{size}_{next(numbers)}"
        url = postgres.create(name, template="template")
        engine = new_engine(DatabaseSettings(url=url))
        SessionStore(engine).write(CALENDAR)
        engine.dispose()
        collectors = Collectors(url, size, rate)
        began = time.perf_counter()
        done = collectors.work(rows, seconds)
        took = time.perf_counter() - began
        waits = sorted(collectors.waits)
        print(
            f"{kind:>10} pool {size:>2}: {done / took:7.2f} tasks/s, "
            f"waits p50 {1000 * waits[len(waits) // 2]:6.1f} ms, "
            f"p99 {1000 * waits[len(waits) * 99 // 100]:7.1f} ms, "
            f"longest {1000 * waits[-1]:7.1f} ms",
            flush=True,
        )
        longest = sorted(collectors.longest.items(), key=lambda pair: -pair[1])[:3]
        print("           ", *(f"{name}: {took:.2f} s;" for name, took in longest))
        postgres.drop(name)


def main() -> int:
    """Ticks and first loads, at the broker's pace and without it."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 8.0
    tick, first_load = candles(TICK), candles(FIRST_LOAD)
    pace = REQUESTS_PER_SECOND["real"]
    with servers.postgres(durable=True) as postgres:
        servers.migrate(postgres.create("template"))
        measure(postgres, "paced_tick", tick, pace, seconds)
        measure(postgres, "tick", tick, 1e6, seconds)
        measure(postgres, "first_load", first_load, 1e6, seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
