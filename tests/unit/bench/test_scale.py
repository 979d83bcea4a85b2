"""The simulation behind docs/scale.md: what it says where the answer is known."""

from __future__ import annotations

import json

import pytest

from shared.candles import Timeframe
from shared.lanes import Lane
from tests.bench import scale

COSTS = scale.Costs.measured(json.loads((scale.DOCS / "benchmarks.json").read_text()))


def seconds(*runs, keys=1, split="lanes and calls", costs=COSTS):
    """How long each of some runs takes; all are published at once."""
    world = scale.World(costs, keys, split)
    for tasks in runs:
        world.publish(tasks)
    world.simulation.run()
    return [scale.seconds_of(tasks) for tasks in runs]


def test_a_tick_takes_as_many_intervals_as_it_has_requests():
    (took,) = seconds(scale.a_tick(90, "5m"))

    assert took == pytest.approx(89 * scale.INTERVAL, abs=2)


def test_calls_do_not_stand_in_each_others_way():
    ticks = [scale.a_tick(90, frame) for frame in ("5m", "1d", "1w")]

    assert seconds(*ticks) == pytest.approx([89 * scale.INTERVAL] * 3, abs=2)


def test_every_app_key_has_a_limit_of_its_own():
    (took,) = seconds(scale.a_tick(400, "5m"), keys=4)

    assert took == pytest.approx(99 * scale.INTERVAL, abs=2)


def test_history_leaves_live_work_the_limit_and_takes_the_rest():
    backfill = scale.load(100, [Timeframe.MINUTE_5])
    tick = scale.a_tick(30, "5m")

    took = seconds(backfill, tick)

    assert took[1] < 1.25 * 30 * scale.INTERVAL + 5
    assert took[0] == pytest.approx(830 * scale.INTERVAL, rel=0.02)


def test_behind_one_queue_a_tick_waits_for_all_that_was_published_before():
    backfill = scale.load(800, [Timeframe.MINUTE_5])

    took = seconds(backfill, scale.a_tick(30, "1d"), split="nothing")

    assert took[1] > 0.7 * took[0]


def test_a_slow_database_is_a_limit_too():
    slow = scale.Costs(slot=0, row=0.002, unchanged=0.002)

    (took,) = seconds([scale.Task(Lane.LIVE, Timeframe.DAY_1, 1)] * 1, costs=slow)
    (many,) = seconds(scale.a_tick(100, "1d"), costs=slow)

    assert took > 600 * slow.row
    assert many == pytest.approx(100 * 600 * slow.row, rel=0.05)


def test_the_same_seed_writes_the_same():
    first, again = (scale.beside_a_great_tick(COSTS, "lanes") for _ in range(2))

    assert first == again


def test_the_page_has_a_place_for_what_is_simulated():
    page = (scale.DOCS / "scale.md").read_text(encoding="utf-8")

    assert 0 < page.index(scale.BEGIN) < page.index(scale.END)
