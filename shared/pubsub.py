"""Pub/Sub: publish messages, and put aside what can never be done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.api_core.exceptions import GoogleAPIError
from google.cloud.pubsub_v1 import PublisherClient
from google.pubsub_v1 import PublisherClient as PublisherApi

from shared.errors import PublishFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shared.delivery import Delivery
    from shared.errors import PipelineError

# The service takes no more in one request.
MESSAGES_PER_REQUEST = 1000
PUBLISH_SECONDS = 30
# Dispatcher and collector never deploy in the same instant.
REQUEST_SCHEMA = "collect-request/1"
# Attribute values end at 1,024 bytes; Korean needs three for a letter.
REASON_LETTERS = 300


def new_publisher(project: str) -> Publisher:
    """Build a publisher; ``PUBSUB_EMULATOR_HOST`` is the client's own switch."""
    return Publisher(PublisherClient(), project)


class Publisher:
    """Publishes synchronously: when a call returns, the service has the messages.

    The client's own futures would be lost with the instance, without an error.
    """

    def __init__(self, client: PublisherClient, project: str) -> None:
        """Publish to topics of ``project``."""
        self._client = client
        self._project = project

    def publish(
        self,
        topic: str,
        messages: Sequence[bytes],
        attributes: Mapping[str, str],
    ) -> None:
        """Publish all ``messages``, each with the same ``attributes``.

        Raises:
            PublishFailed: If the service did not take them all.
        """
        path = PublisherClient.topic_path(self._project, topic)
        for start in range(0, len(messages), MESSAGES_PER_REQUEST):
            chunk = [
                {"data": data, "attributes": dict(attributes)}
                for data in messages[start : start + MESSAGES_PER_REQUEST]
            ]
            try:
                # Unbound, because the outer client's publish is the one with futures.
                PublisherApi.publish(
                    self._client,
                    request={"topic": path, "messages": chunk},
                    timeout=PUBLISH_SECONDS,
                )
            except GoogleAPIError as error:
                message = f"topic {topic}: {type(error).__name__}"
                raise PublishFailed(message) from error

    def publish_run(self, topic: str, messages: Sequence[bytes], run_id: str) -> None:
        """Publish the collect requests of a run; see ``publish``."""
        self.publish(topic, messages, {"schema": REQUEST_SCHEMA, "run_id": run_id})

    def dead_letter(self, topic: str, delivery: Delivery, error: PipelineError) -> None:
        """Put a message aside with the reason why it can never be done.

        Raises:
            PublishFailed: If the service did not take it; let it be delivered again.
        """
        attributes = {
            **delivery.attributes,
            "error_code": error.error_code,
            "reason": str(error)[:REASON_LETTERS],
            "message_id": delivery.message_id,
            "topic": delivery.topic,
        }
        # An empty body would be refused at the next push.
        self.publish(topic, [delivery.data or b"{}"], attributes)
