"""A run as it is recorded, before its requests are published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from shared.messages import CollectRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A trigger, the message that brought it, and the requests it leads to.

    Without requests, there was no session. ``tick_of`` is when a tick was published:
    such a run is superseded by any later one for the same trigger.
    """

    run_id: str
    message_id: str
    trigger: bytes
    requests: Sequence[CollectRequest]
    requested_at: datetime
    tick_of: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedRun:
    """The messages that are yet to be published, or the run that does the work."""

    messages: Sequence[bytes] = ()
    superseded_by: str | None = None
