"""Which series of the targets are behind, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from shared.candles import Timeframe
from shared.sessions import kst_date

if TYPE_CHECKING:
    from datetime import date, datetime

    from shared.sessions import Calendar

# A session is settled on the morning after it: a series that is not settled by the
# evening of that day will not catch up on its own.
GRACE = timedelta(hours=18)


class Reason(StrEnum):
    """Why a series is behind."""

    NEVER_LOADED = "never loaded"
    NOT_SETTLED = "not settled"
    VANISHED = "vanished from the broker's list"


@dataclass(frozen=True, slots=True, kw_only=True)
class BehindSeries:
    """A series of a target that is not as far as it should be.

    ``settled_through`` is the last settled session, None without one.
    """

    stock_code: str
    stock_name: str
    timeframe: Timeframe
    reason: Reason
    settled_through: date | None

    def __str__(self) -> str:
        """The stock and the reason, such as ``005930 삼성전자: never loaded``."""
        text = f"{self.stock_code} {self.stock_name}: {self.reason}"
        if self.reason is Reason.NOT_SETTLED and self.settled_through:
            text += f" since {self.settled_through}"
        return text


def due_sessions(calendar: Calendar, now: datetime) -> dict[Timeframe, date]:
    """Through which session each timeframe should be settled by ``now``."""
    return settled_sessions(calendar, now - GRACE)


def settled_sessions(calendar: Calendar, then: datetime) -> dict[Timeframe, date]:
    """Through which session each timeframe can be settled at an instant."""
    days = {
        timeframe: calendar.settled_through(timeframe, then, kst_date(then))
        for timeframe in Timeframe
    }
    return {timeframe: day for timeframe, day in days.items() if day}
