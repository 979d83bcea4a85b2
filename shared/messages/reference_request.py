"""The request for the calendar, the stock master or other targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from shared.errors import MalformedMessage
from shared.messages.fields import Fields
from shared.sessions import CLOSES, OPENS

if TYPE_CHECKING:
    from datetime import date, time


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceRequest:
    """What to bring up to date, and what an operator says.

    ``override`` is a day and its hours in Seoul, None where it is closed; ``add`` and
    ``remove`` are codes of target stocks.
    """

    calendar: bool = False
    stocks: bool = False
    override: tuple[date, tuple[time, time] | None] | None = None
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a request such as ``{"sync": ["calendar", "stocks"]}``.

        Others are ``{"close": "2026-12-24"}``, ``{"open": "2026-12-24"}``, with
        ``"hours": ["10:00", "15:30"]`` if they are unusual, and
        ``{"add_targets": ["005930"]}``, ``{"remove_targets": ["005930"]}``.

        Raises:
            MalformedMessage: If a field is unknown, malformed or contradicts another.
        """
        fields = Fields(data)
        wanted = fields.parts("sync", ("calendar", "stocks"))
        closed, opened = fields.day("close"), fields.day("open")
        hours = fields.hours("hours")
        add, remove = fields.codes("add_targets"), fields.codes("remove_targets")
        fields.refuse_the_rest()
        if closed and opened:
            field = "open"
            raise MalformedMessage(field, "give either open or close")
        if hours and not opened:
            field = "hours"
            raise MalformedMessage(field, "belong to open")
        if not (wanted or closed or opened or add or remove):
            field = "sync"
            raise MalformedMessage(field, 'is missing; give ["calendar","stocks"]')
        override: tuple[date, tuple[time, time] | None] | None = None
        if closed:
            override = (closed, None)
        elif opened:
            override = (opened, hours or (OPENS, CLOSES))
        return cls(
            calendar="calendar" in wanted,
            stocks="stocks" in wanted,
            override=override,
            add=add,
            remove=remove,
        )
