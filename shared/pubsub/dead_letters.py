"""Dead letters: what is written on them, and how it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from shared.errors import PipelineError
    from shared.pubsub.delivery import Delivery
    from shared.pubsub.publisher import Publisher

ERROR_CODE, REASON, MESSAGE_ID, TOPIC = "error_code", "reason", "message_id", "topic"
# Written by Pub/Sub on messages whose delivery attempts are exhausted.
SOURCE = "CloudPubSubDeadLetterSourceSubscription"
DELIVERIES = "CloudPubSubDeadLetterSourceDeliveryCount"
# Added on the way to the dead letters; a replay leaves these out.
ADDED_PREFIXES = ("CloudPubSub", "googclient_")
ADDED = {ERROR_CODE, REASON, MESSAGE_ID, TOPIC}
UNDELIVERABLE = "undeliverable"


class DeadLetterPublisher:
    """Publishes messages that can never be handled, with the reason."""

    def __init__(self, publisher: Publisher, topic: str) -> None:
        """Publish to ``topic``."""
        self._publisher = publisher
        self._topic = topic

    def dead_letter(self, delivery: Delivery, error: PipelineError) -> None:
        """Publish a message with its ``error``.

        Raises:
            PublishFailed: If the service did not take it; let it be delivered again.
        """
        # Ours come first: of too many attributes, the last are dropped.
        attributes = {
            ERROR_CODE: error.error_code,
            REASON: str(error),
            MESSAGE_ID: delivery.message_id,
            TOPIC: delivery.topic,
        }
        own = {k: v for k, v in delivery.attributes.items() if k not in ADDED}
        self._publisher.publish(self._topic, [delivery.data], attributes | own)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A dead letter as it was pulled; ``topic`` is None if unknown."""

    ack_id: str
    data: bytes
    attributes: Mapping[str, str]
    died_at: datetime
    topic: str | None
    error_code: str
    reason: str

    @classmethod
    def of(cls, received: Any, topics: Mapping[str, str]) -> Self:  # noqa: ANN401
        """Read one, published by a function or by Pub/Sub itself.

        ``topics`` are the topics by subscription; Pub/Sub names the subscription only.
        """
        message = received.message
        attributes = dict(message.attributes)
        count = attributes.get(DELIVERIES, "many")
        return cls(
            ack_id=received.ack_id,
            data=message.data,
            attributes=attributes,
            died_at=message.publish_time,
            topic=attributes.get(TOPIC) or topics.get(attributes.get(SOURCE, "")),
            error_code=attributes.get(ERROR_CODE, UNDELIVERABLE),
            reason=attributes.get(REASON, f"not handled in {count} deliveries"),
        )

    @property
    def own_attributes(self) -> dict[str, str]:
        """Those that the message had before it died."""
        return {
            name: value
            for name, value in self.attributes.items()
            if name not in ADDED and not name.startswith(ADDED_PREFIXES)
        }
