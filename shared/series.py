"""What is known of one stock in one timeframe, and what a task makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date, datetime
    from fractions import Fraction

    from shared.candles import Candle, RejectedRow
    from shared.messages import CollectRequest
    from shared.pages import PageChain


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What has been proven so far of one stock in one timeframe.

    Everything from ``covered_from`` on was requested, and the broker's answers reached
    back to it; ``wanted_from`` is the first day that was ever wanted, and is earlier
    where the answers ended too soon. Up to ``settled_through`` the candles are final.
    ``oldest`` is the day of the oldest candle, ``newest`` the instant of the newest.
    ``end_seen_on`` is the day on which the broker's history was first seen to end
    there; once that was seen on another day too, ``history_exhausted``. ``ended`` says
    that the stock has left the exchange and the broker has nothing at all any more.
    ``unproven_on`` is the last day on which a reading of the whole series contradicted
    itself: newer candles had moved by ``unproven_ratio`` and older ones had not. Until
    the broker has adjusted them all, or has contradicted nothing for a week, nothing is
    settled. ``collected_on`` is the day of the last reading that was stored.
    ``loaded_on`` is the day of the first load. ``version`` grows with every change.
    Days are days in Seoul.
    """

    covered_from: date | None = None
    wanted_from: date | None = None
    loaded_on: date | None = None
    settled_through: date | None = None
    oldest: date | None = None
    newest: datetime | None = None
    end_seen_on: date | None = None
    history_exhausted: bool = False
    unproven_on: date | None = None
    unproven_ratio: float | None = None
    collected_on: date | None = None
    ended: bool = False
    version: int = 0


@dataclass(frozen=True, slots=True)
class Coverage:
    """What has been read of a series: from which day on, and through which finally.

    ``covered_from`` is None for one that was never loaded. ``ended`` says that the
    broker has nothing of it any more.
    """

    covered_from: date | None = None
    settled_through: date | None = None
    ended: bool = False


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One attempt at one task: its request, and the series as it was at the start.

    While an attempt lasts, no other works on the same series; ``owner`` is how the
    ledger knows it. ``listed`` is False only for a stock known to be delisted,
    ``halted`` says that its trading is suspended, ``listed_on`` since when it may have
    candles. ``known_from`` is the earliest day on which the stock is known to have
    existed, by its listing or by the candles of another timeframe; ``moved_on`` the
    day on which its latest known corporate action was in effect. ``requests`` counts
    what was sent to the broker so far; ``chains`` are the pages that earlier attempts
    at the task have left.
    """

    request: CollectRequest
    owner: str
    series: Series
    listed: bool
    halted: bool = False
    listed_on: date | None = None
    known_from: date | None = None
    moved_on: date | None = None
    requests: int = 0
    chains: tuple[PageChain, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceMove:
    """The broker moved all older prices to another basis: a corporate action.

    Old prices times ``ratio`` are new prices. It took effect after ``after`` and not
    later than ``effective_by``, both sessions; ``evidence`` (JSON) is what proved it.
    """

    ratio: Fraction
    after: date
    effective_by: date
    evidence: str


@dataclass(frozen=True, slots=True)
class Period:
    """A stretch of time, from ``first`` (included) to ``beyond`` (not included)."""

    first: datetime
    beyond: datetime

    def __contains__(self, instant: datetime) -> bool:
        """Whether ``instant`` lies in it."""
        return self.first <= instant < self.beyond


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectedSeries:
    """The result of one attempt, to be stored in one transaction.

    ``candles`` are in ascending order, one for each instant; ``series`` is what the
    series will be once they are stored. Inside the ``complete`` periods the candles
    are all that the broker has, except for the ``unreadable`` slots, whose rows were
    refused: what else we have there is withdrawn. ``absent`` slots are those where
    the broker is proven to have no candle. In the ``forgotten`` period, absences that
    were known so far are forgotten first. ``expected`` are the slots that must have a
    candle, or be known as absent, once all this is stored.

    With a ``move``, candles older than all that were served are multiplied by its
    ratio; ``outliers`` are the candles that the move does not explain. ``calendar``
    is the version of the calendar that all this was planned with, ``read_at`` when.
    Through ``asked_through``, all that the broker had was asked for; None proves no
    more than was known before.
    ``first_without_trades`` says that a listed stock was found without a single trade
    in all that the broker keeps, and for the first time.
    """

    series: Series
    calendar: int
    read_at: datetime
    asked_through: datetime | None = None
    candles: tuple[Candle, ...] = ()
    rejected: tuple[RejectedRow, ...] = ()
    complete: tuple[Period, ...] = ()
    unreadable: frozenset[datetime] = frozenset()
    absent: tuple[datetime, ...] = ()
    forgotten: Period | None = None
    expected: tuple[datetime, ...] = ()
    move: PriceMove | None = None
    outliers: frozenset[datetime] = frozenset()
    no_data: bool = False
    first_without_trades: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteCounts:
    """What storing did to candles, counted by the statements that did it.

    ``revised`` candles were settled and differ now; ``withdrawn`` ones are no longer
    served by the broker; ``rescaled`` ones were moved to a new price basis by us.
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    revised: int = 0
    withdrawn: int = 0
    rescaled: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """A run that follows from another: requests that are yet to be published."""

    run_id: str
    messages: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What became of a collected series: ``state`` is that of its task now.

    ``missing`` are the slots that should have a candle and have none, in ascending
    order: with any of them, the task is incomplete.
    """

    state: str
    counts: WriteCounts = WriteCounts()
    missing: tuple[datetime, ...] = ()
    follow_up: FollowUp | None = None


def task_state(collected: CollectedSeries, missing: tuple[datetime, ...]) -> str:
    """A task is done only if all that it answers for is there, or explained."""
    if collected.no_data:
        return "no_data"
    return "incomplete" if missing else "done"
