"""How many messages of a subscription are pushed at a time, and when none is.

Google publishes the outline of it: the window begins small, grows with every success
and shrinks with every failure, up to 3,000 messages; and after many refusals nothing of
the subscription is pushed for 100 ms up to 60 s. The numbers in between are ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_WINDOW = 4
MOST_OUTSTANDING = 3_000
BACKOFF_SECONDS = (0.1, 60.0)


class PushWindow(Protocol):
    """Decides how many messages may be pushed."""

    def room(self, outstanding: int) -> int:
        """How many more may be pushed now."""

    def answered(self, *, acknowledged: bool) -> None:
        """Note an answer of the endpoint."""


class SteadyWindow:
    """As many as the endpoint has places, whatever it answers."""

    def __init__(self, places: int) -> None:
        """Never push more than ``places``."""
        self._places = places

    def room(self, outstanding: int) -> int:
        """How many places are free."""
        return max(self._places - outstanding, 0)

    def answered(self, *, acknowledged: bool) -> None:
        """Learn nothing."""


class ServiceWindow:
    """Finds out by itself how much the endpoint takes, as the service does."""

    def __init__(self, now: Callable[[], float]) -> None:
        """Begin with a few; ``now`` counts seconds."""
        self._now = now
        self._window = float(FIRST_WINDOW)
        self._refusals = 0
        self.paused_until = 0.0

    def room(self, outstanding: int) -> int:
        """How many more may be pushed; none during a back-off."""
        if self._now() < self.paused_until:
            return 0
        return max(int(self._window) - outstanding, 0)

    def answered(self, *, acknowledged: bool) -> None:
        """Grow with a success; shrink with a refusal, and pause.

        One success more for each message that is out doubles the window. A pause
        doubles with each refusal that no success has made good; those of messages that
        were out when it began count once.
        """
        if acknowledged:
            self._window = min(self._window + 1, MOST_OUTSTANDING)
            self._refusals = max(self._refusals - 1, 0)
            return
        if self._now() < self.paused_until:
            return
        self._window = max(self._window / 2, 1.0)
        least, most = BACKOFF_SECONDS
        pause = min(least * 2.0**self._refusals, most)
        self._refusals += 1
        self.paused_until = self._now() + pause
