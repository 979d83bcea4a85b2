"""A candlestick chart of characters, twice as fine as its lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

# What a cell shows of its upper and its lower half: nothing, a wick or a body.
NOTHING, WICK, BODY = 0, 1, 2
CELLS = {
    (NOTHING, NOTHING): " ",
    (WICK, NOTHING): "╵",
    (NOTHING, WICK): "╷",
    (WICK, WICK): "│",
    (BODY, NOTHING): "╹",
    (NOTHING, BODY): "╻",
    (BODY, BODY): "┃",
    (BODY, WICK): "╿",
    (WICK, BODY): "╽",
}
# As on Korean screens: red went up, blue went down.
RISEN, FALLEN = "red", "blue"


class Prices(NamedTuple):
    """A candle's four prices in KRW."""

    open: int
    high: int
    low: int
    close: int

    @property
    def style(self) -> str:
        """The colour of a candle that rose or fell."""
        return FALLEN if self.close < self.open else RISEN


def chart(candles: Sequence[Prices], height: int) -> list[Text]:
    """Draw candles from the oldest to the newest, one column each, ``height`` lines.

    The scale stands on the right, at the top, in the middle and at the bottom.
    """
    top = max(candle.high for candle in candles)
    bottom = min(candle.low for candle in candles)
    # A flat chart is drawn in its middle.
    step = max((top - bottom) / (2 * height - 1), 1e-9)

    def half_line(price: int) -> int:
        return round((top - price) / step) if top > bottom else height

    def part(candle: Prices, half: int) -> int:
        body = sorted((half_line(candle.open), half_line(candle.close)))
        if body[0] <= half <= body[1]:
            return BODY
        is_wick = half_line(candle.high) <= half <= half_line(candle.low)
        return WICK if is_wick else NOTHING

    scale = {0: top, height // 2: (top + bottom) // 2, height - 1: bottom}
    lines = []
    for row in range(height):
        line = Text()
        for candle in candles:
            cell = CELLS[part(candle, 2 * row), part(candle, 2 * row + 1)]
            line.append(cell, style=candle.style)
        price = f"{scale[row]:,}" if row in scale else ""
        lines.append(line.append(f" ┤ {price}" if price else " │", style="dim"))
    return lines
