"""Random histories: whatever happens on the way, the end is that of one clean run.

``python -m tests.chaos 1000`` (``make chaos``) plays so many; each is a seed, and can be
played again alone: ``python -m tests.chaos 1 4711``.
"""

from __future__ import annotations

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random

from sqlalchemy import event

from infra.local.broker.faults import Fault, Kind
from shared.candles import Timeframe
from shared.database.engine import new_engine
from shared.errors import Busy, PermanentError, TransientError
from shared.sessions import DAY
from shared.settings import DatabaseSettings
from tests.support import servers
from tests.support.builders import day
from tests.support.harness import CALENDAR, PipelineHarness

STARTS = {"5m": "2026-11-02", "30m": "2026-09-28", "60m": "2026-06-01"}
STARTS |= {"1d": "2024-03-04", "1w": "2019-01-07"}
DEEPER = {"5m": "2026-10-19", "30m": "2026-08-10", "60m": "2026-04-06"}
DEEPER |= {"1d": "2022-03-07", "1w": "2012-06-04"}
FAULTS = (Kind.SERVER_ERROR, Kind.RESET, Kind.TRUNCATED, Kind.HTML, Kind.RATE_LIMIT)
HOURS = ("09:07", "11:42", "15:33", "18:20", "20:45", "22:10")
TABLES = (
    "candles, series, runs, tasks, revisions, quarantine, corporate_actions,"
    " absent_slots, staged_pages"
)


class Killed(BaseException):
    """The instance is gone, between two of its steps."""


@dataclass
class Step:
    """What happens at one moment."""

    now: str
    triggers: list[dict[str, object]] = field(default_factory=list)
    split: float | None = None
    deleted: int = 0


@dataclass
class Report:
    """What one history did."""

    seed: int
    kinds: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    clean_requests: int = 0
    wrong: str = ""


def history(random: Random) -> list[Step]:
    """Steps in the order of time; the first one loads, the last one is a tick."""
    frames = random.sample(list(STARTS), random.randint(1, 3))
    sessions = list(CALENDAR.session_dates(day("2026-11-16"), day("2026-12-30")))
    days = sorted(random.sample(sessions, random.randint(2, 5)))
    steps = []
    for number, date in enumerate(days):
        step = Step(now=f"{date} {random.choice(HOURS)}")
        if number == 0:
            step.triggers = [{"timeframes": [f], "start": STARTS[f]} for f in frames]
        else:
            if random.random() < 0.15:
                step.split = random.choice([5.0, 2.0, 1.3, 0.1])
            if random.random() < 0.3:
                step.deleted = random.randint(1, 60)
                step.triggers.append({"timeframes": frames, "mode": "repair"})
            elif random.random() < 0.4:
                frame = random.choice(frames)
                step.triggers.append(
                    {"timeframes": [frame], "mode": "backfill", "start": DEEPER[frame]}
                )
            step.triggers.append({"timeframes": frames})
        steps.append(step)
    last = f"{days[-1] + DAY * random.randint(0, 2)} 23:00"
    steps.append(Step(now=last, triggers=[{"timeframes": frames, "force": True}]))
    return steps


class Player:
    """Plays a history, with or without chaos."""

    def __init__(self, engine, random=None):
        self.random = random
        self.world = PipelineHarness(engine, "2026-11-16 09:00")
        self.world.step = self.step
        self.kinds = Counter()
        self.until_killed = None

    def play(self, steps):
        for number, step in enumerate(steps):
            self.world.now = self.world.now.fromisoformat(f"{step.now}:00+09:00")
            if step.split:
                self.world.acts("005930", step.now[:10], step.split)
            if step.deleted:
                self.delete(step.deleted)
            for n, fields in enumerate(step.triggers):
                self.surely(
                    lambda f=fields, i=f"{number}-{n}": self.world.trigger(
                        **f, message_id=i
                    )
                )
            self.drain()
        return self.snapshot()

    def drain(self):
        """Deliver until nothing is left, and what was left behind as well."""
        while True:
            while self.world.queue:
                message = self.take()
                if self.chance(0.25):
                    self.kinds["duplicate"] += 1
                    self.world.queue.append(message)
                if self.chance(0.15):
                    self.together(message)
                self.surely(lambda m=message: self.world.deliver(m))
            self.world.query(
                "UPDATE runs SET written_at = written_at - interval '2 minutes'"
            )
            for run_id, messages in self.world.ledger.stranded().items():
                self.world.publish(messages, run_id)
                self.world.ledger.mark_published(run_id)
            if not self.world.queue:
                return

    def together(self, message):
        """Deliver a message to several workers at the same moment."""
        self.kinds["delivered to three workers at once"] += 1

        def deliver():
            try:
                self.world.deliver(message)
            except TransientError:
                return "later"
            return "done"

        with ThreadPoolExecutor(3) as pool:
            results = [pool.submit(deliver) for _ in range(3)]
        assert "done" in {result.result() for result in results}

    def take(self):
        if self.random and self.chance(0.5):
            self.world.queue.rotate(self.random.randrange(len(self.world.queue)))
        return self.world.queue.popleft()

    def surely(self, action):
        """Do it as Pub/Sub does: again, until it is acknowledged."""
        for attempt in range(40):
            self.arm(attempt)
            try:
                action()
            except Killed:
                self.kinds["kill"] += 1
                self.world.query(
                    "UPDATE series SET leased_until = NULL, leased_by = NULL"
                )
            except Busy:
                self.kinds["busy"] += 1
            except TransientError:
                self.kinds["redelivery"] += 1
            except PermanentError:
                self.kinds["replay"] += 1
            else:
                return
            finally:
                self.until_killed = None
                self.kinds["fault"] += self.faults_shown()
                self.world.broker.faults = []
        message = "it was never done"
        raise AssertionError(message)

    def arm(self, attempt):
        """Decide what goes wrong this time; later attempts have better luck."""
        if not self.random or attempt > 6:
            return
        if self.chance(0.3):
            self.until_killed = self.random.randint(1, 40)
        if self.chance(0.25):
            self.armed = self.random.randint(1, 4)
            fault = Fault(kind=self.random.choice(FAULTS), times=self.armed)
            fault.page = self.random.choice([None, 1, 2, 3])
            self.world.broker.faults = [fault]

    def faults_shown(self):
        return sum(
            self.armed - (fault.times or 0) for fault in self.world.broker.faults
        )

    def step(self, _):
        """One step of the instance; perhaps its last."""
        if self.until_killed is not None:
            self.until_killed -= 1
            if self.until_killed <= 0:
                self.until_killed = None
                raise Killed

    def chance(self, probability):
        return bool(self.random) and self.random.random() < probability

    def delete(self, count):
        """Lose settled candles, as no database should."""
        self.world.query(
            "DELETE FROM candles WHERE (timeframe, opened_at) IN (SELECT timeframe, opened_at"
            " FROM candles WHERE opened_at < '2026-11-10'"
            " ORDER BY md5(timeframe || opened_at::text) LIMIT :count)",
            count=count,
        )

    def snapshot(self):
        return (
            self.world.query("SELECT * FROM candles ORDER BY timeframe, opened_at"),
            self.world.query(
                # Whether the broker's end was seen depends on how its pages fell.
                "SELECT timeframe, covered_from, settled_through, oldest, ended"
                " FROM series ORDER BY timeframe"
            ),
            self.world.query("SELECT raw FROM quarantine ORDER BY raw"),
            self.world.query("SELECT count(*) FROM staged_pages"),
            # An action found in another order asks for other rebuilds: only that all
            # of them were completed is the same.
            self.world.query("SELECT DISTINCT state FROM run_states"),
        )


def play(engine, seed) -> Report:
    """Play one history clean, then in chaos, and compare."""
    steps = history(Random(seed))
    report = Report(seed)
    _clear(engine)
    clean = Player(engine)
    expected = clean.play(steps)
    _clear(engine)
    chaos = Player(engine, Random(seed + 1))

    def before(*_):
        chaos.step("statement")

    event.listen(engine, "before_cursor_execute", before)
    try:
        found = chaos.play(steps)
    finally:
        event.remove(engine, "before_cursor_execute", before)
    report.kinds = chaos.kinds
    report.requests, report.clean_requests = chaos.world.asked(), clean.world.asked()
    names = ("candles", "series", "quarantine", "staged pages", "runs")
    wrong = [n for n, a, b in zip(names, expected, found, strict=True) if a != b]
    failures = chaos.kinds["kill"] + chaos.kinds["fault"]
    split = any(step.split for step in steps)
    if not split and report.requests > report.clean_requests + failures:
        wrong.append(f"{report.requests} requests")
    report.wrong = ", ".join(wrong)
    return report


def _clear(engine):
    with engine.begin() as connection:
        connection.exec_driver_sql(f"TRUNCATE {TABLES}")


def main(arguments) -> int:
    """Play, and say what happened."""
    count = int(arguments[0]) if arguments else 1000
    first = int(arguments[1]) if len(arguments) > 1 else 0
    total: Counter[str] = Counter()
    failed = []
    with servers.postgres() as postgres:
        url = postgres.create("chaos")
        servers.migrate(url)
        engine = new_engine(DatabaseSettings(url=url, pool_size=4))
        for seed in range(first, first + count):
            report = play(engine, seed)
            total += report.kinds
            total["request"] += report.requests
            total["request of the clean runs"] += report.clean_requests
            if not (seed - first + 1) % 50:
                print(f"{seed - first + 1} histories played", flush=True)
            if report.wrong:
                failed.append(report)
                print(f"seed {seed}: {report.wrong} ({dict(report.kinds)})", flush=True)
        engine.dispose()
    print(f"{count} histories, {len(failed)} ended wrong")
    for kind, times in sorted(total.items()):
        print(f"  {kind}: {times:,}")
    return 1 if failed else 0


if __name__ == "__main__":
    assert len(Timeframe) == len(STARTS)
    sys.exit(main(sys.argv[1:]))
