from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count, pairwise

import pytest
from sqlalchemy import event, text

from shared.database.rate_slots import (
    AHEAD_SECONDS,
    LAST_LOOK_SECONDS,
    LOOK_AGAIN_SECONDS,
    MARGIN,
    NoLimit,
    RateSlots,
    WaitPolicy,
)
from shared.errors import Busy
from tests.support import servers

INTERVAL = 0.25 * MARGIN
LIVE = WaitPolicy(max_wait=60)


class Slots(RateSlots):
    """Remembers how long each request waited, and each sleep that was part of it."""

    def __init__(self, engine, per_second, wait_policy, asleep, **more):
        self.waits, self.sleeps, self.asleep = [], [], asleep
        super().__init__(engine, per_second, wait_policy, self.sleep, **more)

    def sleep(self, seconds):
        self.sleeps.append(seconds)
        self.asleep(seconds)

    def wait(self, app_key_id, api_id):
        before = len(self.sleeps)
        try:
            super().wait(app_key_id, api_id)
        finally:
            if waited := sum(self.sleeps[before:]):
                self.waits.append(waited)


def slots(engine, *, per_second=4.0, wait_policy=LIVE, asleep=lambda _: None, **more):
    clock = Slots(engine, per_second, wait_policy, asleep, **more)
    return clock, clock.waits


def test_slots_follow_each_other_at_the_pace(engine):
    clock, waits = slots(engine)

    for _ in range(4):
        clock.wait("key", "ka10081")

    assert waits == pytest.approx([INTERVAL, 2 * INTERVAL, 3 * INTERVAL], abs=0.1)


def test_threads_share_one_clock(engine):
    clock, _ = slots(engine)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: clock.wait("key", "ka10081"), range(16)))

    longest = max(clock.sleeps) + LAST_LOOK_SECONDS
    assert longest == pytest.approx(15 * INTERVAL, abs=0.5)


def test_every_call_and_every_key_has_its_own_clock(engine):
    clock, waits = slots(engine)

    for key, api_id in (("a", "ka10080"), ("a", "ka10081"), ("b", "ka10080")):
        clock.wait(key, api_id)

    assert waits == []


def test_a_queue_that_is_too_long_is_busy(engine):
    clock, waits = slots(engine, wait_policy=WaitPolicy(max_wait=0.6))

    for _ in range(3):
        clock.wait("key", "ka10081")

    with pytest.raises(Busy, match="ka10081 requests wait"):
        clock.wait("key", "ka10081")
    assert len(waits) == 2


def test_a_backfill_gives_way_as_soon_as_live_work_waits(engine):
    live, _ = slots(engine)
    backfill, waits = slots(engine, wait_policy=WaitPolicy(max_wait=3, gives_way=True))
    backfill.wait("key", "ka10080")
    backfill.wait("key", "ka10080")

    live.wait("key", "ka10080")
    with pytest.raises(Busy, match="or live ones"):
        backfill.wait("key", "ka10080")

    # It has looked again, until it had waited long enough.
    assert 2 < sum(waits[1:]) < 3
    pause = 2 * INTERVAL + LOOK_AGAIN_SECONDS
    assert backfill.sleeps[1] == pytest.approx(pause, abs=0.1)
    backfill.wait("key", "ka10081")


def test_a_backfill_goes_on_as_soon_as_the_live_requests_are_sent(engine):
    """It waits in its place, and the slot after the last live one is its own."""
    live, _ = slots(engine)
    for _ in range(4):
        live.wait("key", "ka10080")
    backfill, waits = slots(
        engine, wait_policy=WaitPolicy(max_wait=60, gives_way=True), asleep=time.sleep
    )

    backfill.wait("key", "ka10080")

    assert sum(waits) == pytest.approx(4 * INTERVAL, abs=0.1)


def test_a_backfill_is_never_far_ahead_of_a_live_request(engine):
    backfill, _ = slots(engine, wait_policy=WaitPolicy(max_wait=9, gives_way=True))
    with pytest.raises(Busy):
        for _ in range(100):
            backfill.wait("key", "ka10080")
    live, waits = slots(engine)

    live.wait("key", "ka10080")

    assert waits == [pytest.approx(AHEAD_SECONDS + INTERVAL / 2, abs=INTERVAL)]


def test_a_429_makes_everybody_pause_and_go_on_at_half_the_pace(engine):
    clock, waits = slots(engine)
    clock.wait("key", "ka10081")

    clock.slow_down("key", "ka10081")
    clock.wait("key", "ka10081")
    clock.wait("key", "ka10081")

    assert waits[0] == pytest.approx(1.0, abs=0.1)
    assert waits[1] == pytest.approx(1.0 + 2 * INTERVAL, abs=0.1)


def test_429s_of_the_same_second_count_once(engine):
    clock, waits = slots(engine)
    clock.wait("key", "ka10081")

    for _ in range(5):
        clock.slow_down("key", "ka10081")
    clock.wait("key", "ka10081")
    clock.wait("key", "ka10081")

    assert waits[1] - waits[0] == pytest.approx(2 * INTERVAL, abs=0.1)


def test_the_pace_recovers_slowly(engine):
    clock, _ = slots(engine, per_second=1000, wait_policy=WaitPolicy(max_wait=600))
    clock.wait("key", "ka10081")
    clock.slow_down("key", "ka10081")

    def slowdown():
        with engine.connect() as connection:
            return connection.execute(text("SELECT slowdown FROM rate_slots")).scalar()

    paces = [slowdown()]
    for _ in range(4):
        for _ in range(50):
            clock.wait("key", "ka10081")
        paces.append(slowdown())

    assert paces == pytest.approx([2.0, 1.75, 1.5, 1.25, 1.0], abs=0.01)


def test_it_is_counted_how_long_a_refusal_holds_requests_back(engine):
    clock, _ = slots(engine, per_second=1000, wait_policy=WaitPolicy(max_wait=600))
    for _ in range(3):
        clock.wait("key", "ka10081")
    clock.slow_down("key", "ka10081")
    for _ in range(250):
        clock.wait("key", "ka10081")

    with engine.connect() as connection:
        seconds = connection.execute(text("SELECT slowed_seconds FROM rate_slots"))
        held_back = seconds.scalar()
    # A second of pause; then the interval is twice as long, and 0.005 less each time.
    longer = sum(0.001 * 1.02 * (1 - 0.005 * n) for n in range(1, 201))
    assert held_back == pytest.approx(1 + longer, abs=0.001)


def test_a_slot_that_was_reserved_before_a_429_is_void(engine):
    """Those who sleep already would go on at the old pace."""
    refused = []

    def another_is_refused(_):
        if not refused:
            refused.append(True)
            other.slow_down("key", "ka10081")

    other, _ = slots(engine)
    clock, _ = slots(engine, asleep=another_is_refused)
    for _ in range(4):
        other.wait("key", "ka10081")

    clock.wait("key", "ka10081")

    first, *again = clock.sleeps
    assert first == pytest.approx(4 * INTERVAL - LAST_LOOK_SECONDS, abs=0.1)
    assert sum(again) == pytest.approx(1.0, abs=0.1)


def test_shortly_before_its_slot_a_request_asks_the_database_nothing(engine):
    """It might wait for a connection, and be sent together with those after it."""
    asked, at_sleep = [], []
    clock, _ = slots(engine, asleep=lambda _: at_sleep.append(len(asked)))
    event.listen(engine, "before_cursor_execute", lambda *_: asked.append(True))

    for _ in range(6):
        clock.wait("key", "ka10081")
        assert len(asked) == (at_sleep or [len(asked)])[-1]

    assert clock.sleeps[-1] == pytest.approx(LAST_LOOK_SECONDS, abs=0.1)


def test_a_request_that_has_missed_its_slot_reserves_another(engine):
    passing: list[float] = []
    clock, waits = slots(engine, monotonic=lambda: passing.pop(0) if passing else 0.0)
    for _ in range(3):
        clock.wait("key", "ka10081")

    passing += [0.0, 2.0]
    clock.wait("key", "ka10081")

    # Two more slots in the queue: its own, which no one uses, and the one after.
    assert waits[-1] == pytest.approx(
        3 * INTERVAL - LAST_LOOK_SECONDS + 4 * INTERVAL, abs=0.3
    )


def test_a_database_that_is_too_slow_for_every_look_costs_one_slot_more_each(engine):
    """Whoever looks finds that two seconds have passed, and its slot as well."""
    late, reserved = count(step=2), []
    clock, _ = slots(engine, monotonic=lambda: float(next(late)))
    event.listen(
        engine,
        "before_cursor_execute",
        lambda _c, _k, statement, *_: reserved.append("INSERT" in statement),
    )

    for _ in range(8):
        clock.wait("key", "ka10081")

    assert 8 < sum(reserved) <= 16


PROCESS = """
import sys
from shared.database.engine import new_engine
from shared.database.rate_slots import WaitPolicy, RateSlots
from shared.settings import DatabaseSettings

clock = RateSlots(new_engine(DatabaseSettings(url=sys.argv[1])), 4.0,
                  WaitPolicy(max_wait=600), lambda seconds: None)
for _ in range(25):
    clock.wait("key", "ka10081")
"""
# The instants as PostgreSQL gave them out: nobody's timer has a part in it.
NOTE_DOWN = """
    CREATE TABLE given (until timestamptz);
    CREATE FUNCTION note_down() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO given VALUES (NEW.next_free_at); RETURN NEW; END';
    CREATE TRIGGER note_down AFTER INSERT OR UPDATE ON rate_slots
    FOR EACH ROW EXECUTE FUNCTION note_down();
"""


def test_eight_processes_never_share_an_instant_and_leave_none_unused(
    engine, database_url
):
    with engine.begin() as connection:
        for statement in NOTE_DOWN.split(";\n"):
            connection.exec_driver_sql(statement)

    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, database_url], cwd=servers.ROOT
        )
        for _ in range(8)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0] * 8

    with engine.connect() as connection:
        given = connection.execute(
            text("SELECT extract(epoch FROM until)::float8 FROM given ORDER BY until")
        )
        instants = list(given.scalars())
    # Nobody slept, so from the first one on there was always somebody who waited.
    gaps = [later - earlier for earlier, later in pairwise(instants)]
    windows = [sum(a <= b < a + 1.0 for b in instants) for a in instants]
    assert len(instants) == 200
    assert min(gaps) == pytest.approx(INTERVAL, abs=0.001)
    assert max(windows) <= 4
    assert len(gaps) / (instants[-1] - instants[0]) / 4.0 >= 0.97


def test_no_limit_never_waits():
    NoLimit().wait("key", "ka10081")
    NoLimit().slow_down("key", "ka10081")
