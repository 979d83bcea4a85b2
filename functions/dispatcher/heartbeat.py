"""Answer a heartbeat: what is behind, and when the last run was recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from shared.errors import CalendarMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from shared.candles import Timeframe
    from shared.freshness import Due, DueTimes
    from shared.reports import BehindSeries


class Stocks(Protocol):
    """Which stocks there are."""

    def targets(self) -> list[str]:
        """Codes of the target stocks."""


class Ledger(Protocol):
    """Where runs are recorded."""

    def behind(self, due: Mapping[Timeframe, Due]) -> list[BehindSeries]:
        """Series of targets that are not as far as they should be."""

    def last_requested_at(self) -> datetime | None:
        """When the newest run was requested."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """The facts of one heartbeat.

    ``last_run_at`` is when the newest run was requested, None before the first one.
    """

    targets: int
    behind: Sequence[BehindSeries]
    last_run_at: datetime | None


def pulse(
    stocks: Stocks, ledger: Ledger, due_times: Callable[[], DueTimes], now: datetime
) -> Pulse:
    """Look how things are; nothing is written.

    Before the calendar is loaded nothing is due, so nothing is behind.

    Raises:
        DatabaseUnavailable: If the database did not answer.
    """
    try:
        due = due_times().expected_by(now)
    except CalendarMissing:
        due = {}
    return Pulse(
        targets=len(stocks.targets()),
        behind=ledger.behind(due),
        last_run_at=ledger.last_requested_at(),
    )
