"""What is known of one stock in one timeframe, and what a task makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date, datetime

    from shared.candles import Candle, RejectedRow
    from shared.messages import CollectRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What we have asked for so far, of one stock in one timeframe.

    Everything from ``covered_from`` on was asked for: where a candle is missing, the
    broker had none. Up to ``settled_through`` the candles are final. ``oldest`` is
    the day of the oldest candle, ``joint`` that of the newest settled one: there, the
    new candles are joined to ours. ``history_exhausted`` says that the broker has
    nothing before ``covered_from``; ``ended``, that the stock is gone from the
    exchange and the broker has nothing at all any more. ``version`` grows with every
    change. Days are days in Seoul.
    """

    covered_from: date | None = None
    settled_through: date | None = None
    oldest: date | None = None
    joint: date | None = None
    history_exhausted: bool = False
    ended: bool = False
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedPage:
    """A page that an attempt read before it failed: it is not asked for again.

    ``read_at`` is when the attempt began, ``cursor`` where the next page begins.
    """

    anchor: date
    cursor: str
    oldest: datetime
    read_at: datetime
    candles: tuple[Candle, ...]
    rejected: tuple[RejectedRow, ...]


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One try at one task: its request, and the series as it was at the start.

    While an attempt lasts, no other works at the same series; ``owner`` is how the
    ledger knows it. ``listed`` is False only for a stock known to be delisted.
    ``requests`` counts what was sent to the broker so far, ``staged`` are the pages
    that earlier attempts at the task have left.
    """

    request: CollectRequest
    owner: str
    series: Series
    listed: bool
    requests: int = 0
    staged: tuple[StagedPage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebase:
    """The broker moved a whole series to another price basis: a corporate action.

    Old prices times ``ratio`` are new prices. It took effect after ``after`` and not
    later than ``effective_by``, both sessions; ``evidence`` is what proved it.
    """

    ratio: float
    after: date
    effective_by: date
    evidence: str
    found_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Harvest:
    """What an attempt brings home, to be stored in one transaction.

    ``candles`` are in ascending order, one for each instant; ``series`` is what the
    series will be once they are stored. With a ``rebase`` the candles are the whole
    series, and what is older than they are is multiplied by its ratio. ``absent``
    slots were asked for again and the broker has no candle there.
    """

    candles: tuple[Candle, ...]
    rejected: tuple[RejectedRow, ...]
    series: Series
    no_data: bool = False
    rebase: Rebase | None = None
    absent: tuple[datetime, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """A run that follows from another: requests that are yet to be published."""

    run_id: str
    messages: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What storing did, counted by the statement that did it.

    ``rescaled`` candles were moved to a new price basis by us. ``follow_up`` is the
    run that looks at the stock's other timeframes then.
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    rescaled: int = 0
    follow_up: FollowUp | None = None

    def as_log(self) -> dict[str, int]:
        """The numbers, for the canonical line of the log."""
        return {
            "inserted": self.inserted,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "rejected": self.rejected,
            "rescaled": self.rescaled,
        }
