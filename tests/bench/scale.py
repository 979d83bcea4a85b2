"""``make scale``: up to 100,000 series on 1, 4 and 16 app keys, simulated lane by lane.

The simulation has the parts that can make a task wait: the limit of each app key and
call, with live work before history; the places of each lane and call; the window of
Pub/Sub, which is that of the embedded one; and the database, which serves so many
statements at a time. How long the database takes is measured (``docs/benchmarks.json``),
how long the broker takes is assumed. It is seeded: the same code gives the same page.

Every app key has collectors of its own, and every stock one app key.
"""

from __future__ import annotations

import heapq
import json
import math
import re
import sys
from collections import deque
from dataclasses import dataclass, replace
from itertools import count, product
from random import Random
from statistics import median

from infra import topology
from infra.local.pubsub.push_window import ServiceWindow
from shared.candles import Timeframe
from shared.coverage import ROWS_PER_PAGE
from shared.database.rate_slots import AHEAD_SECONDS, MARGIN
from shared.lanes import Call, Lane, call_of
from shared.settings import REQUESTS_PER_SECOND
from tests.bench.lanes import TICKS, p95
from tests.support import servers

DOCS = servers.ROOT / "docs"
BEGIN, END = "<!-- make scale -->", "<!-- /make scale -->"
# Series, app keys, and cores of the database.
CASES = (
    (150, 1, 1),
    (13_500, 1, 1),
    (100_000, 1, 1),
    (100_000, 4, 1),
    (100_000, 16, 1),
    (100_000, 16, 2),
)
INTERVAL = MARGIN / REQUESTS_PER_SECOND["real"]
# Pages of a first load, as measured on the targets.
PAGES = {"5m": 8, "30m": 3, "60m": 3, "1d": 3, "1w": 1}
TARGETS = 30
# So long a push waits at Cloud Run for a place.
PLACE_SECONDS = 10.0
# Assumed: seconds until the broker answers, most often and at the 95th percentile.
BROKER_SECONDS = (0.2, 0.6)
# So many deviations above the middle is the 95th percentile.
P95_DEVIATIONS = 1.645
SEED = 20261125
MINUTE, HOUR = 60, 3_600
SPLITS = ("nothing", "lanes", "lanes and calls")


@dataclass(frozen=True)
class Costs:
    """Seconds of a core of the database, and how many cores it has.

    ``slot`` is reserving a request slot and renewing the lease, ``row`` storing a
    candle; a tick's page has mostly ``unchanged`` ones.
    """

    slot: float
    row: float
    unchanged: float
    cores: int = 1

    @classmethod
    def measured(cls, found):
        """What ``make bench`` has measured."""
        upsert = found["upsert"]
        return cls(
            slot=2 / found["slots"]["slots_per_second"],
            row=1 / upsert["rows_per_second"]["unnest upsert (ours)"],
            unchanged=1 / upsert["unchanged_rows_per_second"],
        )


class Simulation:
    """What happens when; ``after`` lets something happen later."""

    def __init__(self):
        self.now = 0.0
        self._events = []
        self._order = count()

    def after(self, seconds, event, *arguments):
        at = self.now + seconds
        heapq.heappush(self._events, (at, next(self._order), event, arguments))

    def run(self):
        """Until nothing is left to happen."""
        while self._events:
            self.now, _, event, arguments = heapq.heappop(self._events)
            event(*arguments)


class Servers:
    """So many at a time, first come, first served: places, and the database's cores."""

    def __init__(self, simulation, at_once):
        self.simulation, self.free, self.waiting = simulation, at_once, deque()
        self.busy_seconds = 0.0

    def serve(self, seconds, then):
        """Take a server for so many seconds."""

        def done():
            self.release()
            then()

        def begin():
            self.busy_seconds += seconds
            self.simulation.after(seconds, done)

        self.take(begin)

    def take(self, begin):
        """Call ``begin`` with a server taken; return the entry of one who waits."""
        if self.free:
            self.free -= 1
            begin()
            return None
        entry = [begin]
        self.waiting.append(entry)
        return entry

    def release(self):
        """Give a server back: the next one that still waits has it."""
        while self.waiting:
            entry = self.waiting.popleft()
            if entry:
                begin = entry.pop()
                begin()
                return
        self.free += 1

    def gives_up(self, entry):
        """Whether it was still waiting; now it is no more."""
        return bool(entry) and bool(entry.pop())


class Clock:
    """The limit of one app key and call, as ``rate_slots`` keeps it."""

    def __init__(self, simulation):
        self.simulation = simulation
        self.next_free = self.live_until = 0.0
        self.granted = 0

    def reserve(self, lane, then):
        """Call ``then`` when the request may be sent."""
        now = self.simulation.now
        chance = now
        if lane is Lane.HISTORY:
            chance = max(self.live_until, self.next_free - AHEAD_SECONDS)
        if chance > now:
            # Nothing is reserved meanwhile; it looks again.
            self.simulation.after(chance - now + 1e-6, self.reserve, lane, then)
            return
        at = max(self.next_free, now)
        self.next_free = at + INTERVAL
        if lane is Lane.LIVE:
            self.live_until = at
        self.granted += 1
        self.simulation.after(at - now, then)


@dataclass
class Task:
    """One message: how many pages it reads, and of which kind."""

    lane: Lane
    timeframe: Timeframe
    pages: int
    published: float = 0.0
    done: float = 0.0
    refusals: int = 0


@dataclass
class Places:
    """How many messages a function takes at a time, and on how many it works."""

    taken: int = 0
    active: int = 0

    def __add__(self, other):
        return Places(self.taken + other.taken, self.active + other.active)


class Collector:
    """The subscription of one lane and call, and the function that it is pushed to.

    What is pushed takes a place; beyond them it waits for ten seconds, then it is
    refused and comes back after its back-off. In its place it waits to be active.
    """

    def __init__(self, world, clocks, places):
        self.world, self.clocks = world, clocks
        self.window = ServiceWindow(lambda: world.simulation.now)
        self.queue = deque()
        self.outstanding = 0
        self.places = Servers(world.simulation, places.taken)
        self.active = Servers(world.simulation, places.active)

    def publish(self, task):
        task.published = self.world.simulation.now
        self.queue.append(task)
        self._push()

    def _push(self):
        while self.queue and self.window.room(self.outstanding):
            self.outstanding += 1
            task = self.queue.popleft()
            entry = self.places.take(lambda task=task: self._begin(task))
            if entry:
                self.world.simulation.after(PLACE_SECONDS, self._refuse, task, entry)

    def _refuse(self, task, entry):
        """Cloud Run's own answer, if no place has become free."""
        if not self.places.gives_up(entry):
            return
        task.refusals += 1
        backoff = min(10.0 * 2 ** (task.refusals - 1), 300.0)
        self.world.simulation.after(backoff, self._return, task)
        self._answered(acknowledged=False)

    def _return(self, task):
        self.queue.append(task)
        self._push()

    def _answered(self, *, acknowledged):
        self.outstanding -= 1
        self.window.answered(acknowledged=acknowledged)
        self._push()
        # A pause ends without an event of its own.
        pause = self.window.paused_until - self.world.simulation.now
        if pause > 0:
            self.world.simulation.after(pause, self._push)

    def _begin(self, task):
        self.active.take(lambda: self._ask(task, 1))

    def _ask(self, task, page):
        self.world.database.serve(
            self.world.costs.slot,
            lambda: self.clocks[call_of(task.timeframe)].reserve(
                task.lane, lambda: self._send(task, page)
            ),
        )

    def _send(self, task, page):
        self.world.simulation.after(self.world.answer(), self._read, task, page)

    def _read(self, task, page):
        if page < task.pages:
            self._ask(task, page + 1)
            return
        self.world.database.serve(self.world.storing(task), lambda: self._finish(task))

    def _finish(self, task):
        task.done = self.world.simulation.now
        self.active.release()
        self.places.release()
        self._answered(acknowledged=True)


class World:
    """All app keys with their collectors, and one database.

    ``split`` says what has a queue and places of its own: "lanes and calls" as we
    have it, "lanes", or "nothing"; with fewer queues, each has the places of all.
    """

    def __init__(self, costs, keys=1, split="lanes and calls", seed=SEED):
        self.simulation, self.costs = Simulation(), costs
        self.database = Servers(self.simulation, costs.cores)
        self.random, self.split = Random(seed), split
        functions = topology.load().functions
        places = {}
        for lane, call in product(Lane, Call):
            function = functions[f"collector_{lane}_{call}"]
            active = int(function.environment.get("MOST_ACTIVE", function.concurrency))
            places[lane, call] = Places(function.concurrency, active)
        self.keys = []
        for _ in range(keys):
            clocks = {call: Clock(self.simulation) for call in Call}
            groups = {}
            for (lane, call), number in places.items():
                groups.setdefault(self._group(lane, call), []).append(number)
            collectors = {
                group: Collector(self, clocks, sum(numbers, Places()))
                for group, numbers in groups.items()
            }
            self.keys.append((clocks, collectors))

    def _group(self, lane, call):
        return {"lanes and calls": (lane, call), "lanes": lane, "nothing": ""}[
            self.split
        ]

    def answer(self):
        """Seconds until the broker answers."""
        usual, rarely = BROKER_SECONDS
        spread = math.log(rarely / usual) / P95_DEVIATIONS
        return self.random.lognormvariate(math.log(usual), spread)

    def storing(self, task):
        """Seconds of the database for what a task has read."""
        rows = ROWS_PER_PAGE[task.timeframe] * task.pages
        return rows * (
            self.costs.row if task.lane is Lane.HISTORY else self.costs.unchanged
        )

    def publish(self, tasks):
        """Each stock belongs to one app key; tasks are dealt out in turn."""
        for number, task in enumerate(tasks):
            _, collectors = self.keys[number % len(self.keys)]
            group = self._group(task.lane, call_of(task.timeframe))
            collectors[group].publish(task)

    def publish_at(self, seconds, tasks):
        self.simulation.after(seconds, self.publish, tasks)


def load(stocks, timeframes=tuple(Timeframe)):
    """The first load of so many stocks."""
    return [
        Task(Lane.HISTORY, frame, PAGES[frame])
        for frame in timeframes
        for _ in range(stocks)
    ]


def a_tick(stocks, timeframe):
    """A tick of so many stocks."""
    return [Task(Lane.LIVE, Timeframe(timeframe), 1) for _ in range(stocks)]


def seconds_of(tasks):
    """From publishing to the last task."""
    return max(task.done for task in tasks) - tasks[0].published


def first_load(costs, stocks, keys):
    """Loading everything, and ticks of the targets each ten minutes beside it."""
    world = World(costs, keys)
    tasks = load(stocks)
    busiest = sum(task.pages for task in tasks if task.timeframe.minutes)
    bound = busiest / keys * INTERVAL
    world.publish(tasks)
    ticks = [
        (at, a_tick(TARGETS, frame)) for at in _ten_minutes(bound) for frame in TICKS
    ]
    for at, tick in ticks:
        world.publish_at(at, tick)
    world.simulation.run()
    seconds = seconds_of(tasks)
    return {
        "seconds": seconds,
        "to_bound": seconds / bound,
        "database": world.database.busy_seconds / seconds / costs.cores,
        "tick_p95": p95([seconds_of(tick) for _, tick in ticks]),
    }


def _ten_minutes(bound):
    """When the ticks come, while the first load lasts; twenty times at most."""
    return range(60, int(min(bound, 12_000)), 600)


def whole_tick(costs, stocks, keys, timeframe):
    """A tick of all stocks in one timeframe: seconds until the last one is stored."""
    world = World(costs, keys)
    tick = a_tick(stocks, timeframe)
    world.publish(tick)
    world.simulation.run()
    return seconds_of(tick)


def beside_a_backfill(costs, split):
    """Ticks of the targets beside a backfill of 2,700 stocks of minutes, by design."""
    world = World(costs, split=split)
    world.publish(load(2_700, [Timeframe.MINUTE_5]))
    ticks = {"5m": [], "1d": [], "1w": []}
    for at in range(300, 3_300, 300):
        for frame, found in ticks.items():
            found.append(a_tick(TARGETS, frame))
            world.publish_at(at, found[-1])
    world.simulation.run()
    return {
        frame: median(seconds_of(tick) for tick in found)
        for frame, found in ticks.items()
    }


def beside_a_great_tick(costs, split):
    """Seconds of five-minute ticks of the targets beside a daily one of 2,700 stocks."""
    world = World(costs, split=split)
    world.publish(a_tick(2_700, "1d"))
    ticks = [a_tick(TARGETS, "5m") for _ in range(2)]
    for number, tick in enumerate(ticks):
        world.publish_at(60 + 300 * number, tick)
    world.simulation.run()
    return median(map(seconds_of, ticks))


def first_load_of_targets(costs, split):
    """Seconds to load the targets, against the requests of the busiest call."""
    world = World(costs, split=split)
    tasks = load(TARGETS)
    world.publish(tasks)
    world.simulation.run()
    busiest = sum(task.pages for task in tasks if task.timeframe.minutes)
    return seconds_of(tasks) / (busiest * INTERVAL)


def connections(keys):
    """What the pools may open, with collectors for so many keys."""
    pipeline = topology.load()
    collectors = sum(
        each.database_pool * each.max_instances
        for each in pipeline.functions.values()
        if each.source == "collector"
    )
    return pipeline.most_connections + 2 * collectors * (keys - 1)


def section(costs):
    """The part of ``docs/scale.md`` that is simulated."""
    columns = [case(replace(costs, cores=cores), *sizes) for *sizes, cores in CASES]
    lines = [_row(name, *(column[name] for column in columns)) for name in columns[0]]
    lines.insert(1, "|---" * (len(CASES) + 1) + "|")
    designs = [design(costs, split) for split in SPLITS]
    lines += ["", _row(*designs[0]), "|---" * len(designs[0]) + "|"]
    lines += [_row(*found.values()) for found in designs]
    return "\n".join(lines)


def case(costs, series, keys):
    """A column: so many series, on so many app keys."""
    stocks = series // len(Timeframe)
    load = first_load(costs, stocks, keys)
    return {
        "series": f"{series:,}",
        "app keys": keys,
        "cores of the database": costs.cores,
        "first load of all": _time(load["seconds"]),
        "to its bound": f"{load['to_bound']:.2f} ×",
        "the cores are busy": f"{load['database']:.0%}",
        f"ticks of {TARGETS} stocks meanwhile, p95": _time(load["tick_p95"]),
        "5m tick of all stocks": _time(whole_tick(costs, stocks, keys, "5m")),
        "1d tick of all stocks": _time(whole_tick(costs, stocks, keys, "1d")),
        "connections in pools, twice": connections(keys),
    }


def design(costs, split):
    """A row: what comes of fewer queues than we have."""
    ticks = beside_a_backfill(costs, split).values()
    return {
        "what has a queue and places of its own": split,
        "first load of the targets, to its bound": (
            f"{first_load_of_targets(costs, split):.2f} ×"
        ),
        "5m, 1d, 1w tick beside a backfill of 5m": ", ".join(map(_time, ticks)),
        "5m tick beside a 1d tick of 2,700": _time(beside_a_great_tick(costs, split)),
    }


def _row(*cells):
    return "| " + " | ".join(map(str, cells)) + " |"


def _time(seconds):
    if seconds < 2 * MINUTE:
        return f"{seconds:.1f} s"
    if seconds < 2 * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds / HOUR:.1f} h"


def main() -> int:
    """Simulate, and write the section."""
    found = json.loads((DOCS / "benchmarks.json").read_text(encoding="utf-8"))
    path = DOCS / "scale.md"
    text = path.read_text(encoding="utf-8")
    written = f"{BEGIN}\n{section(Costs.measured(found))}\n{END}"
    pattern = f"{re.escape(BEGIN)}.*{re.escape(END)}"
    path.write_text(re.sub(pattern, lambda _: written, text, flags=re.DOTALL), "utf-8")
    print(written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
