"""Breaks of history that a second pair of eyes has found, each with what is right."""

from __future__ import annotations

import math

import pytest

from tests.integration.test_history_cases import (
    EVENING,
    START,
    load,
    persist,
    right,
    tick_at,
    triggered,
)
from tests.support.builders import day
from tests.support.harness import STOCK, PipelineHarness

HALT = {STOCK: (day("2025-07-01"), day("2026-11-13"))}


@pytest.fixture
def harness(engine):
    return PipelineHarness(engine, EVENING)


@pytest.mark.parametrize("order", [("60m", "1d"), ("1d", "60m"), ("5m", "60m", "1d")])
def test_minutes_that_are_gone_are_rescaled_once(engine, order):
    """A long halt with a reduction; the days were followed all the while."""
    harness = PipelineHarness(engine, "2025-07-01 07:30", halts=HALT)
    for timeframe in order:
        start = "2025-01-02" if timeframe == "1d" else "2025-05-02"
        harness.tick(timeframe, start=start, force=True)
    minutes = [timeframe for timeframe in order if timeframe != "1d"]
    before = {timeframe: harness.stored(timeframe) for timeframe in minutes}
    for now in ("2026-03-03 20:45", "2026-11-13 20:45"):
        tick_at(harness, now, "1d")
    harness.acts(STOCK, "2026-11-16", 0.1)

    harness.at("2026-11-16 20:45")
    triggered(harness, *order)

    for timeframe in minutes:
        stored = harness.stored(timeframe)
        closes = {stored[at][3] / values[3] for at, values in before[timeframe].items()}
        assert closes == {10.0}, timeframe
    assert right(harness)


@pytest.mark.parametrize("ratios", [(0.1,), (0.1, 0.5)])
def test_a_dead_rebuild_that_is_replayed_rescales_nothing_twice(engine, ratios):
    """The days find actions in the halt; the minutes cannot be read until its end."""
    harness = PipelineHarness(engine, "2025-07-01 07:30", halts=HALT)
    harness.tick("60m", start="2025-05-02", force=True)
    harness.tick("1d", start="2025-01-02", force=True)
    before = harness.stored("60m")
    tick_at(harness, "2026-08-02 20:45", "1d")
    dead = []
    for ratio, date in zip(ratios, ("2026-08-03", "2026-08-05"), strict=False):
        harness.acts(STOCK, date, ratio)
        harness.at(f"{date} 20:45")
        harness.trigger(["1d"])
        harness.deliver(harness.queue.popleft())
        dead += harness.queue
        persist(harness)
        harness.queue.clear()
    harness.at("2026-11-16 20:45")
    triggered(harness, "60m", "1d")

    harness.queue.extend(dead)
    persist(harness)

    stored = harness.stored("60m")
    closes = {stored[at][3] / values[3] for at, values in before.items()}
    assert closes == {round(1 / math.prod(ratios))}
    assert right(harness)


@pytest.mark.parametrize("timeframe", ["1d", "5m"])
@pytest.mark.parametrize("attempts", [1, 5])
def test_a_rebuild_that_is_cut_short_is_no_rebuild(engine, timeframe, attempts):
    """A short page says "last" while the second of two actions is found."""
    harness = PipelineHarness(engine, EVENING, levels={STOCK: 937})
    harness.acts(STOCK, "2026-11-10", 3.0)
    load(harness, timeframe)
    tick_at(harness, "2026-11-17 20:45", timeframe)
    harness.acts(STOCK, "2026-11-18", 1.7)
    harness.fails("last", rows=90, times=attempts)

    for now in ("2026-11-18 20:45", "2026-11-19 07:30", "2026-11-19 20:45"):
        harness.at(now)
        triggered(harness, timeframe)
        harness.recovers()
    persist(harness)
    triggered(harness, timeframe, mode="repair")

    assert right(harness)


def test_a_lie_about_the_end_is_contradicted_by_our_own_candles(harness):
    """One outage over an evening and a morning; later someone wants older days."""
    load(harness, "1d")
    harness.fails("last", rows=50)
    tick_at(harness, "2026-11-17 20:45", "1d")
    tick_at(harness, "2026-11-18 07:30", "1d")
    harness.recovers()

    harness.at("2026-11-18 10:00")
    triggered(harness, "1d", mode="backfill", start="2020-01-06")

    assert harness.stored("1d").keys() == harness.truth("1d", "2020-01-06").keys()


@pytest.mark.parametrize("level", [900, 2000, 3000])
def test_the_last_shares_of_a_first_day_are_no_corporate_action(engine, level):
    """A stock's first session: its final volume comes after midnight."""
    harness = PipelineHarness(engine, EVENING, levels={STOCK: level})
    harness.tick("1d", start="2026-11-16")
    harness.tick("5m", start="2026-11-16")

    tick_at(harness, "2026-11-17 07:30", "1d", "5m")

    assert harness.query("SELECT * FROM corporate_actions") == []


def test_a_stock_halted_longer_than_the_broker_keeps_minutes_is_no_alarm(engine):
    """Its days tell that it did not trade: there is nothing to be had, and no fault."""
    harness = PipelineHarness(engine, "2025-07-01 07:30", halts=HALT)
    harness.tick("60m", start="2025-05-02", force=True)
    harness.tick("1d", start="2025-05-02", force=True)
    harness.query(
        "INSERT INTO stocks (stock_code, stock_name, market_code, market_name, state)"
        " VALUES (:s, 'x', '0', 'KOSPI', '거래정지')",
        s=STOCK,
    )
    tick_at(harness, "2026-10-15 20:45", "1d")

    before = harness.stored("60m")
    tick_at(harness, "2026-10-16 20:45", "60m")

    assert harness.stored("60m") == before
    assert harness.query("SELECT DISTINCT state FROM run_states") == [("complete",)]


@pytest.mark.parametrize("rows", [2, 13])
def test_what_was_not_read_again_is_not_settled(harness, rows):
    harness.tick("60m", start=START["60m"])
    harness.fails("last", rows=rows)
    harness.at("2026-11-17 07:30" if rows == 2 else "2026-11-17 20:45")
    triggered(harness, "60m")
    harness.recovers()

    assert right(harness)


def test_a_short_answer_after_a_long_outage_settles_nothing(harness):
    harness.at("2026-10-30 20:45")
    harness.tick("5m", start="2026-10-12")
    harness.fails("last", rows=200)
    harness.at("2026-11-17 20:45")
    triggered(harness, "5m")
    harness.recovers()

    harness.at("2026-11-18 20:45")
    triggered(harness, "5m")

    states = harness.query(
        "SELECT state FROM tasks JOIN runs USING (run_id) ORDER BY written_at"
    )
    assert harness.judge().wrong == [], states


def test_a_stock_without_a_trade_in_the_last_slot_is_no_alarm_every_morning(harness):
    load(harness, "5m")
    harness.withdraws("5m", "2026-11-17 19:55", alone=True)
    for now in ("2026-11-17 20:45", "2026-11-18 07:30", "2026-11-18 20:45"):
        tick_at(harness, now, "5m")

    assert harness.query("SELECT DISTINCT state FROM tasks") == [("done",)]
    assert right(harness)
