from __future__ import annotations

import json
from dataclasses import replace

import pytest

from functions.collector.joint import compare
from tests.support.builders import a_candle

DAYS = [f"2026-11-{n}" for n in (16, 17, 18, 19)]
OURS = {
    candle.opened_at: candle
    for candle in (
        a_candle(day, open=70_010 + n, high=71_033 + n, low=69_007, close=70_555 - n)
        for n, day in enumerate(DAYS)
    )
}


def scaled(candles, ratio):
    """As the broker would send them after a corporate action."""
    return {
        at: replace(
            candle,
            open=max(1, round(candle.open * ratio)),
            high=max(1, round(candle.high * ratio)),
            low=max(1, round(candle.low * ratio)),
            close=max(1, round(candle.close * ratio)),
        )
        for at, candle in candles.items()
    }


def test_equal_candles_stand_on_the_same_basis():
    assert not compare(OURS, OURS).moved


@pytest.mark.parametrize("ratio", [1 / 5, 1 / 50, 1 / 1.3, 0.97, 10, 2.5])
def test_one_ratio_for_all_prices_is_a_corporate_action(ratio):
    basis = compare(OURS, scaled(OURS, ratio))

    assert basis.moved
    assert basis.ratio == pytest.approx(ratio, rel=1e-4)


def test_the_evidence_shows_both_sides():
    evidence = json.loads(compare(OURS, scaled(OURS, 0.2)).evidence)

    assert evidence["compared"] == 4
    assert evidence["candles"][-1]["ours"] == [70_013, 71_036, 69_007, 70_552]
    assert evidence["candles"][-1]["theirs"] == [14_003, 14_207, 13_801, 14_110]


def test_one_candle_of_a_halted_stock_is_enough():
    flat = a_candle(open=50_000, high=50_000, low=50_000, close=50_000, volume=0)

    basis = compare({flat.opened_at: flat}, scaled({flat.opened_at: flat}, 0.2))

    assert basis.ratio == 0.2


def test_cheap_shares_are_rounded_coarsely_but_still_recognised():
    cheap = {
        at: a_candle(day, open=103, high=107, low=99, close=101)
        for (at, _), day in zip(OURS.items(), DAYS, strict=True)
    }

    assert compare(cheap, scaled(cheap, 0.2)).moved
    assert compare(scaled(cheap, 0.1), cheap).moved


@pytest.mark.parametrize("field", ["close", "high"])
def test_a_few_candles_that_differ_are_revisions(field):
    at = min(OURS)
    theirs = OURS | {
        at: replace(OURS[at], **{field: 70_950 if field == "close" else 75_000})
    }

    assert not compare(OURS, theirs).moved


def test_a_won_more_or_less_is_rounding():
    theirs = {at: replace(candle, high=candle.high + 1) for at, candle in OURS.items()}

    assert not compare(OURS, theirs).moved


def test_without_a_common_candle_nothing_is_known():
    assert not compare(OURS, {}).moved
    assert not compare({}, OURS).moved
