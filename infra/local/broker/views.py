"""What the broker shows of the market at an instant, and what it changes afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from infra.local.broker.bars import NOTHING, Bars, joined
from shared.sessions import DAY, KST, midnight, week_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from infra.local.broker.bars import Array
    from infra.local.broker.market import Market

MINUTES = {"5m": 5, "30m": 30, "60m": 60}
PRICES = ("open", "high", "low", "close")
SEOUL_SECONDS, DAY_SECONDS, WEEK_SECONDS = 9 * 3600, 86_400, 7 * 86_400
# 1970-01-01 was a Thursday, weeks begin on Monday.
THURSDAY_SECONDS = 3 * 86_400
ALWAYS = datetime(1970, 1, 1, tzinfo=KST)


@dataclass(frozen=True, slots=True)
class CorporateAction:
    """From ``effective_on`` on, one old share is ``ratio`` new ones.

    The broker adjusts the candles of a timeframe from ``shown_from`` on, or at once.
    Until ``rest_from`` only the last ``recent_days`` before the action are adjusted.
    """

    effective_on: date
    ratio: float
    shown_from: Mapping[str, datetime] = field(default_factory=dict)
    recent_days: int = 0
    rest_from: datetime | None = None

    def adjusts(
        self, opened: Array, timeframe: str, base: date, now: datetime
    ) -> Array:
        """Which bars are in new shares, among those of prices relative to ``base``."""
        begin = midnight(self.effective_on).timestamp()
        if base < self.effective_on or now < self.shown_from.get(timeframe, ALWAYS):
            return opened >= begin
        if self.rest_from and now < self.rest_from:
            return opened >= begin - self.recent_days * DAY_SECONDS
        return np.ones(len(opened), dtype=bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """Something that the broker shows from ``since`` on, until ``until``."""

    stock_code: str
    since: datetime | None = None
    until: datetime | None = None

    def holds(self, now: datetime) -> bool:
        """Whether it is shown at ``now``."""
        begun = self.since is None or now >= self.since
        return begun and (self.until is None or now < self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class CandleEdit(Disclosure):
    """A disclosure about the candle of a timeframe that opens ``at`` an instant.

    What is said of a five-minute candle is also in those of 30 and 60 minutes, what is
    said of a day is also in its week, unless it is said ``alone``.
    """

    timeframe: str
    at: datetime
    alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction(CandleEdit):
    """Other values: ``changes`` are added to columns, in KRW and shares of that day."""

    changes: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal(CandleEdit):
    """No candle, or none from ``at`` ``through`` a later instant."""

    through: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Phantom(CandleEdit):
    """A candle of which the market knows nothing.

    It is flat, at ``price`` or at the close of the candle before it.
    """

    price: int | None = None
    volume: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RedatedWeek(Disclosure):
    """The week that ``week`` is in is dated ``shown_on``, not by its first session."""

    week: date
    shown_on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Delisting(Disclosure):
    """The stock is gone: no chart, and no entry in the stock list.

    After ``until`` it is listed again, with another date in the list if ``listed_on``
    is given, and without the candles before ``serves_from``.
    """

    listed_on: date | None = None
    serves_from: date | None = None

    def is_over(self, now: datetime) -> bool:
        """Whether the stock was listed again by ``now``."""
        return self.until is not None and now >= self.until


@dataclass(slots=True, kw_only=True)
class Disclosures:
    """All that the broker does to the market's candles, in the past and to come."""

    actions: dict[str, list[CorporateAction]] = field(default_factory=dict)
    corrections: list[Correction] = field(default_factory=list)
    withdrawals: list[Withdrawal] = field(default_factory=list)
    phantoms: list[Phantom] = field(default_factory=list)
    redated_weeks: list[RedatedWeek] = field(default_factory=list)
    delistings: list[Delisting] = field(default_factory=list)

    def is_delisted(self, stock_code: str, now: datetime) -> bool:
        """Whether the stock is off the exchange."""
        return bool(_holding(self.delistings, stock_code, now))


AnyDisclosure = TypeVar("AnyDisclosure", bound=Disclosure)
AnyEdit = TypeVar("AnyEdit", bound=CandleEdit)


def _holding(
    disclosures: Iterable[AnyDisclosure], stock_code: str, now: datetime
) -> list[AnyDisclosure]:
    return [d for d in disclosures if d.stock_code == stock_code and d.holds(now)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartView:
    """One chart of one stock at an instant.

    ``base`` is the newest day; adjusted prices are those of its shares, others those
    of each bar's own day.
    """

    market: Market
    disclosures: Disclosures
    stock_code: str
    timeframe: str
    base: date
    now: datetime
    adjusted: bool = True

    def newest(self, older_than: datetime | None, size: int) -> Bars:
        """The newest ``size`` bars before ``older_than``, and at least one more.

        Fewer only where there are no more.
        """
        if self.timeframe not in MINUTES:
            bars = self._shown(
                self.market.daily(self.stock_code, self.base, self.now), None
            )
            return bars.before(older_than) if older_than else bars
        last = min(self.base, older_than.date()) if older_than else self.base
        parts: list[Bars] = []
        for month in self.market.months(last, self.now):
            bars = self.market.minutes(self.stock_code, month, last, self.now)
            part = self._shown(bars, month)
            parts.insert(0, part.before(older_than) if older_than else part)
            if sum(map(len, parts)) > size:
                break
        return joined(parts) if parts else NOTHING

    def _shown(self, bars: Bars, month: date | None) -> Bars:
        """The market's bars as shown: in shares of ``base``, edited, then grouped."""
        for delisting in self.disclosures.delistings:
            ours = delisting.stock_code == self.stock_code
            if ours and delisting.is_over(self.now) and delisting.serves_from:
                begin = midnight(delisting.serves_from).timestamp()
                bars = bars[bars.opened >= begin]
        of = "5m" if self.timeframe in MINUTES else "1d"
        bars = self._edited(self._in_shares_of_base(bars), of, month)
        if self.timeframe == of:
            return bars
        seoul = bars.opened + SEOUL_SECONDS
        if self.timeframe in MINUTES:
            seconds = 60 * MINUTES[self.timeframe]
            bars = bars.grouped(seoul // seconds)
            # Dated by the grid, also where the first five minutes had no trades.
            on_grid = (bars.opened + SEOUL_SECONDS) // seconds * seconds
            bars = replace(bars, opened=on_grid - SEOUL_SECONDS)
        else:
            bars = bars.grouped((seoul + THURSDAY_SECONDS) // WEEK_SECONDS)
        return self._redated(self._edited(bars, self.timeframe, month))

    def _in_shares_of_base(self, bars: Bars) -> Bars:
        """The market's values, in its oldest shares, in those of ``base``.

        The volume of days and weeks goes with the price, that of minutes is never
        adjusted. Nothing is rounded yet.
        """
        if not self.disclosures.actions.get(self.stock_code):
            return bars
        own, ratio = self._shares(bars.opened)
        shares = own if self.timeframe in MINUTES else ratio
        prices = {name: getattr(bars, name) / ratio for name in (*PRICES, "reference")}
        volumes = {name: getattr(bars, name) * shares for name in ("volume", "total")}
        return replace(bars, **prices, **volumes)

    def _shares(self, opened: Array) -> tuple[Array, Array]:
        """How many new shares an oldest one is: on the bar's day, and as shown."""
        own, ratio = np.ones(len(opened)), np.ones(len(opened))
        for action in self.disclosures.actions.get(self.stock_code, []):
            begin = midnight(action.effective_on).timestamp()
            own[opened >= begin] *= action.ratio
            shown = action.adjusts(opened, self.timeframe, self.base, self.now)
            ratio[shown] *= action.ratio
        return own, ratio if self.adjusted else own

    def _edited(self, bars: Bars, timeframe: str, month: date | None) -> Bars:
        """Bars of whole KRW and shares, with what was said about this timeframe."""
        for withdrawal in self._edits(self.disclosures.withdrawals, timeframe):
            last = withdrawal.through or withdrawal.at
            gone = bars.opened >= withdrawal.at.timestamp()
            gone &= bars.opened <= last.timestamp()
            bars = bars[~gone]
        for phantom in self._edits(self.disclosures.phantoms, timeframe):
            in_month = month is None or phantom.at.date().replace(day=1) == month
            if in_month and phantom.at < midnight(self.base + DAY):
                bars = self._haunted(bars, phantom)
        corrections = self._edits(self.disclosures.corrections, timeframe)
        if corrections:
            bars = replace(
                bars, **{n: getattr(bars, n).astype(float) for n in (*PRICES, "volume")}
            )
        for correction in corrections:
            self._correct(bars, correction)
        return _whole(bars)

    def _edits(self, edits: Iterable[AnyEdit], timeframe: str) -> list[AnyEdit]:
        return [
            edit
            for edit in _holding(edits, self.stock_code, self.now)
            if edit.timeframe == timeframe
            and (timeframe == self.timeframe or not edit.alone)
        ]

    def _haunted(self, bars: Bars, phantom: Phantom) -> Bars:
        opened = np.array([int(phantom.at.timestamp())])
        at = int(np.searchsorted(bars.opened, opened[0]))
        if at < len(bars) and bars.opened[at] == opened[0]:
            return bars
        price = bars.close[at - 1 : at] if at else bars.open[:1]
        if phantom.price is not None:
            own, ratio = self._shares(opened)
            price = phantom.price * own / ratio
        if not len(price):
            return bars
        volume = np.array([phantom.volume])
        flat = Bars(
            opened, price, price, price, price, volume, volume * price, volume, price
        )
        return joined([bars[:at], flat, bars[at:]])

    def _correct(self, bars: Bars, correction: Correction) -> None:
        """Change the columns in place; a price beyond the range widens it."""
        at = np.flatnonzero(bars.opened == correction.at.timestamp())
        own, ratio = self._shares(bars.opened[at])
        for name, change in correction.changes.items():
            scale = own / ratio
            if name == "volume":
                scale = np.ones(len(at)) if self.timeframe in MINUTES else 1 / scale
            getattr(bars, name)[at] += change * scale
        prices = np.array([getattr(bars, name)[at] for name in PRICES])
        if len(at):
            bars.high[at], bars.low[at] = prices.max(axis=0), prices.min(axis=0)

    def _redated(self, bars: Bars) -> Bars:
        if self.timeframe != "1w":
            return bars
        opened = bars.opened.copy()
        redated = _holding(self.disclosures.redated_weeks, self.stock_code, self.now)
        for week in redated:
            monday, sunday = map(midnight, week_of(week.week))
            of_week = opened >= monday.timestamp()
            of_week &= opened < (sunday + timedelta(days=1)).timestamp()
            opened[of_week] = int(midnight(week.shown_on).timestamp())
        return replace(bars, opened=opened)


def _whole(bars: Bars) -> Bars:
    """Whole KRW and whole shares; a price never falls to nothing."""
    prices = {name: np.maximum(1, np.rint(getattr(bars, name))) for name in PRICES}
    others = {
        name: np.rint(getattr(bars, name))
        for name in ("volume", "turnover", "total", "reference")
    }
    columns = (prices | others).items()
    return replace(bars, **{name: column.astype(np.int64) for name, column in columns})
