"""Tell from prices alone that they cannot all be on one basis.

The exchange lets a price move by at most 30 % from the close of the day before. Where
one opens further away, prices stand on different bases, unless the stock had no limit
there, as where trading resumed after a merger.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shared.candles import Candle

DAILY_LIMIT = 0.3
# Of whole won, half a won is lost by rounding.
HALF_A_WON = 0.5


def steps(candles: Iterable[Candle]) -> Iterator[tuple[Candle, Candle]]:
    """Neighbours between which the price steps, the older one first, newest last."""
    in_order = sorted(candles, key=lambda candle: candle.opened_at)
    return (pair for pair in pairwise(in_order) if _is_step(*pair))


def is_a_step(ratio: float) -> bool:
    """Whether no session allows prices to move by ``ratio``."""
    return abs(ratio - 1) > DAILY_LIMIT


def _is_step(older: Candle, newer: Candle) -> bool:
    rise = newer.open - HALF_A_WON > (1 + DAILY_LIMIT) * (older.close + HALF_A_WON)
    fall = newer.open + HALF_A_WON < (1 - DAILY_LIMIT) * (older.close - HALF_A_WON)
    return rise or fall
