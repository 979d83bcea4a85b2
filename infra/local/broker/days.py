"""The days of a stock: made up from a seed, or read from files."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

import numpy as np

from shared.sessions import DAY, SATURDAY

if TYPE_CHECKING:
    from collections.abc import Container, Mapping
    from pathlib import Path

    from infra.local.broker.bars import Array
    from shared.sessions import Calendar

FIRST_DAY = date(2012, 1, 2)
LAST_DAY = date(2031, 1, 1)
# How far a stock with a chosen price wanders, compared with the others.
CALM = 0.1


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
        halts: Mapping[str, tuple[date, date]],
        levels: Mapping[str, int] | None = None,
    ) -> None:
        """Halt trading of the stocks in ``halts`` from the first to the last day.

        The stocks in ``levels`` stay near that price, in KRW.
        """
        self._seed = seed
        self._stock_codes = stock_codes
        self._halts = halts
        self._levels = levels or {}
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
        if stock_code in self._levels:
            level, walk = self._levels[stock_code], walk * CALM
        closes = np.rint(level * np.exp(walk)).astype(np.int64)
        before = np.concatenate(([closes[0]], closes[:-1]))
        opens = np.maximum(1, np.rint(before * (1 + gaps))).astype(np.int64)
        top, bottom = np.maximum(opens, closes), np.minimum(opens, closes)
        highs = np.rint(top * (1 + reach[0])).astype(np.int64)
        lows = np.maximum(1, np.rint(bottom * (1 - reach[1]))).astype(np.int64)
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
