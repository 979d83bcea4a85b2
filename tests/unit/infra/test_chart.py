from __future__ import annotations

from infra.local.screen.chart import Prices, chart


def lines(candles, height):
    return [line.plain for line in chart(candles, height)]


def test_candles_are_drawn_to_half_a_line():
    drawn = lines([Prices(100, 130, 100, 120), Prices(120, 120, 90, 110)], 3)

    assert drawn == ["╽╻ ┤ 130", "┃╿ ┤ 110", "╹│ ┤ 90"]


def test_a_price_that_never_moves_is_drawn_in_the_middle():
    drawn = lines([Prices(100, 100, 100, 100)], 4)

    assert [line[0] for line in drawn] == [" ", " ", "╹", " "]


def test_what_rose_is_red_and_what_fell_is_blue():
    rose, fell = Prices(100, 110, 100, 110), Prices(110, 110, 100, 100)

    (line, *_) = chart([rose, fell], 2)

    assert [span.style for span in line.spans][:2] == ["red", "blue"]
