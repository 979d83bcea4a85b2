"""Live work beside history, at the broker's limit: what each of them gets of it."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from statistics import quantiles

import requests

from shared.candles import Timeframe
from shared.database.rate_slots import MARGIN
from shared.lanes import Call, call_of
from shared.settings import REQUESTS_PER_SECOND
from tests.bench import pipeline

API_IDS = {Call.MINUTES: "ka10080", Call.DAYS: "ka10081", Call.WEEKS: "ka10082"}
# One timeframe for each call.
TICKS = ("5m", "1d", "1w")
PACE = REQUESTS_PER_SECOND["real"] / MARGIN
# Until a backfill uses its limit to the full: it is dispatched, and its places fill.
WARM_SECONDS = 20.0


@dataclass
class Tick:
    """A tick of some stocks, from its publishing to the end of its last task."""

    timeframe: str
    seconds: float
    requests: int


def first_load(stack):
    """All timeframes of the targets at once, against the requests of the busiest call."""
    began = time.time()
    run_ids = [
        stack.trigger(json.dumps({"timeframe": frame}).encode()) for frame in Timeframe
    ]
    rows = pipeline.finished(stack, run_ids, len(Timeframe))
    seconds = max(row.ended for row in rows) - began
    of_call = dict.fromkeys(Call, 0)
    for row in rows:
        of_call[call_of(Timeframe(row.timeframe))] += row.requests
    bound = max(of_call.values()) / PACE
    return {
        "requests": {str(call): count for call, count in of_call.items()},
        "pace": round(PACE, 2),
        "seconds": round(seconds, 1),
        "bound_seconds": round(bound, 1),
        "to_bound": round(seconds / bound, 3),
    }


def ticks_beside_a_backfill(
    stack, rounds, stocks="all", targets=None, rest=10.0, warm=WARM_SECONDS
):
    """Backfills in every call, and again and again a tick in each of them.

    Ticks are of ``targets``, or of the target stocks, and begin after ``warm``
    seconds; between them is a ``rest``.
    """
    for frame in TICKS:
        backfill = {"mode": "backfill", "timeframe": frame, "stocks": stocks}
        stack.trigger(json.dumps(backfill).encode())
    time.sleep(warm)
    before, began = asked(stack), time.time()
    ticks = []
    for _ in range(rounds):
        ticks += tick(stack, TICKS, targets)
        time.sleep(rest)
    seconds = time.time() - began
    after = asked(stack)
    return {
        "rounds": rounds,
        "ticks": of_ticks(ticks),
        "backfill_keeps": {
            str(call): kept(call, ticks, after[api] - before[api], seconds)
            for call, api in API_IDS.items()
        },
        "refused_with_429": pipeline.refused(stack),
    }


def ticks_beside_a_great_tick(stack, stocks, rest=20.0):
    """A daily tick of many stocks, and five-minute ticks while it lasts.

    They are loaded first: a tick of what was never loaded would be history.
    """
    loads = (
        {"timeframe": "1d", "stocks": stocks, "period": "30d"},
        {"timeframe": "5m", "period": "5d"},
    )
    run_ids = [stack.trigger(json.dumps(load).encode()) for load in loads]
    pipeline.finished(stack, run_ids, len(loads))
    trigger = {"timeframe": "1d", "stocks": stocks}
    began = time.time()
    great = stack.trigger(json.dumps(trigger).encode())
    ticks = []
    while True:
        ticks += tick(stack, ("5m",))
        (row,) = pipeline.read(stack.engine, [great])
        if row.finished:
            break
        time.sleep(rest)
    return {
        "stocks": row.tasks,
        "requests": row.requests,
        "great_tick_to_bound": round((row.ended - began) / (row.requests / PACE), 3),
        "ticks": of_ticks(ticks),
    }


def tick(stack, timeframes, targets=None):
    """A tick of each timeframe at the same time; wait for all of them."""
    began = time.time()
    stocks = {"stocks": targets} if targets else {}
    run_ids = [
        stack.trigger(json.dumps({"timeframe": frame} | stocks).encode())
        for frame in timeframes
    ]
    rows = pipeline.finished(stack, run_ids, len(timeframes))
    return [Tick(row.timeframe, row.ended - began, row.requests) for row in rows]


def of_ticks(ticks):
    """Seconds at the 95th percentile and at most, against the bound, by timeframe."""
    found = {}
    for frame in dict.fromkeys(tick.timeframe for tick in ticks):
        seconds = [tick.seconds for tick in ticks if tick.timeframe == frame]
        sent = max(tick.requests for tick in ticks if tick.timeframe == frame)
        found[frame] = {
            "ticks": len(seconds),
            "requests": sent,
            "bound_seconds": round(sent / PACE, 1),
            "allowed_seconds": round(1.25 * sent / PACE + 5, 1),
            "p95_seconds": round(p95(seconds), 1),
            "most_seconds": round(max(seconds), 1),
        }
    return found


def p95(values):
    """The 95th percentile; of few values, the largest."""
    return quantiles([*values, max(values)], n=20, method="inclusive")[-1]


def kept(call, ticks, sent, seconds):
    """The share that the backfill had of what the ticks left of the pace."""
    live = sum(t.requests for t in ticks if call_of(Timeframe(t.timeframe)) is call)
    return round((sent - live) / math.floor(PACE * seconds - live), 3)


def asked(stack):
    """Requests for each call that the broker has had."""
    url = f"{stack.base_url}/simulator/requests"
    found = requests.post(url, timeout=30).json()["requests"]
    return {api: found.get(api, 0) for api in API_IDS.values()}
