"""The whole pipeline as processes: tasks/s, memory, connections, requests."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from threading import Event, Thread

from sqlalchemy import text

from infra.local.broker.master import simulated
from shared.candles import Timeframe
from shared.database.engine import transaction
from shared.database.run_ledger import RunLedger, run_id_of
from shared.messages import CollectRequest
from shared.runs import NewRun
from shared.settings import REQUESTS_PER_SECOND
from tests.bench.cold_start import _memory

COUNT = text("""
    SELECT timeframe,
           count(*) AS tasks,
           count(*) FILTER (WHERE state = 'done') AS done,
           count(*) FILTER (WHERE state = 'no_data') AS no_data,
           count(*) FILTER (WHERE state = 'dead') AS dead,
           sum(inserted + updated + unchanged) AS candles,
           sum(requests) AS requests,
           coalesce(extract(epoch FROM min(started_at)), 0)::float8 AS began,
           coalesce(extract(epoch FROM
               CASE WHEN bool_and(finished_at IS NOT NULL) THEN max(finished_at)
                    ELSE clock_timestamp() END), 0)::float8 AS ended
    FROM tasks WHERE run_id = ANY(:run_ids)
    GROUP BY timeframe
""")
PAGE = {"5m": 900, "30m": 900, "60m": 900, "1d": 600, "1w": 600}
STARTED_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The tasks of one timeframe, counted; times are in seconds since 1970."""

    timeframe: str
    tasks: int
    done: int
    no_data: int
    dead: int
    candles: int
    requests: int
    began: float
    ended: float

    @property
    def finished(self) -> bool:
        """Whether no task is left to do."""
        return self.done + self.no_data + self.dead == self.tasks


def read(engine, run_ids):
    """Count the tasks of some runs, in the order of the timeframes."""
    with transaction(engine) as connection:
        rows = connection.execute(COUNT, {"run_ids": list(run_ids)}).mappings().all()
    found = {row["timeframe"]: Progress(**row) for row in rows}
    return [found[timeframe] for timeframe in Timeframe if timeframe in found]


def targets(stack):
    """The first load of the targets in all timeframes."""
    began = time.perf_counter()
    run_ids = [
        stack.trigger(json.dumps({"timeframe": frame, "force": True}).encode())
        for frame in Timeframe
    ]
    rows = finished(stack, run_ids, len(Timeframe))
    seconds = time.perf_counter() - began
    tasks = sum(row.tasks for row in rows)
    return {
        "tasks": tasks,
        "seconds": round(seconds, 1),
        "tasks_per_second": round(tasks / seconds, 1),
        "candles_per_second": round(sum(row.candles for row in rows) / seconds),
        "requests": sum(row.requests for row in rows),
        "least_requests": sum(least_requests(stack, row.timeframe) for row in rows),
    }


def least_requests(stack, timeframe):
    """So many pages hold what was stored; one for a stock that has nothing."""
    with transaction(stack.engine) as connection:
        counts = connection.execute(
            text(
                "SELECT count(opened_at) FROM series LEFT JOIN candles"
                " USING (stock_code, timeframe) JOIN stocks USING (stock_code)"
                " WHERE timeframe = :t AND is_target GROUP BY stock_code"
            ),
            {"t": timeframe},
        ).scalars()
        return sum(max(1, math.ceil(count / PAGE[timeframe])) for count in counts)


def whole_market(stack, period, stocks=None):
    """Every listed stock, daily; what each process needs while it goes on."""
    load_master(stack)
    trigger = {"timeframe": "1d", "stocks": stocks or "all", "period": period}
    watch = Watch(stack)
    began = time.perf_counter()
    run_id = stack.trigger(json.dumps(trigger).encode())
    with watch:
        (row,) = finished(stack, [run_id], 1)
    seconds = time.perf_counter() - began
    rate = row.requests / (row.ended - row.began)
    return {
        "stocks": row.tasks,
        "done": row.done,
        "dead": row.dead,
        "seconds": round(seconds, 1),
        "stocks_per_second": round(row.tasks / seconds, 1),
        "candles_per_second": round(row.candles / seconds),
        "requests_per_second": round(rate, 3),
        "utilisation": round(rate / REQUESTS_PER_SECOND[stack.options.mode], 3),
        "most_connections": watch.connections,
        "pool_budget": stack.topology.most_connections // 2,
        "memory_mib": watch.memory(),
        "refused_with_429": refused(stack),
    }


def load_master(stack):
    """Every stock of the simulated market."""
    stack.publish("reference", b'{"sync":["stocks"]}')
    deadline = time.monotonic() + STARTED_SECONDS
    count = text("SELECT count(*) FROM stocks WHERE listed")
    while time.monotonic() < deadline:
        with transaction(stack.engine) as connection:
            if connection.execute(count).scalar() >= len(market_stocks()):
                return
        time.sleep(0.2)
    message = "the stock master was not loaded"
    raise AssertionError(message)


def market_stocks():
    """Codes of KOSPI and KOSDAQ."""
    return sorted(
        code
        for code, entry in simulated().items()
        if entry["marketCode"] in {"0", "10"}
    )


def refused(stack):
    """In how many calls a request met the broker's limit, once or more often."""
    count = text("SELECT count(*) FROM rate_slots WHERE slowed_at IS NOT NULL")
    with transaction(stack.engine) as connection:
        return connection.execute(count).scalar()


def finished(stack, run_ids, frames):
    """Wait for runs; return how they ended."""
    while True:
        stack.check()
        rows = read(stack.engine, run_ids)
        if len(rows) == frames and all(row.finished for row in rows):
            return rows
        time.sleep(0.1)


def requests_for(stack, stocks):
    """Requests for the collector that nobody has done yet, one a call."""
    ledger = RunLedger(stack.engine)
    left = list(stocks)

    def run_request():
        run_id = run_id_of(f"bench {len(left)}", stack.logs.as_posix())
        wanted = CollectRequest(
            run_id=run_id, stock_code=left.pop(), timeframe=Timeframe.WEEK_1
        )
        run = NewRun(
            run_id=run_id,
            message_id=run_id,
            trigger=b"{}",
            requests=[wanted],
            requested_at=stack.clock(),
        )
        ledger.open_run(run)
        return wanted.to_bytes()

    return run_request


class Watch:
    """Looks at memory and connections while something is going on."""

    def __init__(self, stack):
        self.stack = stack
        self.samples = {name: [] for name in stack.functions}
        self.connections = 0
        self.over = Event()
        self.thread = Thread(target=self.look, daemon=True)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def look(self):
        used = text(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = ANY(:names)"
        )
        while not self.over.wait(1.0):
            for name, child in self.stack.functions.items():
                self.samples[name].append(_memory(child.pid))
            with transaction(self.stack.engine) as connection:
                names = {"names": list(self.stack.functions)}
                count = connection.execute(used, names).scalar()
                self.connections = max(self.connections, count)

    def memory(self):
        """MiB of each function: when half was done, and at the most."""
        return {
            name: {"halfway": round(found[len(found) // 2]), "most": round(max(found))}
            for name, found in self.samples.items()
            if found
        }
