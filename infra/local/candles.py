"""``make candles``: the last candles of a stock, as a chart and as a table."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.local import progress
from infra.local.announcement import NotRunning
from infra.local.deadline import deadline
from infra.local.reading import open_stack
from infra.local.screen.chart import FALLEN, RISEN, chart
from shared.candles import Timeframe
from shared.errors import PipelineError
from shared.messages.fields import ALIASES
from shared.sessions import KST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.local.progress import StoredCandle

SECONDS = 10.0
CHART_HEIGHT = 8
CHART_WIDTH = 100
MARGIN = 14
ROWS = 10
# Of the table that is not the chart: title, head and rules.
LEAST_HEIGHT = 20


class NoCandles(Exception):
    """There is nothing to show; the text says why, and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Show the last candles of a stock."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--stock", default="")
    parser.add_argument("--timeframe", default="")
    parser.add_argument("--rows", default="")
    options = parser.parse_args(arguments)
    late = f"the database has not answered for {SECONDS:.0f} s; see make logs"
    try:
        timeframe = _timeframe(options.timeframe or "1d")
        rows = _rows(options.rows or str(ROWS))
        with deadline(SECONDS, late):
            _show(Console(highlight=False), options.stock or "005930", timeframe, rows)
    except (NotRunning, NoCandles, PipelineError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _timeframe(text: str) -> Timeframe:
    try:
        return ALIASES.get(text) or Timeframe(text)
    except ValueError:
        message = f"TIMEFRAME must be one of {', '.join(Timeframe)}, not {text!r}"
        raise NoCandles(message) from None


def _rows(text: str) -> int:
    if not text.isdecimal() or not int(text):
        message = f"ROWS must be a number of candles, such as 20, not {text!r}"
        raise NoCandles(message)
    return int(text)


def _show(console: Console, stock: str, timeframe: Timeframe, rows: int) -> None:
    width = min(CHART_WIDTH, console.width - MARGIN)
    with open_stack() as (stack, engine):
        found = progress.stock(engine, stock)
        if found is None:
            message = f"there is no stock {stock!r}: give a code such as STOCK=005930"
            raise NoCandles(message)
        candles = progress.candles(engine, found.code, timeframe, max(width, rows))
    if not candles:
        message = (
            f"no {timeframe} candles of {found.code} {found.name} yet; get them with: "
            f"make backfill STOCKS={found.code} TIMEFRAME={timeframe}"
        )
        raise NoCandles(message)
    title = Text.assemble((f"{found.code} {found.name} ", "bold"))
    title.append(f"{timeframe} · KRW · times in Seoul")
    if stack.simulated:
        title.append(f" · {stack.broker}", style="yellow")
    console.print(title)
    if console.is_terminal:
        for line in chart([candle.prices for candle in candles[-width:]], CHART_HEIGHT):
            console.print(line)
        console.print(_span(candles[-width:], timeframe), style="dim")
    console.print(table(candles[-rows:], timeframe))


def _span(candles: Sequence[StoredCandle], timeframe: Timeframe) -> str:
    """When the chart begins and ends, below its edges."""
    first, last = (_time(candles[at], timeframe) for at in (0, -1))
    return f"{first}{last:>{max(len(candles) - len(first), len(last) + 3)}}"


def table(candles: Sequence[StoredCandle], timeframe: Timeframe) -> Table:
    """The candles, the newest at the bottom; a change is from the close before."""
    drawn = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    drawn.add_column("opens", no_wrap=True)
    for name in ("open", "high", "low", "close", "change", "volume"):
        drawn.add_column(name, justify="right", no_wrap=True)
    before: int | None = None
    for candle in candles:
        prices = candle.prices
        change = Text("")
        if before:
            ratio = 100 * (prices.close - before) / before
            change = Text(f"{ratio:+.2f}%", style=RISEN if ratio >= 0 else FALLEN)
        before = prices.close
        drawn.add_row(
            Text(_time(candle, timeframe), style="dim" if candle.is_after else ""),
            *(f"{price:,}" for price in prices[:3]),
            Text(f"{prices.close:,}", style=prices.style),
            change,
            f"{candle.volume:,}",
        )
    return drawn


def _time(candle: StoredCandle, timeframe: Timeframe) -> str:
    opens = candle.opened_at.astimezone(KST)
    return f"{opens:%a %Y-%m-%d %H:%M}" if timeframe.minutes else f"{opens:%a %Y-%m-%d}"


if __name__ == "__main__":
    sys.exit(main())
