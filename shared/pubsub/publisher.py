"""Publish messages, within the limits that Pub/Sub sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from shared import tracing
from shared.instance import cached
from shared.lanes import COLLECT_TOPICS, collect_topic
from shared.messages import CollectRequest
from shared.plain_text import sendable, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# The service takes no more in one request.
MESSAGES_PER_REQUEST = 1000
# What the service allows of attributes; the emulator does not check.
MAX_ATTRIBUTES = 100
KEY_BYTES = 256
VALUE_BYTES = 1024
RESERVED = "goog"
# Dispatcher and collector never deploy in the same instant.
REQUEST_SCHEMA = "collect-request/1"
# The attribute that says which run a collect request is of.
RUN_ATTRIBUTE = "run_id"


class Transport(Protocol):
    """What carries messages to the service."""

    def send(
        self, topic: str, messages: Sequence[bytes], attributes: Mapping[str, str]
    ) -> None:
        """Publish one request's worth; see ``Publisher.publish``."""


def _connect(project: str) -> Transport:
    from shared.pubsub.transport import GoogleTransport  # noqa: PLC0415 - heavy

    return GoogleTransport(project)


class Publisher:
    """Publishes synchronously: when a call returns, the service has the messages.

    An instance of a function has one. It connects at its first message: on an ordinary
    day most functions publish nothing, and Google's client is heavy.
    """

    def __init__(
        self, project: str, connect: Callable[[str], Transport] = _connect
    ) -> None:
        """Publish to topics of ``project``, through what ``connect`` returns."""
        self._transport = cached(lambda: connect(project))

    def publish(
        self,
        topic: str,
        messages: Sequence[bytes],
        attributes: Mapping[str, str],
    ) -> None:
        """Publish all ``messages``, each with the same ``attributes``.

        The trace of the delivery that is being handled goes with them.

        Raises:
            PublishFailed: If the service did not take them all.
        """
        allowed = allowed_attributes(_trace() | dict(attributes))
        for start in range(0, len(messages), MESSAGES_PER_REQUEST):
            chunk = messages[start : start + MESSAGES_PER_REQUEST]
            self._transport().send(topic, chunk, allowed)

    def publish_run(self, messages: Sequence[bytes], run_id: str) -> None:
        """Publish the collect requests of a run, each to the topic of its lane.

        Live requests go first. See ``publish``.
        """
        topics: dict[str, list[bytes]] = {topic: [] for topic in COLLECT_TOPICS}
        for message in messages:
            request = CollectRequest.from_bytes(message)
            topics[collect_topic(request.lane, request.timeframe)].append(message)
        for topic, group in topics.items():
            attributes = {"schema": REQUEST_SCHEMA, RUN_ATTRIBUTE: run_id}
            self.publish(topic, group, attributes)


def _trace() -> dict[str, str]:
    delivery = tracing.current()
    if delivery is None or delivery.trace_id is None:
        return {}
    return {tracing.TRACE_ATTRIBUTE: delivery.trace_id}


def allowed_attributes(attributes: Mapping[str, str]) -> dict[str, str]:
    """What the service accepts of ``attributes``: the first hundred, values cut.

    Left out are keys that it reserves, and those that are empty or too long.
    """
    allowed: dict[str, str] = {}
    for key, value in attributes.items():
        name = sendable(key)
        is_allowed = name and len(name.encode()) <= KEY_BYTES
        if is_allowed and not name.startswith(RESERVED):
            allowed[name] = shortened(sendable(value), VALUE_BYTES)
        if len(allowed) == MAX_ATTRIBUTES:
            break
    return allowed
