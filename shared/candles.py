"""Candles: what is collected, and the timeframes it is collected in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


class Timeframe(StrEnum):
    """The span of time one candle stands for."""

    MINUTE_5 = "5m"
    MINUTE_30 = "30m"
    MINUTE_60 = "60m"
    DAY_1 = "1d"
    WEEK_1 = "1w"

    @property
    def minutes(self) -> int | None:
        """Length in minutes of an intraday timeframe; None for days and weeks."""
        return _MINUTES.get(self)


_MINUTES = {Timeframe.MINUTE_5: 5, Timeframe.MINUTE_30: 30, Timeframe.MINUTE_60: 60}


class CandleSession(StrEnum):
    """Which part of the trading day a candle belongs to.

    Daily and weekly candles are ``REGULAR``; their values include the after-market
    from 2026-09-14 on, as the broker reports them.
    """

    REGULAR = "regular"
    AFTER = "after"


# What a bigint of the database holds.
LARGEST_INTEGER = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle:
    """One candle of one stock; ``(stock_code, timeframe, opened_at)`` is its key.

    Prices are adjusted KRW a share. ``opened_at`` is the aware instant the candle
    opens: for minutes the start of the bar, for days and weeks midnight in Seoul of
    the (first) trading day. ``turnover`` is in KRW, None where the broker gives none.

    Raises:
        ValueError: If the values contradict each other; the text is the reason.
    """

    stock_code: str
    timeframe: Timeframe
    opened_at: datetime
    open: int
    high: int
    low: int
    close: int
    volume: int
    turnover: int | None = None
    session: CandleSession = CandleSession.REGULAR

    def __post_init__(self) -> None:
        """Refuse what cannot have happened on a market."""
        if self.opened_at.tzinfo is None:
            message = "opened_at has no time zone"
            raise ValueError(message)
        prices = (self.open, self.high, self.low, self.close)
        if max(*prices, self.volume, self.turnover or 0) > LARGEST_INTEGER:
            message = "a value does not fit 64 bits"
            raise ValueError(message)
        if self.low <= 0:
            message = f"low {self.low} is not a price"
            raise ValueError(message)
        if not self.low <= self.open <= self.high:
            message = f"open {self.open} outside {self.low}..{self.high}"
            raise ValueError(message)
        if not self.low <= self.close <= self.high:
            message = f"close {self.close} outside {self.low}..{self.high}"
            raise ValueError(message)
        if self.volume < 0:
            message = f"volume {self.volume} is negative"
            raise ValueError(message)
        if self.turnover is not None and self.turnover < 0:
            message = f"turnover {self.turnover} is negative"
            raise ValueError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedRow:
    """A row of the broker that is no candle: quarantined with its reason.

    ``raw`` is the row as the broker sent it, as JSON text. ``opened_at`` is where its
    candle would open, None if the row does not tell. A ``spoilt`` row may come right
    when it is requested again; one that has no place in the calendar will not.
    """

    reason: str
    raw: str
    opened_at: datetime | None = None
    spoilt: bool = True
