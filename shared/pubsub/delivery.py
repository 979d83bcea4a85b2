"""A push, as every function reads it."""

from __future__ import annotations

import logging
from base64 import b64decode
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Any

import functions_framework
from flask import current_app, has_app_context, request
from werkzeug.exceptions import ServiceUnavailable

from shared import tracing
from shared.errors import ConfigError
from shared.events import Event
from shared.logging import log_event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cloudevents.http import CloudEvent


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a push brought, when it was published, and the topic it came through.

    ``data`` is empty where the message has attributes only.
    """

    message_id: str
    data: bytes
    attributes: Mapping[str, str]
    published_at: datetime
    topic: str

    @classmethod
    def of(cls, event: CloudEvent) -> Delivery:
        """Read a push, which the framework turned into an event.

        Only what every form of push has is read; ``deliveryAttempt`` is not. Pub/Sub
        counts nanoseconds, of which Python keeps the microseconds.
        """
        message = event.data["message"]
        published_at = message.get("publishTime") or event["time"]
        return cls(
            message_id=event["id"],
            data=b64decode(message.get("data") or ""),
            attributes=message.get("attributes") or {},
            published_at=datetime.fromisoformat(published_at),
            topic=event["source"].rpartition("/topics/")[2],
        )


def push_endpoint(function: Callable[[CloudEvent], None]) -> Callable[..., Any]:
    """Make a function the entry point that pushes are delivered to.

    The framework imports an entry point within its application; elsewhere, in a test
    or a tool, importing it registers nothing. If the instance cannot be wired because
    of its variables, the answer is 503: the message is handled once they are right.
    """
    if has_app_context():
        current_app.before_request(_give_a_body)

    @wraps(function)
    def handle(event: CloudEvent) -> None:
        with tracing.handling(_trace_id(event), _attempt()):
            try:
                function(event)
            except ConfigError as error:
                facts = {"error_code": error.error_code, "reason": str(error)}
                log_event(Event.MISCONFIGURED, severity=logging.ERROR, **facts)
                raise ServiceUnavailable(str(error)) from error

    entry_point: Callable[..., Any] = functions_framework.cloud_event(handle)
    return entry_point


def _trace_id(event: CloudEvent) -> str | None:
    attributes = event.data["message"].get("attributes") or {}
    headers = map(request.headers.get, tracing.TRACE_HEADERS)
    return tracing.trace_id_of(attributes.get(tracing.TRACE_ATTRIBUTE), *headers)


def _attempt() -> int | None:
    """The number of this delivery, which only the raw push has."""
    push = request.get_json(silent=True)
    attempt = push.get("deliveryAttempt") if isinstance(push, dict) else None
    return attempt if isinstance(attempt, int) else None


def _give_a_body() -> None:
    """Give the push of a message without a body an empty one.

    Pub/Sub leaves ``data`` out of it. The framework does not take that for a push and
    answers 400 until the message expires; the emulator always sends ``data``.
    """
    push = request.get_json(silent=True)
    message = push.get("message") if isinstance(push, dict) else None
    if isinstance(message, dict):
        # The framework reads the same object again.
        message.setdefault("data", "")
