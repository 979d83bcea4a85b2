"""The message that starts a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from shared.candles import Timeframe
from shared.errors import MalformedMessage
from shared.messages.fields import Fields
from shared.modes import Mode
from shared.periods import Period
from shared.sessions import EXCHANGE_BEGAN

if TYPE_CHECKING:
    from datetime import date

MOST_BUDGET = 100_000

# How far a first load goes back where the trigger does not say.
DEFAULT_DEPTH = {
    Timeframe.MINUTE_5: Period(3, "m"),
    Timeframe.MINUTE_30: Period(6, "m"),
    Timeframe.MINUTE_60: Period(1, "y"),
    Timeframe.DAY_1: Period(5, "y"),
    Timeframe.WEEK_1: Period(10, "y"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """The run that is requested.

    ``stocks`` is None for the target stocks, ``"all"`` for every listed one.
    ``start`` (inclusive) and ``end`` (exclusive) are dates in Seoul. ``force`` makes a
    tick work although the exchange has no session; of a backfill or a repair, it
    forgets what is believed of the range: ends, absences, settledness. ``budget`` is
    how many requests to the broker a verify may use, None where the trigger leaves it
    open.
    """

    timeframes: tuple[Timeframe, ...]
    mode: Mode = Mode.INCREMENTAL
    stocks: tuple[str, ...] | Literal["all"] | None = None
    start: date | None = None
    end: date | None = None
    period: Period | None = None
    force: bool = False
    budget: int | None = None

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a trigger such as ``{"timeframe": "5m"}``.

        Raises:
            MalformedMessage: If a field is unknown, malformed or contradicts another.
        """
        fields = Fields(data)
        trigger = cls(
            timeframes=fields.timeframes(),
            mode=fields.mode(),
            stocks=fields.stocks(),
            start=fields.day("start"),
            end=fields.day("end"),
            period=fields.period(),
            force=fields.flag("force"),
            budget=fields.count("budget", MOST_BUDGET),
        )
        fields.refuse_the_rest()
        if trigger.period and (trigger.start or trigger.end):
            field = "period"
            raise MalformedMessage(field, "give either period or start and end")
        if trigger.budget and trigger.mode is not Mode.VERIFY:
            field = "budget"
            raise MalformedMessage(field, 'belongs to "mode":"verify"; leave it out')
        _check_range(trigger)
        return trigger

    @property
    def is_tick(self) -> bool:
        """Whether it only wants what a session brings."""
        ordinary = self.mode is Mode.INCREMENTAL and not self.force
        return ordinary and not (self.start or self.period)

    def since(self, today: date) -> date | None:
        """The first day wanted, None where the trigger leaves it open.

        A period does not reach back further than the exchange.

        Raises:
            MalformedMessage: If that day has not come yet.
        """
        start = self.start
        if self.period:
            start = max(self.period.before(today), EXCHANGE_BEGAN)
        if start and start > today:
            field = "start"
            raise MalformedMessage(field, f"{start} is in the future: give a past date")
        return start


def _check_range(trigger: Trigger) -> None:
    if trigger.end and not trigger.start:
        field = "end"
        raise MalformedMessage(field, "needs a start")
    if trigger.start and trigger.end and trigger.start >= trigger.end:
        field = "end"
        raise MalformedMessage(field, "must be after start (end is not included)")
