"""What becomes of a delivery: the same in every function."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from math import inf
from threading import Lock
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import ServiceUnavailable, TooManyRequests

from shared.errors import (
    Busy,
    ConfigError,
    PermanentError,
    PipelineError,
    PublishFailed,
    TokenMissing,
    TokenRejected,
    TransientError,
)
from shared.events import Event
from shared.logging import log_event
from shared.messages import TokenRequest
from shared.pubsub.publisher import RUN_ATTRIBUTE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.pubsub.dead_letters import DeadLetterPublisher
    from shared.pubsub.delivery import Delivery
    from shared.pubsub.publisher import Publisher

# Every delivery that lacks a token requests one; a message a minute will do.
REQUEST_AGAIN_SECONDS = 60.0


class TokenRequester:
    """Requests an access token from the token refresher."""

    def __init__(
        self,
        publisher: Publisher,
        topic: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Publish to ``topic``; ``monotonic`` counts seconds."""
        self._publisher = publisher
        self._topic = topic
        self._monotonic = monotonic
        self._requested: dict[str | None, float] = {}
        self._lock = Lock()

    def request(self, error: TokenRejected | TokenMissing) -> None:
        """Request a replacement for the token that failed, at most once a minute.

        Raises:
            PublishFailed: If Pub/Sub did not take it.
        """
        version = error.version
        request = TokenRequest(reason=error.error_code, rejected_version=version)
        # All messages of an instance notice at once; a burst of requests would make
        # Pub/Sub back off from the token refresher. The lock is not held while it is
        # published: all places of the instance would wait for a Pub/Sub that is silent.
        with self._lock:
            now = self._monotonic()
            if now - self._requested.get(version, -inf) < REQUEST_AGAIN_SECONDS:
                return
            self._requested[version] = now
        try:
            self._publisher.publish(self._topic, [request.to_bytes()], {})
        except PublishFailed:
            self._requested.pop(version, None)
            raise


@contextmanager
def acknowledging(
    delivery: Delivery,
    dead_letters: DeadLetterPublisher,
    tokens: TokenRequester | None = None,
) -> Iterator[None]:
    """Turn errors into what Pub/Sub understands.

    A permanent error publishes the message as a dead letter and acknowledges it; a
    transient one answers 503 and *busy* answers 429, and both are delivered again; a
    token that failed is replaced through ``tokens``. An error that only a change of the
    deployment can fix answers 503 as well: after that, the message is handled. An
    unforeseen exception is passed on to the framework, which answers 500.
    """
    about: dict[str, Any] = {"message_id": delivery.message_id}
    if run_id := delivery.attributes.get(RUN_ATTRIBUTE):
        about["run_id"] = run_id
    try:
        yield
    except PermanentError as error:
        log_event(Event.DEAD_LETTER, severity=logging.ERROR, **about, **_reason(error))
        dead_letters.dead_letter(delivery, error)
    except Busy as error:
        log_event(Event.BUSY, **about, **_reason(error))
        raise TooManyRequests(str(error)) from error
    except TransientError as error:
        log_event(Event.WILL_RETRY, severity=logging.WARNING, **about, **_reason(error))
        if tokens is not None and isinstance(error, TokenRejected | TokenMissing):
            request_token(tokens, error)
        raise ServiceUnavailable(str(error)) from error
    except ConfigError as error:
        log_event(
            Event.MISCONFIGURED, severity=logging.ERROR, **about, **_reason(error)
        )
        raise ServiceUnavailable(str(error)) from error
    except Exception as error:
        # The framework logs the traceback; this line is what is counted.
        kind = type(error).__name__
        log_event(Event.UNFORESEEN, severity=logging.ERROR, **about, reason=kind)
        raise


def request_token(tokens: TokenRequester, error: TokenRejected | TokenMissing) -> None:
    """Request a token; if that fails, the next delivery requests it again."""
    try:
        tokens.request(error)
    except PublishFailed as failure:
        log_event(Event.TOKEN_NOT_REQUESTED, severity=logging.ERROR, **_reason(failure))


def _reason(error: PipelineError) -> dict[str, Any]:
    return {"error_code": error.error_code, "reason": str(error)}
