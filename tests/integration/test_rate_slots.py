from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.database.rate_slots import NoLimit, RateSlots
from shared.errors import Busy


def slots(engine, *, per_second=4.0, max_wait=60.0):
    waits = []
    return RateSlots(engine, per_second, max_wait, waits.append), waits


def test_slots_follow_each_other_at_the_pace(engine):
    clock, waits = slots(engine)

    for _ in range(4):
        clock.wait("key", "ka10081")

    assert waits[0] == 0
    assert waits[1:] == pytest.approx([0.25, 0.5, 0.75], abs=0.1)


def test_threads_share_one_clock(engine):
    clock, waits = slots(engine)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: clock.wait("key", "ka10081"), range(16)))

    assert max(waits) == pytest.approx(15 * 0.25, abs=0.5)


def test_every_call_and_every_key_has_its_own_clock(engine):
    clock, waits = slots(engine)

    for key, api_id in (("a", "ka10080"), ("a", "ka10081"), ("b", "ka10080")):
        clock.wait(key, api_id)

    assert waits == [0, 0, 0]


def test_a_queue_that_is_too_long_is_busy(engine):
    clock, waits = slots(engine, max_wait=0.6)

    for _ in range(3):
        clock.wait("key", "ka10081")

    with pytest.raises(Busy, match="ka10081 requests wait"):
        clock.wait("key", "ka10081")
    assert len(waits) == 3


def test_a_429_makes_everybody_pause(engine):
    clock, waits = slots(engine)
    clock.wait("key", "ka10081")

    clock.slow_down("key", "ka10081")
    clock.wait("key", "ka10081")

    assert waits[1] == pytest.approx(1.25, abs=0.1)


def test_no_limit_never_waits():
    NoLimit().wait("key", "ka10081")
    NoLimit().slow_down("key", "ka10081")
