"""What Pub/Sub posts to a push endpoint, and what it takes for an answer."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infra.local.pubsub.protos import Message

# The statuses that acknowledge a message.
ACKNOWLEDGED = frozenset({102, 200, 201, 202, 204})
# Labels of a subscription, for the embedded Pub/Sub; Google's emulator ignores them.
# How many messages its endpoint serves at a time, which the service is not told.
PLACES_LABEL = "push-places"
# How messages are pushed: "steady" fills the places, "cloud" does as the service and
# Cloud Run do.
PUSH_LABEL = "push"
STEADY, CLOUD = "steady", "cloud"


def push_body(subscription: str, message: Message, attempt: int) -> dict[str, object]:
    """The body of a push; ``attempt`` is 0 without a dead-letter policy.

    As the service does, it leaves out what is empty and names two fields twice.
    """
    published_at = message.publish_time.ToJsonString()
    content: dict[str, object] = {
        "messageId": message.message_id,
        "message_id": message.message_id,
        "publishTime": published_at,
        "publish_time": published_at,
    }
    if message.data:
        content["data"] = base64.b64encode(message.data).decode()
    if message.attributes:
        content["attributes"] = dict(message.attributes)
    if message.ordering_key:
        content["orderingKey"] = message.ordering_key
    body: dict[str, object] = {"message": content, "subscription": subscription}
    if attempt:
        body["deliveryAttempt"] = attempt
    return body
