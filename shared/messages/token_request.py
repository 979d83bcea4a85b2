"""The request for a fresh access token."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Self

from shared.messages.fields import Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """A request for a token, with its reason.

    ``rejected_version`` is the vault's version that the broker refused: it is replaced
    unless that has been done already. ``force`` replaces any token.
    """

    reason: str
    rejected_version: str | None = None
    force: bool = False

    def to_bytes(self) -> bytes:
        """Write the request as compact JSON."""
        fields: dict[str, object] = {"reason": self.reason}
        if self.rejected_version is not None:
            fields["rejected_version"] = self.rejected_version
        if self.force:
            fields["force"] = True
        return json.dumps(fields, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a request such as ``{"reason": "schedule"}``.

        Raises:
            MalformedMessage: If a field is missing, unknown or malformed.
        """
        fields = Fields(data, example='{"reason":"operator"}')
        request = cls(
            reason=fields.text("reason"),
            rejected_version=fields.text_or_none("rejected_version"),
            force=fields.flag("force"),
        )
        fields.refuse_the_rest()
        return request
