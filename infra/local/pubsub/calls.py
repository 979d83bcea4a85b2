"""Every call that is served: its request, its REST form, and the waiting of a pull."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.local.pubsub.errors import Unimplemented
from infra.local.pubsub.protos import request_class

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from infra.local.pubsub.protos import Message
    from infra.local.pubsub.service import PubSub
    from infra.local.pubsub.subscription import Subscription

# An empty reply after so long, as the service gives; clients then pull again.
PULL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Call:
    """A call: ``method`` of ``service``, in REST ``verb`` on ``path``.

    The part of ``path`` in braces is the field that stands in the URL.
    """

    service: str
    method: str
    request: str
    verb: str
    path: str


TOPIC = "projects/*/topics/*"
SUBSCRIPTION = "projects/*/subscriptions/*"
CALLS = (
    Call("Publisher", "CreateTopic", "Topic", "PUT", f"{{name={TOPIC}}}"),
    Call("Publisher", "GetTopic", "GetTopicRequest", "GET", f"{{topic={TOPIC}}}"),
    Call(
        *("Publisher", "UpdateTopic", "UpdateTopicRequest"),
        *("PATCH", f"{{topic.name={TOPIC}}}"),
    ),
    Call(
        *("Publisher", "ListTopics", "ListTopicsRequest"),
        *("GET", "{project=projects/*}/topics"),
    ),
    Call(
        *("Publisher", "ListTopicSubscriptions", "ListTopicSubscriptionsRequest"),
        *("GET", f"{{topic={TOPIC}}}/subscriptions"),
    ),
    Call(
        *("Publisher", "DeleteTopic", "DeleteTopicRequest"),
        *("DELETE", f"{{topic={TOPIC}}}"),
    ),
    Call(
        *("Publisher", "Publish", "PublishRequest"),
        *("POST", f"{{topic={TOPIC}}}:publish"),
    ),
    Call(
        *("Subscriber", "CreateSubscription", "Subscription"),
        *("PUT", f"{{name={SUBSCRIPTION}}}"),
    ),
    Call(
        *("Subscriber", "GetSubscription", "GetSubscriptionRequest"),
        *("GET", f"{{subscription={SUBSCRIPTION}}}"),
    ),
    Call(
        *("Subscriber", "UpdateSubscription", "UpdateSubscriptionRequest"),
        *("PATCH", f"{{subscription.name={SUBSCRIPTION}}}"),
    ),
    Call(
        *("Subscriber", "ListSubscriptions", "ListSubscriptionsRequest"),
        *("GET", "{project=projects/*}/subscriptions"),
    ),
    Call(
        *("Subscriber", "DeleteSubscription", "DeleteSubscriptionRequest"),
        *("DELETE", f"{{subscription={SUBSCRIPTION}}}"),
    ),
    Call(
        *("Subscriber", "ModifyPushConfig", "ModifyPushConfigRequest"),
        *("POST", f"{{subscription={SUBSCRIPTION}}}:modifyPushConfig"),
    ),
    Call(
        *("Subscriber", "Pull", "PullRequest"),
        *("POST", f"{{subscription={SUBSCRIPTION}}}:pull"),
    ),
    Call(
        *("Subscriber", "Acknowledge", "AcknowledgeRequest"),
        *("POST", f"{{subscription={SUBSCRIPTION}}}:acknowledge"),
    ),
    Call(
        *("Subscriber", "ModifyAckDeadline", "ModifyAckDeadlineRequest"),
        *("POST", f"{{subscription={SUBSCRIPTION}}}:modifyAckDeadline"),
    ),
)
# Known to clients and refused by name.
MISSING = (
    Call(
        *("Publisher", "ListTopicSnapshots", "ListTopicSnapshotsRequest"),
        *("GET", f"{{topic={TOPIC}}}/snapshots"),
    ),
    Call(
        *("Publisher", "DetachSubscription", "DetachSubscriptionRequest"),
        *("POST", f"{{subscription={SUBSCRIPTION}}}:detach"),
    ),
    Call(
        *("Subscriber", "ListSnapshots", "ListSnapshotsRequest"),
        *("GET", "{project=projects/*}/snapshots"),
    ),
    Call(
        *("Subscriber", "CreateSnapshot", "CreateSnapshotRequest"),
        *("PUT", "{name=projects/*/snapshots/*}"),
    ),
    Call(
        *("Subscriber", "Seek", "SeekRequest"),
        *("POST", f"{{subscription={SUBSCRIPTION}}}:seek"),
    ),
)


class Dispatcher:
    """Carries out a call by its name."""

    def __init__(self, pubsub: PubSub) -> None:
        self._pubsub = pubsub
        self._methods: dict[str, Callable[[Message], Message]] = {
            "CreateTopic": pubsub.create_topic,
            "GetTopic": pubsub.get_topic,
            "UpdateTopic": pubsub.update_topic,
            "ListTopics": pubsub.list_topics,
            "ListTopicSubscriptions": pubsub.list_topic_subscriptions,
            "DeleteTopic": pubsub.delete_topic,
            "Publish": pubsub.publish,
            "CreateSubscription": pubsub.create_subscription,
            "GetSubscription": pubsub.get_subscription,
            "UpdateSubscription": pubsub.update_subscription,
            "ListSubscriptions": pubsub.list_subscriptions,
            "DeleteSubscription": pubsub.delete_subscription,
            "ModifyPushConfig": pubsub.modify_push_config,
            "Acknowledge": pubsub.acknowledge,
            "ModifyAckDeadline": pubsub.modify_ack_deadline,
        }

    async def carry_out(self, call: Call, request: Message) -> Message:
        """The reply of a call.

        Raises:
            CallRefused: If it is refused.
        """
        if call.method == "Pull":
            return await self._pull(request)
        if call in MISSING:
            raise Unimplemented(call.method)
        return self._methods[call.method](request)

    async def _pull(self, request: Message) -> Message:
        """Wait for messages; a client that goes away cancels this and gets none."""
        reply = self._pubsub.pull(request)
        if reply.received_messages or request.return_immediately:
            return reply
        subscription = self._pubsub.find_pulled(request.subscription)
        deadline = asyncio.get_running_loop().time() + PULL_SECONDS
        with listening(subscription) as ready:
            while not reply.received_messages:
                try:
                    async with asyncio.timeout_at(deadline):
                        await ready.wait()
                except TimeoutError:
                    break
                ready.clear()
                reply = self._pubsub.pull(request)
        return reply


def request_of(call: Call) -> Message:
    """The class of a call's request."""
    return request_class(call.request)


@contextmanager
def listening(subscription: Subscription) -> Iterator[asyncio.Event]:
    """An event that is set whenever the subscription may have messages."""
    ready = asyncio.Event()
    subscription.listeners.add(ready.set)
    try:
        yield ready
    finally:
        subscription.listeners.discard(ready.set)
