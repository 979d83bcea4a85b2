from __future__ import annotations

import pytest

from infra.local.broker.faults import Fault, Kind
from shared.errors import KiwoomUnavailable
from tests.support.harness import PipelineHarness


@pytest.fixture
def world(engine):
    return PipelineHarness(engine, "2026-11-20 21:00")


def failed_on_page(world, page, timeframe="5m", **fields):
    """A task whose first attempt failed on a page."""
    world.broker.faults = [Fault(kind=Kind.SERVER_ERROR, page=page)]
    world.trigger([timeframe], start="2026-09-01", **fields)
    (message,) = world.queue
    with pytest.raises(KiwoomUnavailable):
        world.deliver(message)
    world.broker.faults = []
    return message


def test_pages_that_came_before_a_failure_are_not_asked_for_again(world):
    message = failed_on_page(world, 4)
    asked = world.asked()
    assert world.query("SELECT count(*) FROM candles") == [(0,)]

    world.deliver(message)

    # Eight pages in all: the first three were kept.
    assert asked == 3 + 3
    assert world.asked() - asked == 5
    assert world.stored("5m") == world.truth("5m", "2026-09-01")
    assert world.query("SELECT count(*) FROM staged_pages") == [(0,)]


def test_pages_that_have_grown_old_are_asked_for_again(world):
    message = failed_on_page(world, 4)
    asked = world.asked()
    world.now = world.now.fromisoformat("2026-11-20 21:11+09:00")

    world.deliver(message)

    assert world.asked() - asked == 8
    assert world.stored("5m") == world.truth("5m", "2026-09-01")
