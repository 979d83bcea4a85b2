"""A market that never was: prices from a seed, the same at every start.

A stock is generated from the top down: days first, then a five-minute path through
each day that meets its open, high, low and close exactly and sums to its volume. The
longer timeframes are sums of the shorter ones, so all five agree at any moment.
"""

from __future__ import annotations

import csv
import gzip
from bisect import bisect_left
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from shared.sessions import (
    AFTER_CLOSES,
    AFTER_MARKET_SINCE,
    DAY,
    KST,
    SATURDAY,
    Calendar,
    MarketSession,
    kst_date,
    midnight,
)

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence
    from pathlib import Path

FIRST_DAY = date(2012, 1, 2)
LAST_DAY = date(2031, 1, 1)
FIVE_MINUTES = timedelta(minutes=5)
BAR_SECONDS = 300
# The broker keeps about a year of minutes.
MINUTE_RETENTION = timedelta(days=366)
# Orders for the closing auction are gathered for ten minutes: no trades, no candles.
AUCTION_CALL = timedelta(minutes=10)
# How the volume of a day is spread: the auction is large, the candle after it tiny.
AUCTION_WEIGHT, LATE_WEIGHT = 4.0, 0.01
AFTER_SLOTS = 48
# The small candle after the auction is not there at once.
LATE_CANDLE_SEEN = time(20, 15)
LONGEST_MONTH = 31

Array = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Bars:
    """Candles as the market has them, in ascending order; prices are raw KRW.

    ``opened`` is in seconds since 1970. ``total`` is the day's volume up to and with
    the bar, ``reference`` the price against which it is coloured.
    """

    opened: Array
    open: Array
    high: Array
    low: Array
    close: Array
    volume: Array
    turnover: Array
    total: Array
    reference: Array

    def __len__(self) -> int:
        """How many there are."""
        return len(self.opened)

    def __getitem__(self, which: slice | np.ndarray[Any, Any]) -> Bars:
        """Some of them."""
        return Bars(*(column[which] for column in self.columns()))

    def columns(self) -> Iterator[Array]:
        """The columns, in the order of the fields."""
        return (getattr(self, field.name) for field in fields(self))

    def before(self, instant: datetime) -> Bars:
        """Those that opened before ``instant``."""
        end = int(np.searchsorted(self.opened, int(instant.timestamp())))
        return self[:end]

    def grouped(self, keys: Array) -> Bars:
        """Joined where ``keys`` are the same; a group opens with its first bar."""
        if not len(self):
            return self
        starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
        ends = np.r_[starts[1:], len(self)] - 1
        return Bars(
            self.opened[starts],
            self.open[starts],
            np.maximum.reduceat(self.high, starts),
            np.minimum.reduceat(self.low, starts),
            self.close[ends],
            np.add.reduceat(self.volume, starts),
            np.add.reduceat(self.turnover, starts),
            self.total[ends],
            self.reference[starts],
        )


def joined(parts: Sequence[Bars]) -> Bars:
    """Parts in ascending order as one."""
    columns = zip(*(part.columns() for part in parts), strict=True)
    return Bars(*(np.concatenate(column) for column in columns))


NOTHING = Bars(*(np.empty(0, dtype=np.int64) for _ in fields(Bars)))


@dataclass(frozen=True, slots=True)
class CorporateAction:
    """From ``effective_on`` on, one old share is ``ratio`` new ones."""

    effective_on: date
    ratio: float


@dataclass(frozen=True, slots=True)
class Days:
    """All days of one stock, oldest first; the regular session's values only.

    A day with volume 0 is one on which trading was halted.
    """

    dates: list[date]
    opens: Array
    highs: Array
    lows: Array
    closes: Array
    volumes: Array


class DaySource(Protocol):
    """Where the days of a stock come from."""

    def days(self, stock_code: str) -> Days | None:
        """The stock's days, None for a stock that this source does not know."""


def seeded(*parts: object) -> np.random.Generator:
    """A random generator that depends on ``parts`` and on nothing else."""
    digest = sha256("/".join(map(str, parts)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "big")))


class GeneratedDays:
    """Days made up from a seed.

    They are drawn for every weekday until a day far ahead, and picked by the calendar:
    neither the present moment nor a holiday declared later changes any other day.
    """

    def __init__(
        self,
        seed: int,
        calendar: Calendar,
        stock_codes: Container[str],
        halts: dict[str, tuple[date, date]],
    ) -> None:
        """Halt trading of the stocks in ``halts`` from the first to the last day."""
        self._seed = seed
        self._stock_codes = stock_codes
        self._halts = halts
        every_day = (FIRST_DAY + DAY * n for n in range((LAST_DAY - FIRST_DAY).days))
        weekdays = [day for day in every_day if day.weekday() < SATURDAY]
        self._drawn = len(weekdays)
        self._picked = [
            at
            for at, day in enumerate(weekdays)
            if calendar.knows(day) and calendar.has_session(day)
        ]
        self._dates = [weekdays[at] for at in self._picked]

    def days(self, stock_code: str) -> Days | None:
        """A random walk that neither vanishes nor explodes."""
        if stock_code not in self._stock_codes:
            return None
        random = seeded(self._seed, stock_code, "days")
        level = np.exp(random.uniform(np.log(4_000), np.log(400_000)))
        walk = np.cumsum(random.normal(0, 0.018, self._drawn))
        gaps = random.normal(0, 0.006, self._drawn)[self._picked]
        reach = np.abs(random.normal(0, 0.008, (2, self._drawn)))[:, self._picked]
        lots = np.exp(random.normal(12.5, 0.5, self._drawn))[self._picked]
        # Pulled back towards its level, so that decades do not carry it away.
        walk -= np.linspace(0, walk[-1], self._drawn)
        walk = np.clip(walk[self._picked], -1.5, 1.5)
        closes = np.rint(level * np.exp(walk)).astype(np.int64)
        before = np.concatenate(([closes[0]], closes[:-1]))
        opens = np.rint(before * (1 + gaps)).astype(np.int64)
        top, bottom = np.maximum(opens, closes), np.minimum(opens, closes)
        highs = np.rint(top * (1 + reach[0])).astype(np.int64)
        lows = np.rint(bottom * (1 - reach[1])).astype(np.int64)
        volumes = np.maximum(lots * 40_000 / level**0.5, 2_000).astype(np.int64)
        for at in self._halted(stock_code):
            closes[at] = opens[at] = highs[at] = lows[at] = closes[at - 1]
            volumes[at] = 0
        return Days(self._dates, opens, highs, lows, closes, volumes)

    def _halted(self, stock_code: str) -> list[int]:
        first, last = self._halts.get(stock_code, (date.max, date.min))
        return [at for at, day in enumerate(self._dates) if first <= day <= last]


class RecordedDays:
    """Real days, read from ``krx_*.csv.gz`` in a folder."""

    def __init__(self, folder: Path) -> None:
        """Read every file of ``folder``.

        Columns: date, code, …, open, high, low, close, volume; a day without open,
        high and low is one on which trading was halted.
        """
        rows: dict[str, dict[date, tuple[int, ...]]] = {}
        for path in sorted(folder.glob("krx_*.csv.gz")):
            with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    names = ("open", "high", "low", "close", "volume")
                    o, h, l, c, v = (int(row[name]) for name in names)  # noqa: E741
                    values = (o, h, l, c, v) if o and h and l else (c, c, c, c, 0)
                    day = date.fromisoformat(row["date"])
                    rows.setdefault(row["code"], {})[day] = values
        if not rows:
            message = f"no krx_*.csv.gz in {folder}"
            raise FileNotFoundError(message)
        self._rows = rows

    def days(self, stock_code: str) -> Days | None:
        """The recorded days of the stock."""
        by_date = self._rows.get(stock_code)
        if by_date is None:
            return None
        dates = sorted(by_date)
        table = np.array([by_date[day] for day in dates], dtype=np.int64)
        return Days(dates, *(table[:, column] for column in range(5)))


class Market:
    """The bars of every stock as they can be seen at some moment."""

    def __init__(
        self,
        source: DaySource,
        calendar: Calendar,
        *,
        seed: int,
        actions: dict[str, list[CorporateAction]] | None = None,
    ) -> None:
        """Make five-minute paths through the days of ``source``."""
        self._calendar = calendar
        self._seed = seed
        self.actions = actions if actions is not None else {}
        self._days = lru_cache(maxsize=256)(source.days)
        self._settled = lru_cache(maxsize=256)(self._make_settled)
        self._month = lru_cache(maxsize=600)(self._make_month)

    def knows(self, stock_code: str) -> bool:
        """Whether there is any day of the stock."""
        return self._days(stock_code) is not None

    def daily(self, stock_code: str, last: date, now: datetime) -> Bars:
        """Days up to ``last``; today is what was traded so far."""
        today = kst_date(now)
        finished = now.astimezone(KST).time() >= LATE_CANDLE_SEEN
        settled = self._settled(stock_code, today)
        if last < today or finished:
            return settled.before(midnight(min(last, today) + DAY))
        days = settled.before(midnight(today))
        return joined([days, self._forming_day(stock_code, settled, now)])

    def weekly(self, stock_code: str, last: date, now: datetime) -> Bars:
        """Weeks; the last one ends with ``last``, in the middle of its week."""
        days = self.daily(stock_code, last, now)
        # 1970-01-01 was a Thursday; weeks begin with Monday, in Seoul.
        return days.grouped((days.opened + 9 * 3600 + 3 * 86_400) // (7 * 86_400))

    def minutes(
        self, stock_code: str, minutes: int, last: date, now: datetime
    ) -> Iterator[Bars]:
        """Yield the bars of one month after another, newest month first."""
        if self._days(stock_code) is None:
            return
        today = kst_date(now)
        day, floor = min(last, today), midnight(today - MINUTE_RETENTION + DAY)
        while day > kst_date(floor) - DAY * LONGEST_MONTH:
            bars = self._month(stock_code, day.year, day.month)
            bars = _visible(bars, self._calendar, now).before(midnight(day + DAY))
            bars = bars[int(np.searchsorted(bars.opened, int(floor.timestamp()))) :]
            if len(bars):
                yield bars.grouped((bars.opened + 9 * 3600) // (60 * minutes))
            day = day.replace(day=1) - DAY

    def _forming_day(self, stock_code: str, settled: Bars, now: datetime) -> Bars:
        """Today so far, nothing before the first trade; a halted stock stands still."""
        today = kst_date(now)
        bars = self._month(stock_code, today.year, today.month)
        bars = _visible(bars, self._calendar, now).before(midnight(today + DAY))
        begin = int(midnight(today).timestamp())
        bars = bars[int(np.searchsorted(bars.opened, begin)) :]
        if len(bars):
            day = bars.grouped(np.zeros(len(bars), dtype=np.int64))
            return replace(day, opened=np.array([begin], dtype=np.int64))
        at = int(np.searchsorted(settled.opened, begin))
        there = at < len(settled) and settled.opened[at] == begin
        session = self._calendar.session_on(today)
        if there and not settled.volume[at] and session and now >= session.opens_at:
            return settled[at : at + 1]
        return NOTHING

    def _make_settled(self, stock_code: str, last: date) -> Bars:
        """Days up to ``last`` as they are reported once they are over."""
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
        highs[random.integers(slots)] = h
        lows[random.integers(slots)] = l
        after, lots = self._after(stock_code, day, c)
        # The closing auction, and the small flat candle that follows it.
        flat = np.array([c, c])
        closes = np.concatenate((prices[1:], flat, after[1:]))
        opens = np.concatenate((prices[:-1], flat, after[:-1]))
        highs = np.concatenate((highs, flat, np.maximum(after[1:], after[:-1])))
        lows = np.concatenate((lows, flat, np.minimum(after[1:], after[:-1])))
        shares = np.concatenate((_split(random, volume, slots + 2), lots))
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
    """Half an hour after the auction; nobody knows better for days that close late."""
    return session.closes_at + FIVE_MINUTES * 6


def _visible(bars: Bars, calendar: Calendar, now: datetime) -> Bars:
    """Those that have begun by ``now``; the last of them may still be forming."""
    begun = bars.before(now + timedelta(seconds=1))
    local = now.astimezone(KST)
    session = calendar.session_on(local.date())
    if session and local.time() < LATE_CANDLE_SEEN:
        late = int((session.closes_at + FIVE_MINUTES).timestamp())
        begun = begun[begun.opened != late]
    if not len(begun) or now.timestamp() >= begun.opened[-1] + BAR_SECONDS:
        return begun
    return joined([begun[:-1], _forming(begun[-1:], now)])


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


def _split(random: np.random.Generator, volume: int, parts: int) -> Array:
    """``volume`` shares in ``parts`` lots."""
    weights = 0.4 + 1.2 * random.random(parts)
    weights[-2:] = AUCTION_WEIGHT, LATE_WEIGHT
    edges = np.cumsum(weights)
    bounds = np.zeros(parts + 1, dtype=np.int64)
    bounds[1:] = edges * (volume / edges[-1])
    bounds[-1] = volume
    return np.diff(bounds)
