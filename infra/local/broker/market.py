"""A market that never was: prices from a seed, the same at every start.

A stock is generated from the top down: days first, then a five-minute path through
each day that meets its open, high, low and close exactly and sums to its volume. The
longer timeframes are sums of the shorter ones, so all five agree at any moment.
"""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
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
)

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

FIRST_DAY = date(2012, 1, 2)
LAST_DAY = date(2031, 1, 1)
FIVE_MINUTES = timedelta(minutes=5)
# The broker keeps about a year of minutes.
MINUTE_RETENTION = timedelta(days=366)
# Orders for the closing auction are gathered for ten minutes: no trades, no candles.
AUCTION_CALL = timedelta(minutes=10)
AFTER_SLOTS = 48
# The small candle after the auction is not there at once.
LATE_CANDLE_SEEN = time(20, 15)

Array = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Bar:
    """One candle as the market has it: ``opened_at`` in Seoul, prices in raw KRW."""

    opened_at: datetime
    open: int
    high: int
    low: int
    close: int
    volume: int
    turnover: int

    @classmethod
    def joined(cls, opened_at: datetime, bars: Sequence[Bar]) -> Bar:
        """The bar that ``bars`` (in ascending order) make together."""
        return cls(
            opened_at,
            bars[0].open,
            max(bar.high for bar in bars),
            min(bar.low for bar in bars),
            bars[-1].close,
            sum(bar.volume for bar in bars),
            sum(bar.turnover for bar in bars),
        )


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
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8])))


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
        self._picked = [at for at, day in enumerate(weekdays) if calendar.session_on(day)]
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
        self._source = source
        self._calendar = calendar
        self._seed = seed
        self.actions = actions if actions is not None else {}
        self._days = lru_cache(maxsize=256)(source.days)
        self._settled_days = lru_cache(maxsize=256)(self._make_settled_days)
        self._paths = lru_cache(maxsize=3_000)(self._make_path)

    def knows(self, stock_code: str) -> bool:
        """Whether there is any day of the stock."""
        return self._days(stock_code) is not None

    def daily(self, stock_code: str, last: date, now: datetime) -> list[Bar]:
        """Daily bars up to ``last``, oldest first; today's is what was traded so far."""
        today = now.astimezone(KST).date()
        finished = self._settled_days(stock_code)
        count = self._count(stock_code, min(last, today - DAY))
        bars = finished[:count]
        if last >= today and (forming := self._today(stock_code, now)):
            bars = [*bars, forming]
        return bars

    def weekly(self, stock_code: str, last: date, now: datetime) -> list[Bar]:
        """Weekly bars; the last one ends with ``last``, in the middle of its week."""
        weeks: dict[tuple[int, int], list[Bar]] = {}
        for bar in self.daily(stock_code, last, now):
            weeks.setdefault(bar.opened_at.isocalendar()[:2], []).append(bar)
        return [Bar.joined(days[0].opened_at, days) for days in weeks.values()]

    def minutes(
        self, stock_code: str, minutes: int, last: date, now: datetime
    ) -> Iterable[list[Bar]]:
        """Yield the bars of one day after another, newest day first."""
        days = self._days(stock_code)
        today = now.astimezone(KST).date()
        if days is None:
            return
        for at in range(self._count(stock_code, min(last, today)) - 1, -1, -1):
            if days.dates[at] <= today - MINUTE_RETENTION:
                return
            bars = self._visible(stock_code, at, now)
            if bars:
                yield bars if minutes == 5 else _grouped(bars, minutes)  # noqa: PLR2004

    def _count(self, stock_code: str, last: date) -> int:
        days = self._days(stock_code)
        if days is None:
            return 0
        return int(np.searchsorted(np.array(days.dates, "datetime64[D]"), last, "right"))

    def _today(self, stock_code: str, now: datetime) -> Bar | None:
        today = now.astimezone(KST).date()
        count = self._count(stock_code, today)
        days = self._days(stock_code)
        if days is None or count == 0 or days.dates[count - 1] != today:
            return None
        if now.astimezone(KST).time() >= LATE_CANDLE_SEEN:
            return self._settled_day(stock_code, days, count - 1)
        opened_at = datetime.combine(today, time.min, KST)
        bars = self._visible(stock_code, count - 1, now)
        if bars:
            return Bar.joined(opened_at, bars)
        session = self._calendar.session_on(today)
        halted = days.volumes[count - 1] == 0
        if halted and session and now >= session.opens_at:
            close = int(days.closes[count - 1])
            return Bar(opened_at, close, close, close, close, 0, 0)
        return None

    def _make_settled_days(self, stock_code: str) -> list[Bar]:
        days = self._days(stock_code)
        if days is None:
            return []
        return [self._settled_day(stock_code, days, at) for at in range(len(days.dates))]

    def _settled_day(self, stock_code: str, days: Days, at: int) -> Bar:
        """A day as it is reported once it is over, after-market included."""
        day = days.dates[at]
        o, h, l, c, v = _values(days, at)  # noqa: E741 - the usual five
        turnover = v * ((h + l + 2 * c) // 4)
        if v:
            prices, shares = self._after_market(stock_code, day, c)
            h, l = max(h, *prices), min(l, *prices)  # noqa: E741
            turnover += sum(a * b for a, b in zip(prices[1:], shares, strict=True))
            c, v = prices[-1], v + sum(shares)
        return Bar(datetime.combine(day, time.min, KST), o, h, l, c, v, turnover)

    def _visible(self, stock_code: str, at: int, now: datetime) -> list[Bar]:
        """The five-minute bars of a day that have begun by ``now``."""
        days = self._days(stock_code)
        if days is None or days.volumes[at] == 0:
            return []
        bars = self._paths(stock_code, at)
        if days.dates[at] < now.astimezone(KST).date():
            return bars
        session = self._session(days.dates[at])
        late = session.closes_at + FIVE_MINUTES
        hidden = now.astimezone(KST).time() < LATE_CANDLE_SEEN
        begun = [bar for bar in bars if bar.opened_at <= now]
        if hidden:
            begun = [bar for bar in begun if bar.opened_at != late]
        if begun and now < begun[-1].opened_at + FIVE_MINUTES:
            begun[-1] = _forming(begun[-1], now)
        return begun

    def _session(self, day: date) -> MarketSession:
        return self._calendar.session_on(day) or MarketSession.regular(day)

    def _make_path(self, stock_code: str, at: int) -> list[Bar]:
        """The five-minute bars of one day, after-market included."""
        days = self._days(stock_code)
        if days is None or days.volumes[at] == 0:
            return []
        day, session = days.dates[at], self._session(days.dates[at])
        random = seeded(self._seed, stock_code, day)
        slots = (session.closes_at - AUCTION_CALL - session.opens_at) // FIVE_MINUTES
        opens_at = [session.opens_at + n * FIVE_MINUTES for n in range(slots)]
        o, h, l, c, volume = _values(days, at)  # noqa: E741 - the usual five
        prices = _bridge(random, o, c, l, h, slots)
        highs = np.maximum(prices[:-1], prices[1:])
        lows = np.minimum(prices[:-1], prices[1:])
        highs[random.integers(slots)] = h
        lows[random.integers(slots)] = l
        shares = _split(random, volume, slots + 2)
        bars = [
            _bar(opens_at[n], prices[n], highs[n], lows[n], prices[n + 1], shares[n])
            for n in range(slots)
        ]
        # The closing auction, and the small flat candle that follows it.
        bars.append(_bar(session.closes_at, c, c, c, c, shares[slots]))
        late = session.closes_at + FIVE_MINUTES
        bars.append(_bar(late, c, c, c, c, shares[slots + 1]))
        bars = [bar for bar in bars if bar.volume]
        after, lots = self._after_market(stock_code, day, c)
        return bars + [
            _bar(opens, a, max(a, b), min(a, b), b, lot)
            for opens, a, b, lot in zip(
                self._after_slots(day), after, after[1:], lots, strict=False
            )
        ]

    def _after_slots(self, day: date) -> list[datetime]:
        """When the bars of the after-market open, half an hour after the auction.

        Nobody knows better for days on which the market closes late.
        """
        first = self._session(day).closes_at + FIVE_MINUTES * 6
        slots = (first + n * FIVE_MINUTES for n in range(AFTER_SLOTS))
        return [slot for slot in slots if slot.time() < AFTER_CLOSES]

    def _after_market(
        self, stock_code: str, day: date, close: int
    ) -> tuple[list[int], list[int]]:
        """Prices from the close on, one more than there are bars, and their shares."""
        if day < AFTER_MARKET_SINCE:
            return [close], []
        random = seeded(self._seed, stock_code, day, "after-market")
        reach = max(1, close // 200)
        end = close + int(random.integers(-reach, reach + 1))
        slots = len(self._after_slots(day))
        low, high = max(1, close - reach), close + reach
        prices = _bridge(random, close, max(1, end), low, high, slots)
        return prices.tolist(), random.integers(1, 900, slots).tolist()


def _values(days: Days, at: int) -> tuple[int, int, int, int, int]:
    columns = (days.opens, days.highs, days.lows, days.closes, days.volumes)
    o, h, l, c, v = (int(column[at]) for column in columns)  # noqa: E741
    return o, h, l, c, v


def _bar(  # noqa: PLR0913 - the usual five, and when
    opened_at: datetime, o: int, h: int, l: int, c: int, volume: int  # noqa: E741
) -> Bar:
    o, h, l, c, volume = int(o), int(h), int(l), int(c), int(volume)  # noqa: E741
    return Bar(opened_at, o, h, l, c, volume, volume * ((h + l + 2 * c) // 4))


def _bridge(  # noqa: PLR0913 - two ends, two bounds
    random: np.random.Generator, start: int, end: int, low: int, high: int, steps: int
) -> Array:
    """``steps`` + 1 prices from ``start`` to ``end`` between ``low`` and ``high``."""
    walk = np.concatenate(([0.0], np.cumsum(random.normal(0, 1, steps))))
    walk -= np.linspace(0, walk[-1], steps + 1)
    swing = max(float(np.abs(walk).max()), 1e-9)
    line = np.linspace(start, end, steps + 1)
    prices = np.rint(line + walk / swing * (high - low) / 2)
    prices = np.clip(prices, low, high).astype(np.int64)
    prices[0], prices[-1] = start, end
    return prices


def _split(random: np.random.Generator, volume: int, parts: int) -> Array:
    """``volume`` shares in ``parts`` lots, the last of them small."""
    weights = random.uniform(0.4, 1.6, parts)
    weights[-2] = 4.0
    weights[-1] = 0.01
    edges = np.floor(np.cumsum(weights) / weights.sum() * volume).astype(np.int64)
    edges[-1] = volume
    return np.diff(np.concatenate(([0], edges)))


def _grouped(bars: list[Bar], minutes: int) -> list[Bar]:
    groups: dict[datetime, list[Bar]] = {}
    for bar in bars:
        past = (bar.opened_at.hour * 60 + bar.opened_at.minute) % minutes
        groups.setdefault(bar.opened_at - timedelta(minutes=past), []).append(bar)
    return [Bar.joined(opened_at, group) for opened_at, group in groups.items()]


def _forming(bar: Bar, now: datetime) -> Bar:
    """What can be seen of a bar before it is complete."""
    share = (now - bar.opened_at) / FIVE_MINUTES
    close = round(bar.open + (bar.close - bar.open) * share)
    high, low = max(bar.open, close), min(bar.open, close)
    if share > 0.5:  # noqa: PLR2004 - half of it is over
        high, low = bar.high, bar.low
    volume = max(1, int(bar.volume * share))
    return _bar(bar.opened_at, bar.open, high, low, close, volume)
