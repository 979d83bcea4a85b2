"""Request slots: how many can be given out, and how exactly eight processes keep them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from shared.database.engine import new_engine
from shared.database.rate_slots import RateSlots, WaitPolicy
from shared.settings import REQUESTS_PER_SECOND, DatabaseSettings
from tests.support import servers

PROCESSES = 8
# Each keeps asking until the end: work waits all the time.
WORKER = """
import json, sys, time
from shared.database.engine import new_engine
from shared.database.rate_slots import WaitPolicy, RateSlots
from shared.settings import DatabaseSettings

url, rate, until = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
engine = new_engine(DatabaseSettings(url=url))
slots = RateSlots(engine, rate, WaitPolicy(max_wait=60), time.sleep)
sent = []
while time.time() < until:
    slots.wait("bench", "ka10080")
    sent.append(time.time())
print(json.dumps(sent))
"""


def throughput(url, seconds=3.0):
    """Slots/s where nobody has to wait: eight threads on eight connections."""
    engine = new_engine(DatabaseSettings(url=url, pool_size=PROCESSES))
    slots = RateSlots(engine, 1e6, WaitPolicy(max_wait=60), lambda _: None)
    deadline = time.perf_counter() + seconds

    def work(_):
        count = 0
        while time.perf_counter() < deadline:
            slots.wait("bench", "throughput")
            count += 1
        return count

    with ThreadPoolExecutor(PROCESSES) as pool:
        total = sum(pool.map(work, range(PROCESSES)))
    engine.dispose()
    return round(total / seconds)


def accuracy(url, seconds=20.0):
    """When eight processes really sent, and what a broker would have counted."""
    rate = REQUESTS_PER_SECOND["real"]
    until = time.time() + seconds + 3
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, url, str(rate), str(until)],
            stdout=subprocess.PIPE,
            cwd=servers.ROOT,
        )
        for _ in range(PROCESSES)
    ]
    sent = sorted(
        instant for worker in workers for instant in json.loads(worker.communicate()[0])
    )
    # Until all have started, and while the last ones end, not all of them wait.
    steady = [instant for instant in sent if until - seconds < instant < until]
    span = steady[-1] - steady[0]
    windows = [sum(a <= b < a + 1.0 for b in steady) for a in steady]
    return {
        "processes": PROCESSES,
        "rate": rate,
        "requests": len(steady),
        "most_in_any_second": max(windows),
        "utilisation": round((len(steady) - 1) / span / rate, 3),
    }


def measure(url):
    """All of it."""
    return {"slots_per_second": throughput(url)} | accuracy(url)
