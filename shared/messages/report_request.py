"""The request for the report of a day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Self

from shared.errors import MalformedMessage
from shared.messages.fields import DATE, Fields

LATEST = "latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest:
    """A day in Seoul to report on; None is the newest that is over."""

    day: date | None = None

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read ``{"report":"latest"}``, or one such as ``{"report":"2026-11-20"}``.

        Raises:
            MalformedMessage: If a field is missing, unknown or malformed.
        """
        name = "report"
        fields = Fields(data, example='{"report":"latest"}')
        value = fields.text(name)
        fields.refuse_the_rest()
        if value == LATEST:
            return cls()
        try:
            if DATE.fullmatch(value):
                return cls(day=date.fromisoformat(value))
        except ValueError:
            pass
        raise MalformedMessage(name, 'must be "latest", or a day such as "2026-01-31"')
