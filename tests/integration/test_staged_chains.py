"""Pages of unfinished attempts: kept for ten minutes, and never with a hole."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from infra.local.broker.faults import Fault, Kind
from shared.errors import KiwoomUnavailable
from tests.support.harness import PipelineHarness

# Eight pages of 900 candles.
START = "2026-09-01"


@pytest.fixture
def world(engine):
    return PipelineHarness(engine, "2026-11-20 21:00")


def at(world, time):
    world.now = world.now.fromisoformat(f"2026-11-20 {time}+09:00")


def requested(world, start=START, **fields):
    """The message of a task that is yet to be done."""
    world.trigger(["5m"], start=start, **fields)
    return world.queue.pop()


def fail(world, message, page):
    """An attempt that fails on a page, after three requests for it."""
    world.broker.faults = [Fault(kind=Kind.SERVER_ERROR, page=page)]
    with pytest.raises(KiwoomUnavailable):
        world.deliver(message)
    world.recovers()


def succeed(world, message):
    """How many requests it took."""
    asked = world.asked()
    world.deliver(message)
    return world.asked() - asked


def test_pages_that_came_before_a_failure_are_not_requested_again(world):
    message = requested(world)

    fail(world, message, 4)

    assert world.query("SELECT count(*) FROM candles") == [(0,)]
    assert world.query("SELECT count(*) FROM staged_pages") == [(3,)]
    assert succeed(world, message) == 5
    assert world.stored("5m") == world.truth("5m", START)
    assert world.query("SELECT count(*) FROM staged_chains") == [(0,)]
    assert world.query("SELECT count(*) FROM staged_pages") == [(0,)]


def test_pages_that_have_grown_old_are_requested_again(world):
    message = requested(world)
    fail(world, message, 4)
    at(world, "21:11")

    assert succeed(world, message) == 8
    assert world.stored("5m") == world.truth("5m", START)


def test_pages_of_two_attempts_leave_no_hole(world):
    """The first pages of the second attempt take the place of those of the first."""
    message = requested(world)
    fail(world, message, 4)
    at(world, "21:11")
    fail(world, message, 6)
    at(world, "21:12")

    assert succeed(world, message) == 3
    assert world.stored("5m") == world.truth("5m", START)


def test_a_backfill_has_no_hole_in_its_middle(world):
    world.tick("5m", start="2026-11-02")
    message = requested(world, "2026-07-01", mode="backfill")
    fail(world, message, 3)
    at(world, "21:11")
    fail(world, message, 5)
    at(world, "21:12")

    world.deliver(message)

    assert world.stored("5m") == world.truth("5m", "2026-07-01")


def test_pages_come_back_as_they_were_read(world):
    """Spoilt rows among them, so that they get to the quarantine."""
    message = requested(world)
    corrupt = Fault(kind=Kind.CORRUPT, page=2)
    world.broker.faults = [corrupt, Fault(kind=Kind.SERVER_ERROR, page=3)]
    with pytest.raises(KiwoomUnavailable):
        world.deliver(message)
    world.recovers()

    assert world.deliver(message).state == "incomplete"
    ((reason, missing),) = world.query(
        "SELECT reason, opened_at = first_missing[1] FROM quarantine, tasks"
    )
    assert reason.startswith("open")
    assert missing
    truth = world.truth("5m", START)
    assert world.query("SELECT count(*) FROM candles") == [(len(truth) - 1,)]


def test_an_attempt_that_was_killed_leaves_its_pages(world):
    message = requested(world)
    world.step = die_at(world, 5)
    with pytest.raises(SystemExit):
        world.deliver(message)
    world.step = lambda _: None
    with world.engine.begin() as connection:
        connection.execute(text("UPDATE series SET leased_until = clock_timestamp()"))

    assert succeed(world, message) == 8 - 3
    assert world.stored("5m") == world.truth("5m", START)


def die_at(world, number):
    """The instance dies when so many answers of the broker have come."""
    answers = iter(range(1, number + 1))

    def step(_):
        if next(answers) == number:
            raise SystemExit

    return step
