"""The one seam through which time enters the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]


def new_clock(offset: timedelta = timedelta()) -> Clock:
    """Return a clock that runs ``offset`` ahead of the system's, in UTC.

    The offset lets a whole local stack live at another market instant; in the cloud
    it is zero (see ``ClockSettings``).
    """
    return lambda: datetime.now(UTC) + offset
