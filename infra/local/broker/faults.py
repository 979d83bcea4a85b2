"""Faults that the simulated broker shows on demand."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What goes wrong."""

    SERVER_ERROR = "server_error"  # HTTP 500 with the broker's JSON
    HTML = "html"  # HTTP 400 from the firewall
    RESET = "reset"  # the connection breaks
    TIMEOUT = "timeout"  # no answer
    SLOW = "slow"  # the right answer, two seconds late
    TRUNCATED = "truncated"  # half a JSON body
    RATE_LIMIT = "rate_limit"  # HTTP 429 although there was room
    TOKEN_DIES = "token_dies"  # noqa: S105 - 8005, and every token issued so far
    BLANK = "blank"  # the one empty row
    EMPTY = "empty"  # a list without rows
    STALL = "stall"  # the same page for ever
    CORRUPT = "corrupt"  # one row that is no candle
    REJECT = "reject"  # the broker says no


@dataclass(slots=True, kw_only=True)
class Fault:
    """A fault and when it shows; None matches everything.

    ``page`` counts from 1 within one chain of pages. ``times`` is how often it shows;
    None means until it is taken away.
    """

    kind: Kind
    api_id: str | None = None
    stock_code: str | None = None
    page: int | None = None
    times: int | None = None

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Fault:
        """Read a fault of a scenario.

        Raises:
            ValueError: If it has an unknown field or kind.
        """
        unknown = raw.keys() - {field.name for field in fields(cls)}
        if unknown:
            message = f"unknown field {sorted(unknown)}"
            raise ValueError(message)
        return cls(**{**raw, "kind": Kind(raw.get("kind", ""))})

    def strikes(self, api_id: str, stock_code: str, page: int) -> bool:
        """Whether it shows now; if so, it has shown once more."""
        matches = (
            self.api_id in {None, api_id}
            and self.stock_code in {None, stock_code}
            and self.page in {None, page}
            and (self.times is None or self.times > 0)
        )
        if matches and self.times is not None:
            self.times -= 1
        return matches
