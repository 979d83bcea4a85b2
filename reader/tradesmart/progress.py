"""A bar on stderr, with the rate and the time that is left."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WIDTH = 24
EVERY = 0.1


@contextmanager
def progress(total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Yield what is told of each part that is done; shown on a terminal only."""
    if quiet or not total or not sys.stderr.isatty():
        yield lambda _: None
        return
    began = time.monotonic()
    done, shown = 0, 0.0

    def advance(count: int) -> None:
        nonlocal done, shown
        done += count
        now = time.monotonic()
        if now - shown >= EVERY:
            shown = now
            sys.stderr.write("\r\033[K" + line(done, total, now - began))
            sys.stderr.flush()

    try:
        yield advance
    finally:
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()


def line(done: int, total: int, seconds: float) -> str:
    """How far it is, in one line."""
    filled = round(WIDTH * min(done / total, 1))
    rate = done / max(seconds, 0.001)
    left = round(max(total - done, 0) / max(rate, 1))
    return (
        f"[{'#' * filled}{'.' * (WIDTH - filled)}] {done:,} of {total:,} candles, "
        f"{rate:,.0f}/s, {left // 60}:{left % 60:02} left"
    )
