"""What ships with the function: the trading calendar and the first targets."""

from __future__ import annotations

import csv
import json
from datetime import date, time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from shared.sessions import DAY, SATURDAY, Calendar
from shared.stocks import Stock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.sessions import Hours

TARGETS = Path(__file__).with_name("targets.csv")
CALENDAR = Path(__file__).with_name("krx_calendar.json")
WEEK = 7


def target_stocks(path: Path = TARGETS) -> list[Stock]:
    """The stocks that are collected where a trigger names none."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Stock(
                stock_code=row["stock_code"],
                stock_name=row["stock_name"],
                market_code=row["market_code"],
                market_name=row["market_name"],
                listed=row["listed"] == "true",
                is_target=True,
            )
            for row in csv.DictReader(file)
        ]


def bundled_calendar(path: Path = CALENDAR) -> Calendar:
    """Every session of the exchange that the repository knows."""
    table = json.loads(path.read_text(encoding="utf-8"))
    first = date.fromisoformat(table["first"])
    last = date.fromisoformat(table["last"])
    last_saturday = date.fromisoformat(table["last_saturday"])
    starts = [date.fromisoformat(day) for day in table["usual"]]
    sessions: dict[date, Hours | None] = {}
    for (begin, beyond), text in zip(
        pairwise([*starts, last + DAY]), table["usual"].values(), strict=True
    ):
        weekdays, *saturdays = map(_hours, text.split())
        for weekday in range(SATURDAY):
            sessions |= dict.fromkeys(_every(weekday, begin, beyond), weekdays)
        for hours in saturdays:
            until = min(beyond, last_saturday + DAY)
            sessions |= dict.fromkeys(_every(SATURDAY, begin, until), hours)
    for year, days in table["closed"].items():
        for day in days.split():
            sessions.pop(date.fromisoformat(f"{year}-{day}"))
    for day, text in table["unusual"].items():
        sessions[date.fromisoformat(day)] = _hours(text)
    return Calendar(sessions, first, last)


def _every(weekday: int, begin: date, beyond: date) -> Iterator[date]:
    """That day of each week, from ``begin`` until before ``beyond``."""
    start = begin.toordinal() + (weekday - begin.weekday()) % WEEK
    return map(date.fromordinal, range(start, beyond.toordinal(), WEEK))


def _hours(text: str) -> Hours:
    """Read hours such as ``09:00-15:30``."""
    opens, _, closes = text.partition("-")
    return time.fromisoformat(opens), time.fromisoformat(closes)
