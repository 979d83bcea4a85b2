from __future__ import annotations

from datetime import datetime

import pytest

from shared.candles import LARGEST_INTEGER, Timeframe
from tests.support.builders import a_candle


def test_a_candle_of_one_trade_is_flat():
    candle = a_candle(open=100, high=100, low=100, close=100, volume=1)

    assert candle.close == 100


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"high": 69_999}, "open 70000 outside"),
        ({"close": 71_001}, "close 71001 outside"),
        ({"low": 0}, "low 0 is not a price"),
        ({"volume": -1}, "volume -1 is negative"),
        ({"turnover": -1}, "turnover -1 is negative"),
        ({"high": LARGEST_INTEGER + 1}, "does not fit 64 bits"),
        ({"open": 10**5_000}, "does not fit 64 bits"),
        ({"volume": LARGEST_INTEGER + 1}, "does not fit 64 bits"),
        ({"turnover": LARGEST_INTEGER + 1}, "does not fit 64 bits"),
        ({"opened_at": datetime(2026, 11, 20)}, "no time zone"),  # noqa: DTZ001
    ],
)
def test_values_that_cannot_have_happened_are_refused(wrong, reason):
    with pytest.raises(ValueError, match=reason):
        a_candle(**wrong)


def test_the_largest_values_that_the_database_holds_are_taken():
    candle = a_candle(
        high=LARGEST_INTEGER, volume=LARGEST_INTEGER, turnover=LARGEST_INTEGER
    )

    assert candle.turnover == 2**63 - 1


def test_only_intraday_timeframes_have_minutes():
    assert [timeframe.minutes for timeframe in Timeframe] == [5, 30, 60, None, None]
