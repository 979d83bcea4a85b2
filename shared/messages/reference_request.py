"""The request for the calendar, the stock master or other targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from shared.errors import MalformedMessage
from shared.messages.fields import Fields
from shared.sessions import USUAL_HOURS, SessionOverride

if TYPE_CHECKING:
    from datetime import date

    from shared.sessions import Hours


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceRequest:
    """What to bring up to date, and what an operator says.

    ``override`` wins over the calendar's own day until the operator sends it as
    ``forget``; ``add`` and ``remove`` are codes of target stocks. ``prune_ledger``
    comes alone: the ledger is kept small, and nothing else is done.
    """

    calendar: bool = False
    stocks: bool = False
    override: SessionOverride | None = None
    forget: date | None = None
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    prune_ledger: bool = False

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a request such as ``{"sync": ["calendar", "stocks"]}``.

        Others are ``{"close": "2026-12-24"}``, ``{"open": "2026-12-24"}``, with
        ``"hours": ["10:00", "15:30"]`` if they are unusual,
        ``{"forget": "2026-12-24"}``, which withdraws either, and
        ``{"add_targets": ["005930"]}``, ``{"remove_targets": ["005930"]}``;
        ``{"prune_ledger": true}`` comes alone.

        Raises:
            MalformedMessage: If a field is unknown, malformed or contradicts another.
        """
        fields = Fields(data, example='{"sync":["calendar","stocks"]}')
        wanted = fields.parts("sync", ("calendar", "stocks"))
        days = {name: fields.day(name) for name in ("close", "open")}
        # What was once taken can be withdrawn, however far off it is.
        days["forget"] = fields.any_day("forget")
        hours = fields.hours("hours")
        add, remove = fields.codes("add_targets"), fields.codes("remove_targets")
        prune_ledger = fields.flag("prune_ledger")
        fields.refuse_the_rest()
        given = [name for name, day in days.items() if day]
        if len(given) > 1:
            raise MalformedMessage(given[1], "give only one of close, open and forget")
        if hours and not days["open"]:
            field = "hours"
            raise MalformedMessage(field, "belong to open")
        is_given = bool(wanted or given or add or remove)
        if prune_ledger and is_given:
            field = "prune_ledger"
            raise MalformedMessage(field, "send it in a message of its own")
        if not (prune_ledger or is_given):
            field = "sync"
            raise MalformedMessage(field, 'is missing; give ["calendar","stocks"]')
        return cls(
            calendar="calendar" in wanted,
            stocks="stocks" in wanted,
            override=_override(days["close"], days["open"], hours or USUAL_HOURS),
            forget=days["forget"],
            add=add,
            remove=remove,
            prune_ledger=prune_ledger,
        )


def _override(
    closed: date | None, opened: date | None, hours: Hours
) -> SessionOverride | None:
    day = closed or opened
    if day is None:
        return None
    return SessionOverride(day, hours if opened else None)
