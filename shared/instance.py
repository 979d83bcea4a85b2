"""What an instance of a function does once, at its first message."""

from __future__ import annotations

import gc
from functools import wraps
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# After how many new objects a collection runs: rarely, since messages create few.
GARBAGE = (10_000, 10, 10)


def cached(build: Callable[[], T]) -> Callable[[], T]:
    """Build a value at the first call and return the same one ever after.

    Threads that call at the same time wait for the one that builds. A failure is not
    cached: the next call builds again.
    """
    lock = Lock()
    built: list[T] = []

    @wraps(build)
    def get() -> T:
        with lock:
            if not built:
                built.append(build())
            return built[0]

    return get


def freeze_gc() -> None:
    """Exempt everything that exists from garbage collection.

    What an instance consists of stays until it ends; to walk through it at every
    collection is time lost.
    """
    gc.freeze()
    gc.set_threshold(*GARBAGE)
