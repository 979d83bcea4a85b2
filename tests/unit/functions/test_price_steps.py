"""A step in prices is further than a session allows, and is doubted where it is new."""

from __future__ import annotations

from dataclasses import replace

import pytest

from functions.collector.price_steps import steps
from tests.support.builders import a_candle, day, kst
from tests.support.collecting import Desk, market
from tests.support.fake_series import scaled

CANDLES = market()
# Traded at a fifth from the 10th of November on, and no split was behind it.
STEPPED = [
    scaled(candle, 0.2) if candle.opened_at >= kst("2026-11-10") else candle
    for candle in CANDLES
]


def neighbours(close, opened):
    older = {"high": max(close, 100), "low": min(close, 100), "open": 100}
    newer = dict.fromkeys(("high", "low", "close"), opened)
    return [
        a_candle(opened_at=kst("2026-11-18"), **older, close=close),
        a_candle(opened_at=kst("2026-11-19"), **newer, open=opened),
    ]


@pytest.mark.parametrize(
    ("close", "opened", "stepped"),
    [
        (100_000, 130_000, False),
        (100_000, 130_003, True),
        (100_000, 70_000, False),
        (100_000, 69_998, True),
        # Rounded to whole won, 3 may be 2.5 and 4 may be 4.49.
        (3, 4, False),
    ],
)
def test_a_step_is_more_than_the_daily_limit(close, opened, stepped):
    assert bool([*steps(neighbours(close, opened))]) is stepped


def test_what_steps_in_a_first_load_is_not_settled_and_read_again_for_a_week():
    desk = Desk(STEPPED, 50, now="2026-11-12 21:00")

    assert desk.run(start="2026-10-12").state == "done"
    assert (desk.series().unproven_on, desk.series().settled_through) == (
        day("2026-11-12"),
        None,
    )
    assert desk.series().unproven_ratio == pytest.approx(0.2, rel=0.15)

    desk.run(now="2026-11-18 21:00")
    assert desk.series().settled_through is None

    # The market did it.
    desk.run(now="2026-11-19 21:00")
    assert desk.series().settled_through == day("2026-11-18")
    desk.run(now="2026-11-20 21:00")
    assert desk.series().settled_through == day("2026-11-19")


def test_a_step_in_older_days_is_doubted_too():
    desk = Desk(STEPPED, 50, now="2026-11-19 21:00")
    desk.run(start="2026-11-11")
    assert desk.series().unproven_on is None

    desk.run(now="2026-11-20 21:00", mode="backfill", start="2026-10-12")

    assert desk.series().unproven_on == day("2026-11-20")


def test_a_step_that_is_over_is_no_doubt():
    desk = Desk(STEPPED, 50, now="2026-11-12 21:00")
    desk.run(start="2026-10-12")
    desk.source.candles = [
        scaled(candle, 0.2) if candle.opened_at < kst("2026-11-10") else stepped
        for candle, stepped in zip(CANDLES, STEPPED, strict=True)
    ]

    result = desk.run(now="2026-11-13 08:00")

    assert float(result.move.ratio) == pytest.approx(0.2)
    assert desk.series().settled_through == day("2026-11-12")


def test_a_stock_that_leaves_the_exchange_may_trade_without_a_limit():
    desk = Desk(STEPPED, 50, now="2026-11-12 21:00")
    desk.ledger.listed = False

    desk.run(start="2026-10-12")

    assert desk.series().unproven_on is None


def test_an_answer_on_two_bases_moves_nothing():
    """Ours are on one basis; the older half of the answer is on another."""
    desk = Desk(CANDLES, 50, now="2026-11-19 21:00")
    desk.run(start="2026-10-12")
    before = desk.stored()
    desk.source.candles = [
        replace(scaled(candle, 5)) if candle.opened_at < kst("2026-11-10") else candle
        for candle in CANDLES
    ]
    task = desk.task(mode="rebuild")

    with pytest.raises(Exception, match="prices of two bases"):
        desk.attempt(task)

    assert desk.stored() == before
