"""So many tasks at a time; the others wait in their places, before they begin."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Semaphore
from typing import TYPE_CHECKING

from shared.errors import Busy

if TYPE_CHECKING:
    from collections.abc import Iterator


class Gate:
    """Lets a few tasks of an instance work, in the order in which they came.

    A message that waits costs a thread. One that is turned away comes back after a
    back-off of ten seconds at least, and Pub/Sub pushes the whole subscription more
    slowly: so an instance takes more messages than it works on.
    """

    def __init__(self, most: int, max_wait: float) -> None:
        """Let ``most`` tasks work; wait for at most ``max_wait`` seconds."""
        self._free = Semaphore(most)
        self._most = most
        self._max_wait = max_wait

    @contextmanager
    def passed(self) -> Iterator[None]:
        """Wait until fewer tasks work, and be one of them.

        Raises:
            Busy: If the wait would be too long.
        """
        if not self._free.acquire(timeout=self._max_wait):
            message = f"{self._most} tasks have worked for {self._max_wait:.0f} s"
            raise Busy(message)
        try:
            yield
        finally:
            self._free.release()
