"""The message that shows that triggers are still delivered and answered."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Self

from shared.messages.fields import Fields

MOST_BYTES = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """A sign of life, answered by one line in the log; it starts no run."""

    source: str

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a heartbeat such as ``{"heartbeat": "schedule"}``.

        Raises:
            MalformedMessage: If a field is missing, unknown or malformed.
        """
        fields = Fields(data, example='{"heartbeat":"operator"}')
        heartbeat = cls(source=fields.text("heartbeat"))
        fields.refuse_the_rest()
        return heartbeat


def is_heartbeat(data: bytes) -> bool:
    """Whether a message to the topic ``triggers`` is a heartbeat, and no trigger."""
    if len(data) > MOST_BYTES:
        return False
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(message, dict) and "heartbeat" in message
