"""Prove that new candles and the ones we have stand on the same price basis."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from shared.candles import Candle

EVIDENCE_CANDLES = 3


@dataclass(frozen=True, slots=True)
class Basis:
    """How the broker's prices relate to ours: ``ratio`` times ours is theirs.

    It is 1 where both are the same, also where single candles were revised.
    """

    ratio: float
    evidence: str = ""

    @property
    def moved(self) -> bool:
        """Whether the whole series stands on another basis now."""
        return self.ratio != 1


SAME = Basis(1)


def compare(
    ours: Mapping[datetime, Candle], theirs: Mapping[datetime, Candle]
) -> Basis:
    """Compare settled candles that both have.

    A split, a bonus issue or a reverse split multiplies every price before it by one
    ratio. A few candles that differ without a common ratio are revisions: the basis is
    the same.
    """
    common = sorted(ours.keys() & theirs.keys())
    pairs = [
        pair
        for instant in common
        for pair in zip(_prices(ours[instant]), _prices(theirs[instant]), strict=True)
    ]
    our_sum, their_sum = sum(a for a, _ in pairs), sum(b for _, b in pairs)
    if not pairs or our_sum == their_sum:
        return SAME
    ratio = their_sum / our_sum
    # The broker rounds to whole won, on either basis.
    tolerance = 1 + ratio
    if all(abs(a - b) <= tolerance for a, b in pairs):
        return SAME
    if any(abs(a * ratio - b) > tolerance for a, b in pairs):
        return SAME
    shown = common[-EVIDENCE_CANDLES:]
    evidence = [
        {
            "opened_at": instant.isoformat(),
            "ours": list(_prices(ours[instant])),
            "theirs": list(_prices(theirs[instant])),
        }
        for instant in shown
    ]
    text = json.dumps({"compared": len(common), "candles": evidence})
    return Basis(ratio, text)


def _prices(candle: Candle) -> Iterator[int]:
    yield from (candle.open, candle.high, candle.low, candle.close)
