"""What a push brings, and what becomes of it: the same in every function."""

from __future__ import annotations

import gc
import logging
import re
import time
from base64 import b64decode
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from math import inf
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from werkzeug.exceptions import ServiceUnavailable, TooManyRequests

from shared.errors import (
    Busy,
    PermanentError,
    PipelineError,
    PublishFailed,
    TokenMissing,
    TokenRejected,
    TransientError,
)
from shared.logging import say
from shared.messages import TokenRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cloudevents.http import CloudEvent

    from shared.settings import PubSubSettings

T = TypeVar("T")

# Whoever waits for a token asks again at every delivery; one message a minute will do.
ASK_AGAIN_SECONDS = 60.0
# After how many new objects garbage is looked for: seldom, since messages make little.
GARBAGE = (10_000, 10, 10)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a push brought, when it was published, and the topic it came through."""

    message_id: str
    data: bytes
    attributes: Mapping[str, str]
    published_at: datetime
    topic: str

    @classmethod
    def of(cls, event: CloudEvent) -> Delivery:
        """Read a push, which the framework turned into an event.

        Only what every form of push has is read; ``deliveryAttempt`` is not.
        """
        message = event.data["message"]
        return cls(
            message_id=event["id"],
            data=b64decode(message.get("data") or ""),
            attributes=message.get("attributes") or {},
            published_at=_instant(message.get("publishTime") or event["time"]),
            topic=event["source"].rpartition("/topics/")[2],
        )


def _instant(text: str) -> datetime:
    """Read the time of a push: UTC, with nanoseconds that Python does not know."""
    match = re.fullmatch(r"(.{19})(\.\d{1,6})?\d*(Z|[+-]\d\d:\d\d)", text)
    if match is None:
        message = f"the push was published at {text!r}, which is no time"
        raise ValueError(message)
    seconds, fraction, zone = match.groups(default="")
    return datetime.fromisoformat(f"{seconds}{fraction or '.0':0<7}{zone}")


class Outbox:
    """What a function sends beside its own work: dead letters, and cries for a token.

    The publisher is imported where it is used: on a good day most functions publish
    nothing, and it is heavy.
    """

    def __init__(
        self, topics: PubSubSettings, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Publish to the topics that ``topics`` names."""
        self._topics = topics
        self._monotonic = monotonic
        self._asked: dict[str | None, float] = {}

    def put_aside(self, delivery: Delivery, error: PipelineError) -> None:
        """Put a message aside that can never be handled, with the reason.

        Raises:
            PublishFailed: If Pub/Sub did not take it.
        """
        from shared.pubsub import new_publisher  # noqa: PLC0415

        publisher = new_publisher(self._topics.project)
        publisher.dead_letter(self._topics.dead_letter_topic, delivery, error)

    def ask_for_token(self, error: TokenRejected | TokenMissing) -> None:
        """Ask for a token in place of the one that failed; seldom for the same one.

        Raises:
            PublishFailed: If Pub/Sub did not take it.
        """
        version = getattr(error, "version", None)
        now = self._monotonic()
        if now - self._asked.get(version, -inf) < ASK_AGAIN_SECONDS:
            return
        from shared.pubsub import new_publisher  # noqa: PLC0415

        request = TokenRequest(reason=error.error_code, rejected_version=version)
        publisher = new_publisher(self._topics.project)
        publisher.publish(self._topics.token_topic, [request.to_bytes()], {})
        self._asked[version] = now


@contextmanager
def answered(delivery: Delivery, outbox: Outbox, **facts: object) -> Iterator[None]:
    """Turn errors into what Pub/Sub understands.

    A permanent error puts the message aside and acknowledges it; a transient one
    answers 503 and *busy* answers 429, and both are delivered again; for a token that
    failed another one is asked for. Anything unforeseen goes on to the framework,
    which answers 500.
    """
    about: dict[str, Any] = {"message_id": delivery.message_id, **facts}
    try:
        yield
    except PermanentError as error:
        say("dead_letter", severity=logging.ERROR, **about, **_reason(error))
        outbox.put_aside(delivery, error)
    except Busy as error:
        say("busy", **about, **_reason(error))
        raise TooManyRequests(str(error)) from error
    except TransientError as error:
        say("will_retry", severity=logging.WARNING, **about, **_reason(error))
        if isinstance(error, TokenRejected | TokenMissing):
            _ask(outbox, error)
        raise ServiceUnavailable(str(error)) from error
    except Exception as error:
        # The framework logs the traceback; this line is what is counted.
        kind = type(error).__name__
        say("unforeseen", severity=logging.ERROR, **about, reason=kind)
        raise


def _ask(outbox: Outbox, error: TokenRejected | TokenMissing) -> None:
    """Ask for a token; if that fails, the next delivery asks again."""
    try:
        outbox.ask_for_token(error)
    except PublishFailed as failure:
        say("token_not_asked_for", severity=logging.ERROR, **_reason(failure))


def _reason(error: PipelineError) -> dict[str, Any]:
    return {"error_code": error.error_code, "reason": str(error)}


def once(build: Callable[[], T]) -> Callable[[], T]:
    """Build a thing at the first call, once an instance, also with many threads.

    What an instance consists of is complete then: it is never looked at as garbage
    again.
    """
    lock = Lock()
    built: list[T] = []

    @wraps(build)
    def get() -> T:
        with lock:
            if not built:
                built.append(build())
                gc.freeze()
                gc.set_threshold(*GARBAGE)
            return built[0]

    return get
