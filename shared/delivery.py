"""What a push brings, and what becomes of it: the same in every function."""

from __future__ import annotations

import logging
from base64 import b64decode
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from werkzeug.exceptions import ServiceUnavailable, TooManyRequests

from shared.errors import Busy, PermanentError, PipelineError, TransientError
from shared.logging import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cloudevents.http import CloudEvent

    from shared.settings import PubSubSettings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a push brought."""

    message_id: str
    data: bytes
    attributes: Mapping[str, str]

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
        )


class DeadLetters:
    """Where messages are put aside that can never be handled."""

    def __init__(self, topics: PubSubSettings) -> None:
        """Publish them to the dead-letter topic of ``topics``."""
        self._topics = topics

    def put(self, delivery: Delivery, error: PipelineError) -> None:
        """Put one aside with its reason.

        Raises:
            PublishFailed: If Pub/Sub did not take it.
        """
        # Imported here: on a good day most functions publish nothing, and it is heavy.
        from shared.pubsub import new_publisher  # noqa: PLC0415

        publisher = new_publisher(self._topics.project)
        publisher.dead_letter(self._topics.dead_letter_topic, delivery, error)


@contextmanager
def answered(
    delivery: Delivery, dead_letters: DeadLetters, **facts: object
) -> Iterator[None]:
    """Turn errors into what Pub/Sub understands.

    A permanent error puts the message aside and acknowledges it; a transient one
    answers 503 and *busy* answers 429, and both are delivered again. Anything
    unforeseen goes on to the framework, which answers 500.
    """
    about: dict[str, Any] = {"message_id": delivery.message_id, **facts}
    try:
        yield
    except PermanentError as error:
        say("dead_letter", severity=logging.ERROR, **about, **_reason(error))
        dead_letters.put(delivery, error)
    except Busy as error:
        say("busy", **about, **_reason(error))
        raise TooManyRequests(str(error)) from error
    except TransientError as error:
        say("will_retry", severity=logging.WARNING, **about, **_reason(error))
        raise ServiceUnavailable(str(error)) from error


def _reason(error: PipelineError) -> dict[str, Any]:
    return {"error_code": error.error_code, "reason": str(error)}


def once(build: Callable[[], T]) -> Callable[[], T]:
    """Build a thing at the first call, once an instance, also with many threads."""
    lock = Lock()
    built: list[T] = []

    @wraps(build)
    def get() -> T:
        with lock:
            if not built:
                built.append(build())
            return built[0]

    return get
