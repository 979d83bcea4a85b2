"""A value that is looked up now and then, and for which no answer waits."""

from __future__ import annotations

import logging
import time
from threading import Lock, Timer
from typing import TYPE_CHECKING, Generic, TypeVar

from shared.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

log = logging.getLogger(__name__)
# A look-up imports its client, which would slow down the first answer.
DELAY_SECONDS = 1.0
EVERY_SECONDS = 60.0


class InBackground(Generic[T]):
    """Calls ``look`` in a thread of its own, at most once a minute.

    Calling it returns what was found last: None before that, and after a failure, since
    a value that may no longer hold is worse than none.
    """

    def __init__(
        self,
        look: Callable[[], T | None],
        *,
        start: Callable[[Callable[[], None]], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``start`` runs what it is given, by default a little later in a thread."""
        self._look = look
        self._start = start or _later
        self._clock = clock
        self._lock = Lock()
        self._next_at = -EVERY_SECONDS
        self._found: T | None = None

    def __call__(self) -> T | None:
        """What was found last; a new look begins where the last one is too old."""
        with self._lock:
            is_due = self._clock() >= self._next_at
            if is_due:
                self._next_at = self._clock() + EVERY_SECONDS
        if is_due:
            self._start(self._run)
        return self._found

    def _run(self) -> None:
        try:
            self._found = self._look()
        except PipelineError as error:
            self._found = None
            log.warning("not found: %s", error)


def _later(run: Callable[[], None]) -> None:
    timer = Timer(DELAY_SECONDS, run)
    timer.daemon = True
    timer.start()
