"""Plays a history in chaos; at its end faults stop, and all must come right."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from random import Random

from sqlalchemy import event

from infra.local.broker.faults import Fault, How, Kind
from shared.errors import Busy, MalformedMessage, PermanentError, TransientError
from shared.sessions import DAY, KST
from tests.chaos.histories import history
from tests.support.builders import kst
from tests.support.harness import CALENDAR, PipelineHarness

TRANSPORT = (
    *(Kind.SERVER_ERROR, Kind.RESET, Kind.TRUNCATED, Kind.HTML, Kind.RATE_LIMIT),
)
ANSWERS = (
    *(Kind.BLANK, Kind.EMPTY, Kind.CORRUPT, Kind.CUT, Kind.STALE, Kind.LAST),
    *(Kind.UNMARKED, Kind.STALL, Kind.RESTART, Kind.DOUBLED, Kind.REVERSED),
)
# What changes a candle that no tick reads again, and leaves no hole.
ONLY_A_VERIFY_SEES = {
    *("corrects", "withdraws", "invents", "redates"),
    *(Kind.CUT, Kind.STALE),
}
MORNING, EVENING = time(7, 30), time(20, 45)
ATTEMPTS = 40
# Later attempts have better luck.
UNLUCKY = 6


class Killed(BaseException):
    """The instance is gone, between two of its steps."""


@dataclass
class Report:
    """What one history did, and what was wrong at its end."""

    seed: int
    kinds: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    compared: int = 0
    wrong: list[str] = field(default_factory=list)


class ChaosRun:
    """One pipeline that lives through a history."""

    def __init__(self, engine, made, random):
        self.random = random
        self.made = made
        self.harness = PipelineHarness(engine, made.moments[0].now, **made.market)
        self.harness.step = self.step
        for name, arguments, more in made.disclosures:
            getattr(self.harness, name)(*arguments, **more)
        self.kinds = Counter(made.kinds)
        self.faults_shown = set()
        self.until_killed = None
        self.luck = False

    def play(self):
        for number, moment in enumerate(self.made.moments):
            self.harness.now = max(self.harness.now, kst(moment.now))
            self.lose(moment.deleted)
            self.tamper(moment.tampered)
            for n, fields in enumerate(moment.triggers):
                self.trigger(f"{number}-{n}", **fields)
            self.drain()
        self.luck = True
        self.come_right()

    def come_right(self):
        """Two more sessions with ordinary ticks, a repair, and a verify if it is due."""
        sessions = 0
        while sessions < 2:
            self.tick_at(datetime.combine(self.next_day(), MORNING, KST))
            if CALENDAR.session_on(self.today):
                sessions += 1
                self.tick_at(datetime.combine(self.today, EVENING, KST))
        self.tick_at(datetime.combine(self.next_day(), MORNING, KST))
        self.trigger("repair", timeframes=self.made.frames, mode="repair")
        self.drain()
        if self.is_knowable:
            return
        self.kinds["verified at the end"] += 1
        covered = (
            "SELECT timeframe, covered_from FROM series WHERE covered_from IS NOT NULL"
        )
        for frame, start in self.harness.query(covered):
            verify = {"timeframes": [frame], "mode": "verify", "start": str(start)}
            self.trigger(f"verify {frame}", **verify)
        self.drain()

    @property
    def is_knowable(self):
        """Whether ticks and a repair see all that happened, without a verify."""
        return not (
            ONLY_A_VERIFY_SEES & {*self.made.kinds, *self.faults_shown}
            or any(moment.tampered for moment in self.made.moments)
        )

    @property
    def today(self):
        return self.harness.now.astimezone(KST).date()

    def next_day(self):
        return self.today + DAY

    def tick_at(self, now):
        self.harness.now = now
        self.trigger(f"tick {now}", timeframes=self.made.frames)
        self.drain()

    def trigger(self, message_id, **fields):
        self.surely(lambda: self.harness.trigger(**fields, message_id=message_id))

    def drain(self):
        """Deliver until nothing is left, and what was left behind as well."""
        while True:
            while self.harness.queue:
                message = self.take()
                if self.chance(0.25):
                    self.kinds["duplicate"] += 1
                    self.harness.queue.append(message)
                if self.chance(0.15):
                    self.together(message)
                self.surely(lambda m=message: self.harness.deliver(m))
            self.harness.publish_what_was_left()
            if not self.harness.queue:
                return

    def take(self):
        if self.chance(0.5):
            self.harness.queue.rotate(self.random.randrange(len(self.harness.queue)))
        return self.harness.queue.popleft()

    def together(self, message):
        """Deliver a message to several workers at the same moment."""
        self.kinds["delivered to three workers at once"] += 1

        def deliver():
            try:
                self.harness.deliver(message)
            except (TransientError, PermanentError):
                return "later"
            return "done"

        with ThreadPoolExecutor(3) as pool:
            for result in [pool.submit(deliver) for _ in range(3)]:
                result.result()

    def surely(self, action):
        """Do it as Pub/Sub does: again, until it is acknowledged."""
        for attempt in range(ATTEMPTS):
            self.arm(attempt)
            try:
                action()
            except Killed:
                self.kinds["kill"] += 1
                self.harness.release_leases()
            except Busy:
                self.kinds["busy"] += 1
            except MalformedMessage:
                raise
            except TransientError as error:
                self.kinds["redelivery"] += 1
                last = error
            except PermanentError as error:
                self.kinds["replay"] += 1
                last = error
            else:
                return
            finally:
                self.until_killed = None
                self.disarm()
            self.wait()
        message = f"it was never done: {last}"
        raise AssertionError(message)

    def wait(self):
        """Time goes by until the next delivery: seconds, or a weekend."""
        if self.luck:
            self.harness.now += timedelta(seconds=10)
            return
        way = self.random.random()
        now = self.harness.now
        if way < 0.62:
            now += timedelta(seconds=self.random.randint(5, 50))
        elif way < 0.8:
            now += timedelta(minutes=self.random.randint(2, 9))
        elif way < 0.92:
            self.kinds["more than ten minutes between attempts"] += 1
            now += timedelta(minutes=self.random.randint(11, 40))
        elif way < 0.96:
            self.kinds["midnight between attempts"] += 1
            now = datetime.combine(self.next_day(), time(0, 20), KST)
        elif way < 0.99:
            self.kinds["a weekend between attempts"] += 1
            monday = self.today + DAY * (7 - self.today.weekday())
            now = datetime.combine(monday, time(8), KST)
        else:
            self.kinds["three weeks between attempts"] += 1
            now += DAY * 20
        self.harness.now = now

    def arm(self, attempt):
        """Decide what goes wrong this time."""
        if self.luck or attempt > UNLUCKY:
            return
        if self.chance(0.3):
            self.until_killed = self.random.randint(1, 40)
        if self.chance(0.45):
            self.harness.broker.faults = [
                self.fault() for _ in range(self.random.choice((1, 1, 2)))
            ]

    def fault(self):
        """One fault of an answer."""
        random = self.random
        kind = random.choice(TRANSPORT if random.random() < 0.4 else ANSWERS)
        fault = Fault(kind=kind, times=random.randint(1, 4))
        fault.page = random.choice([None, 1, 2, 3])
        fault.row = random.randint(0, 60)
        fault.how = random.choice(list(How))
        if kind in {Kind.CUT, Kind.DOUBLED}:
            fault.rows = random.randint(1, 5)
        if kind is Kind.LAST:
            fault.rows = random.choice([None, random.randint(1, 500)])
        if kind is Kind.STALE:
            earlier = timedelta(minutes=random.choice([10, 90, 600, 1_800]))
            fault.as_of = self.harness.now - earlier
        return fault

    def disarm(self):
        for fault in self.harness.broker.faults:
            if fault.shown:
                self.faults_shown.add(fault.kind)
                self.kinds[f"fault: {fault.kind}"] += fault.shown
        self.harness.recovers()

    def step(self, _):
        """One step of the instance; perhaps its last."""
        if self.until_killed is not None:
            self.until_killed -= 1
            if self.until_killed <= 0:
                self.until_killed = None
                raise Killed

    def chance(self, probability):
        return not self.luck and self.random.random() < probability

    def lose(self, count):
        """Lose settled candles, as no database should."""
        self.kinds["candle deleted in the database"] += count
        self.harness.query(
            "DELETE FROM candles WHERE (timeframe, opened_at) IN"
            " (SELECT timeframe, opened_at FROM candles"
            " WHERE opened_at < '2026-11-10'"
            " ORDER BY md5(timeframe || opened_at::text) LIMIT :count)",
            count=count,
        )

    def tamper(self, count):
        """Change settled candles, as no one should."""
        self.kinds["candle changed in the database"] += count
        self.harness.query(
            "UPDATE candles SET close = low, volume = volume + 1"
            " WHERE (timeframe, opened_at) IN"
            " (SELECT timeframe, opened_at FROM candles"
            " WHERE opened_at BETWEEN '2026-10-25' AND '2026-11-12'"
            " ORDER BY md5(timeframe || opened_at::text) LIMIT :count)",
            count=count,
        )

    def wrong(self):
        """What is not as it should be when all is over."""
        judgement = self.harness.judge()
        return judgement.compared, [*judgement.wrong, *self.unexplained()]

    def unexplained(self):
        """Tasks that never ended, or that miss a candle which the broker has."""
        tasks = self.harness.query(
            "SELECT timeframe, state, run_id, first_missing FROM tasks"
            " WHERE state NOT IN ('done', 'no_data')"
        )
        for timeframe, state, run_id, missing in tasks:
            if state != "incomplete":
                yield f"run {run_id} {timeframe} is {state}"
                continue
            slots = {slot.astimezone(KST) for slot in missing}
            first = f"{min(slots):%Y-%m-%d}"
            served = self.harness.truth(timeframe, first).keys() & slots
            if served - self.harness.stored(timeframe).keys():
                yield f"run {run_id} {timeframe} misses what the broker has"


def play(engine, seed) -> Report:
    """Play the history of a seed in the chaos of the next one, and judge it."""
    clear(engine)
    run = ChaosRun(engine, history(Random(seed)), Random(seed + 1))
    report = Report(seed, run.kinds)

    def before(*_):
        run.step("statement")

    event.listen(engine, "before_cursor_execute", before)
    try:
        run.play()
    except AssertionError as error:
        report.wrong = [str(error)]
    finally:
        event.remove(engine, "before_cursor_execute", before)
    report.requests = run.harness.asked()
    report.compared, wrong = run.wrong()
    report.wrong += wrong
    return report


def clear(engine):
    """Empty every table but those of which a migrated database has rows."""
    with engine.begin() as connection:
        tables = connection.exec_driver_sql(
            "SELECT string_agg(quote_ident(relname), ', ') FROM pg_class"
            " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
            " AND NOT relispartition"
            " AND relname NOT IN ('alembic_version', 'calendar_state')"
        ).scalar()
        connection.exec_driver_sql(f"TRUNCATE {tables}")
