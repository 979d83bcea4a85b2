"""A total deadline for a command: whatever hangs, it ends, and says what hung."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# What ``timeout`` of GNU coreutils answers.
TIMED_OUT = 124


@contextmanager
def deadline(seconds: float, message: str) -> Iterator[None]:
    """End this process with ``message`` unless the block is done in time.

    A timer and not a signal: a client library that waits in C takes no exception.
    """

    def end() -> None:
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()
        os._exit(TIMED_OUT)

    timer = Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
