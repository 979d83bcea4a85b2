"""The price basis is judged by the majority of all candles that both sides have."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction
from random import Random

import pytest

from functions.collector.overlap import Verdict, compare
from shared.candles import Candle, Timeframe
from shared.sessions import midnight
from tests.support.builders import day

FIRST = midnight(day("2026-01-05"))


def days(count, level=70_000, seed=1, swing=0.02):
    """Days of a stock around a price level, oldest first."""
    random, found, close = Random(seed), [], level
    for number in range(count):
        opened = close
        close = max(2, round(level * (1 + random.uniform(-swing, swing))))
        found.append(
            Candle(
                stock_code="005930",
                timeframe=Timeframe.DAY_1,
                opened_at=FIRST + timedelta(days=number),
                open=opened,
                high=max(opened, close) + round(level * swing / 2),
                low=max(1, min(opened, close) - round(level * swing / 2)),
                close=close,
                volume=random.randint(100_000, 900_000),
            )
        )
    return found


def by_instant(candles):
    return {candle.opened_at: candle for candle in candles}


def moved(candle, ratio, *, volume=True):
    """The candle as the broker serves it after a corporate action."""
    values = {
        name: max(1, round(getattr(candle, name) * ratio))
        for name in ("open", "high", "low", "close")
    }
    traded = round(candle.volume / ratio) if volume else candle.volume
    return changed(candle, **values, volume=traded)


def changed(candle, **values):
    from dataclasses import replace  # noqa: PLC0415

    return replace(candle, **values)


def judge(ours, theirs):
    return compare(by_instant(ours), by_instant(theirs))


def test_equal_candles_stand_on_the_same_basis():
    ours = days(100)

    basis = judge(ours, ours)

    assert basis.verdict is Verdict.SAME
    assert (basis.compared, basis.sessions) == (100, 100)


def test_nothing_in_common_proves_nothing():
    ours = days(10)

    basis = judge(ours[:5], ours[5:])

    assert basis.verdict is Verdict.UNPROVEN
    assert basis.compared == 0


def test_a_few_candles_that_differ_are_revisions():
    ours = days(100)
    theirs = [*ours[:98], changed(ours[98], high=ours[98].high + 700), ours[99]]

    basis = judge(ours, theirs)

    assert basis.verdict is Verdict.REVISED
    assert basis.outliers == {ours[98].opened_at}


@pytest.mark.parametrize(
    ("ratio", "exact"),
    [
        (1 / 5, Fraction(1, 5)),
        (10, Fraction(10)),
        (1 / 1.3, Fraction(10, 13)),
        (0.97, Fraction(97, 100)),
    ],
)
def test_a_common_ratio_is_a_move_and_is_known_exactly(ratio, exact):
    ours = days(300)

    basis = judge(ours, [moved(candle, ratio) for candle in ours])

    assert basis.verdict is Verdict.MOVED
    assert basis.ratio == exact
    assert basis.outliers == frozenset()


@pytest.mark.parametrize("field", ["high", "close"])
@pytest.mark.parametrize("odd", [0, 50, 99])
def test_one_odd_price_cannot_veto_a_move(field, odd):
    ours = days(100)
    theirs = [moved(candle, 0.2) for candle in ours]
    theirs[odd] = changed(theirs[odd], high=theirs[odd].high + 900)
    if field == "close":
        theirs[odd] = changed(theirs[odd], close=theirs[odd].close + 7)

    basis = judge(ours, theirs)

    assert basis.verdict is Verdict.MOVED
    assert basis.ratio == Fraction(1, 5)
    assert basis.outliers == {ours[odd].opened_at}


def test_one_odd_candle_cannot_fake_a_move():
    ours = days(100)
    theirs = [*ours[:99], moved(ours[99], 0.2)]

    assert judge(ours, theirs).verdict is Verdict.REVISED


def test_a_tick_at_a_low_price_is_no_move():
    ours = days(300, level=50, swing=0.01)
    theirs = list(ours)
    theirs[-1] = changed(ours[-1], high=ours[-1].high + 1)
    theirs[-9] = changed(ours[-9], high=ours[-9].high + 1)

    assert judge(ours, theirs).verdict is Verdict.REVISED


@pytest.mark.parametrize(
    ("ratio", "level"), [(1.01, 50), (1.005, 216), (0.997, 300), (0.995, 110)]
)
def test_a_small_ratio_at_a_low_price_is_told_by_the_volumes(ratio, level):
    ours = days(300, level=level)

    basis = judge(ours, [moved(candle, ratio) for candle in ours])

    assert basis.verdict is Verdict.MOVED
    assert float(basis.ratio) == pytest.approx(ratio, rel=1e-4)


@pytest.mark.parametrize(
    ("ratio", "level", "known_to"),
    [(1.01, 60, 0.012), (1.005, 216, 0.002), (0.997, 300, 0.002)],
)
def test_a_small_ratio_at_a_low_price_is_told_by_many_prices(ratio, level, known_to):
    ours = [changed(candle, volume=0) for candle in days(600, level=level, swing=0.1)]

    basis = judge(ours, [moved(candle, ratio, volume=False) for candle in ours])

    assert basis.verdict is Verdict.MOVED
    assert float(basis.ratio) == pytest.approx(ratio, rel=known_to)


def test_a_ratio_that_rounding_hides_in_every_price_cannot_be_told():
    ours = [changed(candle, volume=0) for candle in days(600, level=40, swing=0.1)]

    basis = judge(ours, [moved(candle, 1.005, volume=False) for candle in ours])

    assert basis.verdict is Verdict.SAME


def test_a_ratio_that_rounding_hides_in_every_price_is_told_by_the_volumes():
    ours = days(300, level=40, swing=0.1)

    basis = judge(ours, [moved(candle, 1.005) for candle in ours])

    assert basis.verdict is Verdict.MOVED
    assert float(basis.ratio) == pytest.approx(1.005, rel=1e-4)


def test_a_day_that_the_broker_left_on_the_old_basis_cannot_veto_a_move():
    ours = days(100)
    theirs = [moved(candle, 0.2) for candle in ours]
    theirs[40] = ours[40]

    basis = judge(ours, theirs)

    assert basis.verdict is Verdict.MOVED
    assert basis.outliers == {ours[40].opened_at}


def test_days_here_and_there_are_no_majority():
    ours = days(100)
    theirs = [
        moved(candle, 0.2) if number in {0, 1, 50, 60, 70, 80} else candle
        for number, candle in enumerate(ours)
    ]

    basis = judge(ours, theirs)

    assert basis.verdict is Verdict.REVISED
    assert len(basis.outliers) == 6


@pytest.mark.parametrize(
    ("off_by", "numbers", "doubtful", "today", "past"),
    [
        ((1,), {50}, 1, True, False),
        ((1,), {50, 70}, 2, False, False),
        ((1, 5), {50, 70}, 0, True, True),
    ],
    ids=["one session", "two sessions", "more than one won"],
)
def test_differences_of_one_won_may_be_a_move_that_rounding_hides(
    off_by, numbers, doubtful, today, past
):
    ours = days(100, level=49)
    theirs = [
        changed(candle, low=candle.low - off_by[-1], close=candle.close - off_by[0])
        if number in numbers
        else candle
        for number, candle in enumerate(ours)
    ]

    basis = judge(ours, theirs)

    assert (basis.verdict, basis.doubtful_sessions) == (Verdict.REVISED, doubtful)
    assert basis.is_proven(from_today=True) is today
    assert basis.is_proven(from_today=False) is past


def test_days_that_were_read_after_the_action_are_no_contradiction():
    ours = days(100)
    ours[97:] = [moved(candle, 0.2) for candle in ours[97:]]
    theirs = [moved(candle, 0.2) for candle in ours[:97]] + ours[97:]

    basis = judge(ours, theirs)

    assert basis.verdict is Verdict.MOVED
    assert basis.moved_through == day("2026-04-11")
    assert basis.same_from == day("2026-04-12")
    assert basis.outliers == frozenset()


def test_newer_days_moved_and_older_ones_not_is_a_contradiction():
    ours = days(100)
    theirs = ours[:90] + [moved(candle, 0.2) for candle in ours[90:]]

    basis = judge(ours, theirs)

    assert basis.verdict is Verdict.UNPROVEN
    assert basis.compared == 100


def test_a_single_day_in_common_proves_what_all_its_prices_say():
    (ours,) = days(1)

    assert judge([ours], [ours]).verdict is Verdict.SAME
    assert judge([ours], [moved(ours, 0.2)]).verdict is Verdict.MOVED
    assert judge([ours], [changed(ours, high=ours.high + 5)]).verdict is Verdict.REVISED


@pytest.mark.parametrize("seed", range(20))
def test_random_histories_are_judged_right(seed):
    random = Random(seed)
    ours = days(
        random.randint(3, 400), level=random.choice([900, 5_000, 300_000]), seed=seed
    )
    ratio = random.choice([1, 0.2, 0.5, 1 / 1.1, 2, 10])
    theirs = [moved(candle, ratio) for candle in ours]
    odd = random.sample(range(len(ours)), len(ours) // 20)
    for number in odd:
        theirs[number] = changed(theirs[number], high=theirs[number].high * 2)

    basis = judge(ours, theirs)

    wanted = Verdict.MOVED if ratio != 1 else Verdict.REVISED if odd else Verdict.SAME
    assert basis.verdict is wanted
    assert basis.outliers == {ours[number].opened_at for number in odd}
    assert float(basis.ratio) == pytest.approx(ratio if ratio != 1 else 1, rel=1e-4)
