"""What ships with the function: the trading calendar and the first targets."""

from __future__ import annotations

import csv
import json
from datetime import date, time
from pathlib import Path
from typing import TYPE_CHECKING

from shared.sessions import MarketSession, sessions_between
from shared.stocks import Stock

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGETS = Path(__file__).with_name("targets.csv")
CALENDAR = Path(__file__).with_name("krx_calendar.json")


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


def market_sessions(path: Path = CALENDAR) -> Iterator[MarketSession]:
    """Every session of the exchange that the repository knows."""
    table = json.loads(path.read_text(encoding="utf-8"))
    return sessions_between(
        date.fromisoformat(table["first"]),
        date.fromisoformat(table["last"]),
        closed=map(date.fromisoformat, table["closed"]),
        hours={
            date.fromisoformat(day): (
                time.fromisoformat(opens),
                time.fromisoformat(closes),
            )
            for day, (opens, closes) in table["hours"].items()
        },
    )
