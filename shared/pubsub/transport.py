"""Google's client, which only ``publisher`` imports, and late: it is heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import DeadlineExceeded, GoogleAPIError, RetryError
from google.api_core.retry import Retry, if_transient_error
from google.cloud.pubsub_v1 import PublisherClient
from google.pubsub_v1 import PublisherClient as PublisherApi

from shared.errors import PublishFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The client's own retries last ten minutes, whatever ``timeout`` it is given: that is
# of one try. What is published twice is harmless, so a try without an answer is
# repeated; the last one begins within the time of all.
TRY_SECONDS = 10.0
PUBLISH_SECONDS = 30.0


def _is_passing(error: Exception) -> bool:
    return isinstance(error, DeadlineExceeded) or if_transient_error(error)


class GoogleTransport:
    """Publishes through gRPC; ``PUBSUB_EMULATOR_HOST`` is the client's own switch."""

    def __init__(self, project: str, seconds: float = PUBLISH_SECONDS) -> None:
        """Publish to topics of ``project``, each request within ``seconds``."""
        self._client = PublisherClient()
        self._project = project
        once = min(TRY_SECONDS, seconds / 2)
        retry = Retry(predicate=_is_passing, timeout=seconds - once)
        self._limits: dict[str, Any] = {"timeout": once, "retry": retry}

    def send(
        self, topic: str, messages: Sequence[bytes], attributes: Mapping[str, str]
    ) -> None:
        """Publish, and wait until the service has the messages.

        Raises:
            PublishFailed: If the service did not take them in time.
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
            PublisherApi.publish(self._client, request=request, **self._limits)
        except GoogleAPIError as error:
            cause = error.cause if isinstance(error, RetryError) else error
            message = f"topic {topic}: {type(cause).__name__}"
            raise PublishFailed(message) from error
