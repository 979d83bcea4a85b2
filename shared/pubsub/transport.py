"""Google's client, which only ``publisher`` imports, and late: it is heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.api_core.exceptions import GoogleAPIError
from google.cloud.pubsub_v1 import PublisherClient
from google.pubsub_v1 import PublisherClient as PublisherApi

from shared.errors import PublishFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PUBLISH_SECONDS = 30


class GoogleTransport:
    """Publishes through gRPC; ``PUBSUB_EMULATOR_HOST`` is the client's own switch."""

    def __init__(self, project: str) -> None:
        """Publish to topics of ``project``."""
        self._client = PublisherClient()
        self._project = project

    def send(
        self, topic: str, messages: Sequence[bytes], attributes: Mapping[str, str]
    ) -> None:
        """Publish, and wait until the service has the messages.

        Raises:
            PublishFailed: If the service did not take them.
        """
        request = {
            "topic": PublisherClient.topic_path(self._project, topic),
            "messages": [
                {"data": data, "attributes": dict(attributes)} for data in messages
            ],
        }
        try:
            # Unbound: the outer client's own publish returns futures, which would be
            # lost with the instance, without an error.
            PublisherApi.publish(self._client, request=request, timeout=PUBLISH_SECONDS)
        except GoogleAPIError as error:
            message = f"topic {topic}: {type(error).__name__}"
            raise PublishFailed(message) from error
