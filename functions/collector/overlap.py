"""Judge the price basis: do the broker's prices and ours stand on the same one?

A split, a bonus issue or a reduction of capital multiplies every older price by one
ratio, and the volumes of days and weeks by its inverse. The broker rounds to whole
won on either basis, so one candle proves little: the judgement is that of all candles
that both sides have, by their majority.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from statistics import median
from typing import TYPE_CHECKING

from shared.sessions import kst_date

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date, datetime

    from shared.candles import Candle

EVIDENCE_CANDLES = 3
# A price is rounded by half a won at most; floating point adds next to nothing.
HALF_A_WON = 0.5 + 1e-6
# A ratio is believed only with candles of this many sessions behind it, if there are
# that many.
SESSIONS = 2
# Smaller volumes are too coarse to tell a ratio.
TELLING_VOLUME = 1_000
DECIMALS = (1, 2, 3, 4)
LARGEST_DENOMINATOR = 100_000


class Verdict(StrEnum):
    """How the broker's prices relate to ours."""

    SAME = "same"
    REVISED = "revised"
    MOVED = "moved"
    UNPROVEN = "unproven"


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBasis:
    """A verdict over ``compared`` candles from ``sessions`` sessions.

    With MOVED, our prices times ``ratio`` are theirs, for all candles up to
    ``moved_through`` but the ``outliers``; newer ones, from ``same_from`` on, stand
    on the new basis already. With REVISED the outliers are all that differ; in
    ``doubtful_sessions`` of the sessions by one won at most, as after a move that
    rounding all but hides. UNPROVEN is nothing in common, or a contradiction: newer
    candles moved, older ones did not.
    """

    verdict: Verdict
    compared: int = 0
    sessions: int = 0
    ratio: Fraction = Fraction(1)
    moved_through: date | None = None
    same_from: date | None = None
    outliers: frozenset[datetime] = frozenset()
    doubtful_sessions: int = 0
    evidence: str = ""

    @property
    def holds(self) -> bool:
        """Whether both sides stand on one basis."""
        return self.verdict in {Verdict.SAME, Verdict.REVISED}

    def is_proven(self, *, from_today: bool) -> bool:
        """Whether the basis holds beyond doubt, for an answer read ``from_today``.

        An answer from a day in the past stands on the basis of that day, so that there
        a single session is doubt enough.
        """
        return self.holds and self.doubtful_sessions < (SESSIONS if from_today else 1)


@dataclass(frozen=True, slots=True)
class _Pair:
    """One candle as we have it and as the broker serves it."""

    opened_at: datetime
    ours: Candle
    theirs: Candle

    @property
    def prices(self) -> Iterator[tuple[int, int]]:
        return zip(prices_of(self.ours), prices_of(self.theirs), strict=True)

    @property
    def is_same(self) -> bool:
        return all(ours == theirs for ours, theirs in self.prices)

    @property
    def is_one_won_off(self) -> bool:
        furthest = max(abs(ours - theirs) for ours, theirs in self.prices)
        return furthest == 1

    @property
    def price_ratio(self) -> float:
        return sum(prices_of(self.theirs)) / sum(prices_of(self.ours))

    @property
    def volume_ratio(self) -> float | None:
        """The price ratio that the volumes tell; those of minutes never move."""
        volumes = self.ours.volume, self.theirs.volume
        if self.ours.timeframe.minutes or min(volumes) < TELLING_VOLUME:
            return None
        return volumes[0] / volumes[1]

    def is_explained_by(self, ratio: float) -> bool:
        """Whether all prices moved by ``ratio``, both sides rounded to whole won."""
        tolerance = HALF_A_WON * (1 + ratio)
        return all(abs(b - a * ratio) <= tolerance for a, b in self.prices)

    def is_told_by_prices(self, ratio: float) -> bool:
        """Whether ``ratio`` would change a price by more than rounding hides."""
        return any(abs(a * ratio - a) > HALF_A_WON for a, _ in self.prices)

    def is_told_by_volume(self, ratio: float) -> bool:
        """Whether ``ratio`` would change the volume by more than rounding hides."""
        moved = abs(self.ours.volume / ratio - self.ours.volume)
        return self.volume_ratio is not None and moved > 1 + 1 / ratio

    def volume_moved_by(self, ratio: float) -> bool:
        expected = self.ours.volume / ratio
        return abs(self.theirs.volume - expected) <= 1 + 1 / ratio


@dataclass(frozen=True, slots=True)
class _Votes:
    """What the candles that can tell say about one ratio, oldest first.

    ``strays`` of them fit neither picture: all older ones moved, or only newer ones.
    """

    ratio: float
    older: Sequence[_Pair]
    newer: Sequence[_Pair]
    strays: int
    contradict: bool

    @property
    def moved(self) -> Sequence[_Pair]:
        return self.newer if self.contradict else self.older

    @property
    def lead(self) -> int:
        return len(self.moved) - self.strays


def compare(
    ours: Mapping[datetime, Candle], theirs: Mapping[datetime, Candle]
) -> PriceBasis:
    """Judge the candles that both sides have; ours must be over, not forming."""
    common = sorted(ours.keys() & theirs.keys())
    pairs = [_Pair(at, ours[at], theirs[at]) for at in common]
    differing = frozenset(pair.opened_at for pair in pairs if not pair.is_same)
    basis = PriceBasis(
        verdict=Verdict.UNPROVEN,
        compared=len(pairs),
        sessions=len({kst_date(at) for at in common}),
    )
    if not pairs:
        return basis
    votes = _best_votes(pairs) if _anything_moved(pairs) else None
    if votes is None:
        return replace(
            basis,
            verdict=Verdict.REVISED if differing else Verdict.SAME,
            outliers=differing,
            doubtful_sessions=_sessions([p for p in pairs if p.is_one_won_off]),
        )
    basis = replace(
        basis,
        ratio=_simplest(votes.ratio, votes.moved),
        evidence=_evidence(votes.moved, len(pairs)),
    )
    if votes.contradict:
        return basis
    last = votes.moved[-1].opened_at
    odd = [
        pair
        for pair in pairs
        if not (
            pair.is_explained_by(votes.ratio)
            if pair.opened_at <= last
            else pair.is_same
        )
    ]
    same = (kst_date(p.opened_at) for p in pairs if p.opened_at > last and p.is_same)
    return replace(
        basis,
        verdict=Verdict.MOVED,
        moved_through=kst_date(last),
        same_from=next(same, None),
        outliers=frozenset(pair.opened_at for pair in odd),
    )


def prices_of(candle: Candle) -> tuple[int, int, int, int]:
    """Open, high, low and close."""
    return candle.open, candle.high, candle.low, candle.close


def _anything_moved(pairs: Sequence[_Pair]) -> bool:
    return any(
        not pair.is_same or pair.volume_ratio not in {None, 1.0} for pair in pairs
    )


def _best_votes(pairs: Sequence[_Pair]) -> _Votes | None:
    """The ratio that most candles vote for, None where no ratio has a majority."""
    enough = min(SESSIONS, _sessions(pairs))
    counted = (_count(ratio, pairs) for ratio in _candidates(pairs))
    best = max(counted, key=lambda votes: votes.lead, default=None)
    if best is None or best.lead <= 0 or _sessions(best.moved) < enough:
        return None
    return best


def _sessions(pairs: Sequence[_Pair]) -> int:
    return len({kst_date(pair.opened_at) for pair in pairs})


def _candidates(pairs: Sequence[_Pair]) -> Iterator[float]:
    """Ratios worth a vote: those of all candles, the oldest, the newest, the odd.

    An action that the broker has worked in only partly shows at one end alone, and a
    small ratio at a low price only where rounding lets it through.
    """
    third = max(1, len(pairs) // 3)
    differing = [pair for pair in pairs if not pair.is_same]
    for some in (pairs, pairs[:third], pairs[-third:], differing):
        if not some:
            continue
        volumes = [pair.volume_ratio for pair in some if pair.volume_ratio]
        if volumes:
            yield median(volumes)
        middle = median(pair.price_ratio for pair in some)
        yield middle
        near = [pair for pair in some if pair.is_explained_by(middle)]
        if near:
            ours = sum(sum(prices_of(pair.ours)) for pair in near)
            yield sum(sum(prices_of(pair.theirs)) for pair in near) / ours


def _count(ratio: float, pairs: Sequence[_Pair]) -> _Votes:
    """Let every candle vote that can tell ``ratio`` from none."""
    several = _sessions(pairs) >= SESSIONS
    cast = [(pair, _vote(ratio, pair, several=several)) for pair in pairs]
    votes = [(pair, vote) for pair, vote in cast if vote is not None]
    moved_first = _division([not moved for _, moved in votes])
    same_first = _division([moved for _, moved in votes])
    if moved_first.strays > same_first.strays:
        at = same_first.at
        older = [pair for pair, vote in votes[:at] if not vote]
        newer = [pair for pair, vote in votes[at:] if vote]
        if _sessions(older) >= SESSIONS:
            return _Votes(ratio, older, newer, same_first.strays, contradict=True)
    older = [pair for pair, vote in votes[: moved_first.at] if vote]
    newer = [pair for pair, vote in votes[moved_first.at :] if not vote]
    return _Votes(ratio, older, newer, moved_first.strays, contradict=False)


def _vote(ratio: float, pair: _Pair, *, several: bool) -> bool | None:
    """Whether the candle moved by ``ratio``; None where it cannot tell.

    The volume of a single day proves nothing: its last shares come after midnight.
    """
    by_prices = pair.is_told_by_prices(ratio)
    by_volume = pair.is_told_by_volume(ratio) and several
    if by_prices and not pair.is_same:
        return pair.is_explained_by(ratio) or None
    if by_prices:
        return False
    if by_volume and pair.is_explained_by(ratio):
        return pair.volume_moved_by(ratio)
    return None


@dataclass(frozen=True, slots=True)
class _Division:
    at: int
    strays: int


def _division(votes: Sequence[bool]) -> _Division:
    """Divide ``votes`` into no and yes, in this order, with the fewest strays."""
    wrong = votes.count(False)
    best = _Division(0, wrong)
    for at, vote in enumerate(votes, start=1):
        wrong += 1 if vote else -1
        if wrong <= best.strays:
            best = _Division(at, wrong)
    return best


def _simplest(ratio: float, moved: Sequence[_Pair]) -> Fraction:
    """The simplest ratio that the rounded values allow, such as 1/5 for 0.2000013.

    Ours may have been rounded before, or not: the narrower bounds are tried first.
    """
    exact = Fraction(ratio)
    for ours_rounded in (False, True):
        bounds = [bound for pair in moved for bound in _bounds(pair, ours_rounded)]
        low, high = max(low for low, _ in bounds), min(high for _, high in bounds)
        for digits in DECIMALS:
            for near in _decimals(exact, digits):
                if low <= near <= high and near != 1:
                    return near
    return exact.limit_denominator(LARGEST_DENOMINATOR)


def _bounds(pair: _Pair, ours_rounded: bool) -> Iterator[tuple[float, float]]:  # noqa: FBT001
    """Between which ratios the rounded values of a candle lie."""
    blur = 0.5 if ours_rounded else 0.0
    for a, b in pair.prices:
        yield (b - 0.5) / (a + blur), (b + 0.5) / (a - blur)
    if pair.volume_ratio is not None and pair.ours.volume != pair.theirs.volume:
        a, b = pair.ours.volume, pair.theirs.volume
        yield (a - blur) / (b + 0.5), (a + blur) / (b - 0.5)


def _decimals(ratio: Fraction, digits: int) -> Iterator[Fraction]:
    """The ratio and its inverse, rounded to ``digits`` decimals."""
    yield round(ratio, digits)
    inverse = round(1 / ratio, digits)
    if inverse:
        yield 1 / inverse


def _evidence(moved: Sequence[_Pair], compared: int) -> str:
    candles = [
        {
            "opened_at": pair.opened_at.isoformat(),
            "ours": prices_of(pair.ours),
            "theirs": prices_of(pair.theirs),
        }
        for pair in moved[-EVIDENCE_CANDLES:]
    ]
    facts = {"compared": compared, "moved": len(moved), "candles": candles}
    return json.dumps(facts)
