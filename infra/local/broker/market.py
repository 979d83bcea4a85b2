"""A simulated market, reproducible from its seed.

A stock is generated from the top down: days first, then a five-minute path through
each day that meets its open, high, low and close exactly and sums to its volume. The
longer timeframes are sums of the shorter ones, so all five agree at any moment.

Here is what was traded; what the broker shows of it is in ``views``.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from infra.local.broker.bars import NOTHING, Bars, joined
from infra.local.broker.days import seeded
from shared.sessions import (
    AFTER_CLOSES,
    AFTER_MARKET_SINCE,
    DAY,
    KST,
    Calendar,
    MarketSession,
    kst_date,
    midnight,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from infra.local.broker.bars import Array
    from infra.local.broker.days import Days, DaySource

FIVE_MINUTES = timedelta(minutes=5)
BAR_SECONDS = 300
# The broker keeps about a year of minutes.
MINUTE_RETENTION = timedelta(days=366)
# Orders for the closing auction are gathered for ten minutes: no trades, no candles.
AUCTION_CALL = timedelta(minutes=10)
# How the volume of a day is spread: the auction is large, the candle after it tiny.
AUCTION_WEIGHT, LATE_WEIGHT = 4.0, 0.01
AFTER_SLOTS = 48
# The small candle after the auction, and the final volume of the day, arrive after the
# midnight that ends the day; counted from the midnight that begins it.
LATE = timedelta(days=1, minutes=5)
LONGEST_MONTH = 31


class Market:
    """The bars of every stock as they were traded up to some moment."""

    def __init__(
        self,
        source: DaySource,
        calendar: Calendar,
        *,
        seed: int,
        retention: timedelta = MINUTE_RETENTION,
        thin: Mapping[str, float] | None = None,
    ) -> None:
        """Make five-minute paths through the days of ``source``.

        Minutes are kept for the ``retention``. In the stocks in ``thin`` only that
        share of the five-minute slots has trades.
        """
        self._calendar = calendar
        self._seed = seed
        self._retention = retention
        self._thin = thin or {}
        self._days = lru_cache(maxsize=256)(source.days)
        self._settled = lru_cache(maxsize=256)(self._make_settled)
        self._month = lru_cache(maxsize=600)(self._make_month)

    def knows(self, stock_code: str) -> bool:
        """Whether there is any day of the stock."""
        return self._days(stock_code) is not None

    def daily(self, stock_code: str, last: date, now: datetime) -> Bars:
        """Days up to ``last``; one without its last changes is what was seen so far."""
        final = _final(now)
        settled = self._settled(stock_code, final)
        days = [settled.before(midnight(min(last, final) + DAY))]
        day = final + DAY
        while day <= min(last, kst_date(now)):
            days.append(self._forming_day(stock_code, day, settled, now))
            day += DAY
        return joined(days)

    def months(self, last: date, now: datetime) -> Iterator[date]:
        """Yield the months with minutes by their first day, newest first."""
        month = min(last, kst_date(now)).replace(day=1)
        while month > self._floor(now) - DAY * LONGEST_MONTH:
            yield month
            month = (month - DAY).replace(day=1)

    def minutes(self, stock_code: str, month: date, last: date, now: datetime) -> Bars:
        """The five-minute bars of one month up to ``last``."""
        bars = self._month(stock_code, month.year, month.month)
        bars = self._visible(bars, now).before(midnight(last + DAY))
        floor = int(midnight(self._floor(now)).timestamp())
        return bars[int(np.searchsorted(bars.opened, floor)) :]

    def _floor(self, now: datetime) -> date:
        """The oldest day of which there are minutes."""
        return kst_date(now) - self._retention + DAY

    def _forming_day(
        self, stock_code: str, day: date, settled: Bars, now: datetime
    ) -> Bars:
        """A day so far, nothing before the first trade; a halted stock stands still."""
        bars = self._month(stock_code, day.year, day.month)
        bars = self._visible(bars, now).before(midnight(day + DAY))
        begin = int(midnight(day).timestamp())
        bars = bars[int(np.searchsorted(bars.opened, begin)) :]
        if len(bars):
            formed = bars.grouped(np.zeros(len(bars), dtype=np.int64))
            return replace(formed, opened=np.array([begin], dtype=np.int64))
        at = int(np.searchsorted(settled.opened, begin))
        there = at < len(settled) and settled.opened[at] == begin
        session = self._calendar.session_on(day)
        if there and not settled.volume[at] and session and now >= session.opens_at:
            return settled[at : at + 1]
        return NOTHING

    def _visible(self, bars: Bars, now: datetime) -> Bars:
        """Those that have begun by ``now``; the last of them may still be forming."""
        begun = bars.before(now + timedelta(seconds=1))
        day = _final(now) + DAY
        while day <= kst_date(now):
            session = self._calendar.session_on(day)
            if session:
                late = int((session.closes_at + FIVE_MINUTES).timestamp())
                begun = begun[begun.opened != late]
            day += DAY
        if not len(begun) or now.timestamp() >= begun.opened[-1] + BAR_SECONDS:
            return begun
        return joined([begun[:-1], _forming(begun[-1:], now)])

    def _make_settled(self, stock_code: str, last: date) -> Bars:
        """Days as they are reported once they are over, which they are by ``last``."""
        days = self._days(stock_code)
        if days is None or not days.dates:
            return NOTHING
        turnover = days.volumes * ((days.highs + days.lows + 2 * days.closes) // 4)
        opened = np.array([int(midnight(day).timestamp()) for day in days.dates])
        before = np.concatenate((days.opens[:1], days.closes[:-1]))
        highs, lows, closes = days.highs.copy(), days.lows.copy(), days.closes.copy()
        volumes = days.volumes.copy()
        for at, day in enumerate(days.dates):
            if day < AFTER_MARKET_SINCE or day > last or not volumes[at]:
                continue
            prices, lots = self._after(stock_code, day, int(closes[at]))
            highs[at] = max(highs[at], prices.max())
            lows[at] = min(lows[at], prices.min())
            closes[at] = prices[-1]
            volumes[at] += lots.sum()
            turnover[at] += (prices[1:] * lots).sum()
        return Bars(
            opened, days.opens, highs, lows, closes, volumes, turnover, volumes, before
        )

    def _make_month(self, stock_code: str, year: int, month: int) -> Bars:
        """The five-minute bars of one month, after-market included."""
        days = self._days(stock_code)
        if days is None:
            return NOTHING
        first = date(year, month, 1)
        following = (first + DAY * LONGEST_MONTH).replace(day=1)
        begin, end = bisect_left(days.dates, first), bisect_left(days.dates, following)
        parts = [
            self._make_day(stock_code, days, at)
            for at in range(begin, end)
            if days.volumes[at]
        ]
        return joined(parts) if parts else NOTHING

    def _make_day(self, stock_code: str, days: Days, at: int) -> Bars:
        day = days.dates[at]
        session = self._calendar.session_on(day) or MarketSession.regular(day)
        random = seeded(self._seed, stock_code, day)
        slots = (session.closes_at - AUCTION_CALL - session.opens_at) // FIVE_MINUTES
        o, h, l, c, volume = (  # noqa: E741 - the usual five
            int(column[at])
            for column in (days.opens, days.highs, days.lows, days.closes, days.volumes)
        )
        prices = _bridge(random, o, c, l, h, slots)
        highs = np.maximum(prices[:-1], prices[1:])
        lows = np.minimum(prices[:-1], prices[1:])
        top, bottom = random.integers(slots), random.integers(slots)
        highs[top], lows[bottom] = h, l
        after, lots = self._after(stock_code, day, c)
        # The closing auction, and the small flat candle that follows it.
        flat = np.array([c, c])
        closes = np.concatenate((prices[1:], flat, after[1:]))
        opens = np.concatenate((prices[:-1], flat, after[:-1]))
        highs = np.concatenate((highs, flat, np.maximum(after[1:], after[:-1])))
        lows = np.concatenate((lows, flat, np.minimum(after[1:], after[:-1])))
        traded = np.ones(slots + 2, dtype=bool)
        if stock_code in self._thin:
            traded = random.random(slots + 2) < self._thin[stock_code]
            for slot in (0, int(top), int(bottom), slots - 1, slots):
                traded[slot] = True
        shares = np.concatenate((_split(random, volume, traded), lots))
        opened = np.concatenate(
            (
                int(session.opens_at.timestamp()) + BAR_SECONDS * np.arange(slots),
                int(session.closes_at.timestamp()) + BAR_SECONDS * np.arange(2),
                int(_after_opens(session).timestamp())
                + BAR_SECONDS * np.arange(len(lots)),
            )
        )
        bars = Bars(
            opened,
            opens,
            highs,
            lows,
            closes,
            shares,
            shares * ((highs + lows + 2 * closes) // 4),
            np.cumsum(shares),
            np.full(len(opened), o),
        )
        return bars[shares > 0]

    def _after(self, stock_code: str, day: date, close: int) -> tuple[Array, Array]:
        """The after-market's prices, from the close on, and one lot for each step."""
        if day < AFTER_MARKET_SINCE:
            return np.array([close]), np.empty(0, dtype=np.int64)
        session = self._calendar.session_on(day) or MarketSession.regular(day)
        ends = datetime.combine(day, AFTER_CLOSES, KST)
        slots = min(AFTER_SLOTS, (ends - _after_opens(session)) // FIVE_MINUTES)
        random = seeded(self._seed, stock_code, day, "after-market")
        reach = max(1, close // 200)
        end = max(1, close + int(random.integers(-reach, reach + 1)))
        prices = _bridge(
            random, close, end, max(1, close - reach), close + reach, slots
        )
        return prices, random.integers(1, 900, slots)


def _after_opens(session: MarketSession) -> datetime:
    """Half an hour after the auction, also on days that close late."""
    return session.closes_at + FIVE_MINUTES * 6


def _forming(bar: Bars, now: datetime) -> Bars:
    """What can be seen of a bar before it is complete."""
    share = (now.timestamp() - bar.opened) / BAR_SECONDS
    close = np.rint(bar.open + (bar.close - bar.open) * share).astype(np.int64)
    if share[0] > 0.5:  # noqa: PLR2004 - half of it is over
        high, low = bar.high, bar.low
    else:
        high, low = np.maximum(bar.open, close), np.minimum(bar.open, close)
    volume = np.maximum(1, (bar.volume * share).astype(np.int64))
    return replace(
        bar,
        high=high,
        low=low,
        close=close,
        volume=volume,
        turnover=volume * ((high + low + 2 * close) // 4),
        total=bar.total - bar.volume + volume,
    )


def _bridge(
    random: np.random.Generator, start: int, end: int, low: int, high: int, steps: int
) -> Array:
    """``steps`` + 1 prices from ``start`` to ``end`` between ``low`` and ``high``."""
    line = np.linspace(0.0, 1.0, steps + 1)
    walk = np.zeros(steps + 1)
    np.cumsum(random.standard_normal(steps), out=walk[1:])
    walk -= line * walk[-1]
    swing = max(float(walk.max()), -float(walk.min()), 1e-9)
    prices = np.rint(start + line * (end - start) + walk * ((high - low) / 2 / swing))
    bounded = np.minimum(np.maximum(prices, low), high).astype(np.int64)
    bounded[0], bounded[-1] = start, end
    return bounded


def _split(random: np.random.Generator, volume: int, traded: Array) -> Array:
    """``volume`` shares in lots, one for each slot, none where nothing was traded."""
    weights = 0.4 + 1.2 * random.random(len(traded))
    weights[-2:] = AUCTION_WEIGHT, LATE_WEIGHT
    edges = np.cumsum(weights * traded)
    bounds = np.zeros(len(traded) + 1, dtype=np.int64)
    bounds[1:] = edges * (volume / edges[-1])
    bounds[-1] = volume
    return np.diff(bounds)


def _final(now: datetime) -> date:
    """The newest day whose last changes have arrived by ``now``."""
    return kst_date(now - LATE)
