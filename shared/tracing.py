"""What log lines and messages tell about the delivery that is being handled.

One trace leads from a trigger to all that follows from it: it comes from the headers
of the first push, and goes on as an attribute of every message that is published.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACE_ATTRIBUTE = "trace"
TRACE_HEADERS = ("traceparent", "X-Cloud-Trace-Context")
TRACE_ID = re.compile(r"(?:00-)?([0-9a-f]{32})(?:[-/;]|$)")


@dataclass(frozen=True, slots=True)
class Handling:
    """A delivery that is being handled since ``began`` (seconds, monotonic).

    ``attempt`` counts its deliveries from 1, where Pub/Sub says so.
    """

    trace_id: str | None
    attempt: int | None
    began: float

    @property
    def duration_ms(self) -> int:
        """How long it has taken so far."""
        return round((time.monotonic() - self.began) * 1000)


_current: ContextVar[Handling | None] = ContextVar("handling", default=None)


def current() -> Handling | None:
    """The delivery that this thread handles, if any."""
    return _current.get()


@contextmanager
def handling(trace_id: str | None, attempt: int | None) -> Iterator[None]:
    """Handle a delivery: what is logged and published meanwhile belongs to it."""
    token = _current.set(Handling(trace_id, attempt, time.monotonic()))
    try:
        yield
    finally:
        _current.reset(token)


def trace_id_of(*candidates: str | None) -> str | None:
    """The first valid trace: an attribute, or a header in either of its two forms.

    Returns:
        32 hexadecimal digits, or None where there is no valid one.
    """
    for candidate in filter(None, candidates):
        match = TRACE_ID.match(candidate)
        if match:
            return match[1]
    return None
