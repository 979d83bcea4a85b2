"""The calls of the API on topics and subscriptions in memory.

Each method takes the request and returns the reply of the call with its name; nothing
waits, and nothing here knows gRPC or HTTP.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration  # type: ignore[import-untyped]
from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]

from infra.local.pubsub import limits, protos
from infra.local.pubsub.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
)
from infra.local.pubsub.subscription import Delivery, Entry, Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from infra.local.pubsub.protos import Message

DELETED_TOPIC = "_deleted-topic_"
PAGE_SIZE = 1_000
DEFAULT_ACK_DEADLINE_SECONDS = 10
DEFAULT_DELIVERY_ATTEMPTS = 5
DEFAULT_BACKOFF_SECONDS = (10, 600)
DEFAULT_RETENTION = Duration(seconds=7 * 86_400)
DEFAULT_EXPIRATION = Duration(seconds=31 * 86_400)
ACTIVE = 1
CHANGEABLE = {
    "ack_deadline_seconds",
    "dead_letter_policy",
    "expiration_policy",
    "labels",
    "message_retention_duration",
    "push_config",
    "retry_policy",
}
SOURCE = "CloudPubSubDeadLetterSource"


class PubSub:
    """Topics and subscriptions; it forgets everything when the process ends."""

    def __init__(
        self,
        now: Callable[[], float],
        *,
        on_change: Callable[[Subscription], None] = lambda _: None,
    ) -> None:
        """Start empty.

        ``now`` is in seconds since 1970 and never goes back. ``on_change`` is told
        each subscription that was created, changed or deleted.
        """
        self.topics: dict[str, Message] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self._now = now
        self._on_change = on_change
        # Fewer than a million messages a second keep ids unique from start to start.
        self._ids = count(int(now() * 1_000_000))

    def tick(self) -> None:
        """Let time pass: deadlines, back-offs, retention."""
        # Dead letters of one may be added to another.
        for subscription in tuple(self.subscriptions.values()):
            subscription.tick()

    def create_topic(self, topic: Message) -> Message:
        """Create a topic; its name must be free."""
        limits.check_name("name", topic.name, "topics")
        if topic.name in self.topics:
            raise AlreadyExists(topic.name)
        self.topics[topic.name] = topic
        return topic

    def get_topic(self, request: Message) -> Message:
        """The topic with a name."""
        return self._topic("topic", request.topic)

    def update_topic(self, request: Message) -> Message:
        """Change the fields that ``update_mask`` names."""
        topic = self._topic("topic.name", request.topic.name)
        _check_mask(request.update_mask, {"labels", "message_retention_duration"})
        _merge(request.update_mask, request.topic, topic)
        return topic

    def list_topics(self, request: Message) -> Message:
        """A page of the topics of a project, by name."""
        page, token = _page(self.topics, f"{request.project}/topics/", request)
        topics = [self.topics[name] for name in page]
        return protos.ListTopicsResponse(topics=topics, next_page_token=token)

    def list_topic_subscriptions(self, request: Message) -> Message:
        """A page of the names of a topic's subscriptions."""
        topic = self._topic("topic", request.topic)
        names = {subscription.config.name: None for subscription in self._of(topic)}
        page, token = _page(names, "", request)
        return protos.ListTopicSubscriptionsResponse(
            subscriptions=page, next_page_token=token
        )

    def delete_topic(self, request: Message) -> Message:
        """Delete a topic; its subscriptions keep their backlog."""
        topic = self._topic("topic", request.topic)
        for subscription in self._of(topic):
            subscription.config.topic = DELETED_TOPIC
        del self.topics[topic.name]
        return protos.Empty()

    def publish(self, request: Message) -> Message:
        """Hand each message to every subscription that the topic has now."""
        topic = self._topic("topic", request.topic)
        limits.check_publish(request)
        ids = [self._publish(topic, message) for message in request.messages]
        return protos.PublishResponse(message_ids=ids)

    def create_subscription(self, request: Message) -> Message:
        """Create a subscription; it receives what is published from now on."""
        config = _with_defaults(request)
        self._check(config)
        if config.name in self.subscriptions:
            raise AlreadyExists(config.name)
        self._topic("topic", config.topic)
        created = Subscription(config, self._now, self._dead_letter)
        self.subscriptions[config.name] = created
        self._on_change(created)
        return config

    def get_subscription(self, request: Message) -> Message:
        """The subscription with a name, its defaults filled in."""
        return self.find(request.subscription).config

    def list_subscriptions(self, request: Message) -> Message:
        """A page of the subscriptions of a project, by name."""
        prefix = f"{request.project}/subscriptions/"
        page, token = _page(self.subscriptions, prefix, request)
        configs = [self.subscriptions[name].config for name in page]
        return protos.ListSubscriptionsResponse(
            subscriptions=configs, next_page_token=token
        )

    def update_subscription(self, request: Message) -> Message:
        """Change the fields that ``update_mask`` names."""
        found = self.find(request.subscription.name, "subscription.name")
        _check_mask(request.update_mask, CHANGEABLE)
        changed = protos.Subscription()
        changed.CopyFrom(found.config)
        _merge(request.update_mask, request.subscription, changed)
        return self._change(found, changed)

    def modify_push_config(self, request: Message) -> Message:
        """Set or remove the push endpoint; pushes under way are cut off."""
        found = self.find(request.subscription)
        changed = protos.Subscription()
        changed.CopyFrom(found.config)
        changed.push_config.CopyFrom(request.push_config)
        self._change(found, changed)
        return protos.Empty()

    def delete_subscription(self, request: Message) -> Message:
        """Delete a subscription and its backlog."""
        deleted = self.find(request.subscription)
        deleted.deleted = True
        del self.subscriptions[deleted.config.name]
        self._on_change(deleted)
        deleted.notify()
        return protos.Empty()

    def pull(self, request: Message) -> Message:
        """What is ready; the caller waits and asks again if it is nothing."""
        if request.max_messages < 1:
            raise InvalidArgument("max_messages", "must be positive")
        found = self.find_pulled(request.subscription)
        return protos.PullResponse(
            received_messages=received(found.take(request.max_messages))
        )

    def acknowledge(self, request: Message) -> Message:
        """Be done with messages."""
        found = self.find(request.subscription)
        limits.check_acknowledgement(request)
        found.acknowledge(request.ack_ids)
        return protos.Empty()

    def modify_ack_deadline(self, request: Message) -> Message:
        """Set a new ack deadline, counted from now; 0 refuses the messages."""
        found = self.find(request.subscription)
        limits.check_acknowledgement(request)
        seconds = request.ack_deadline_seconds
        limits.check_new_deadline("ack_deadline_seconds", seconds)
        found.extend(request.ack_ids, seconds)
        return protos.Empty()

    def find(self, name: str, field: str = "subscription") -> Subscription:
        """The subscription with a full name.

        Raises:
            InvalidArgument: If the name cannot be one of a subscription.
            NotFound: If there is none.
        """
        limits.check_name(field, name, "subscriptions")
        if name not in self.subscriptions:
            raise NotFound(name)
        return self.subscriptions[name]

    def find_pulled(self, name: str) -> Subscription:
        """The same, if it may be pulled from.

        Raises:
            FailedPrecondition: If its messages are pushed.
        """
        found = self.find(name)
        if found.config.push_config.push_endpoint:
            raise FailedPrecondition(f"{name} is pushed; it cannot be pulled from")
        return found

    def _topic(self, field: str, name: str) -> Message:
        limits.check_name(field, name, "topics")
        if name not in self.topics:
            raise NotFound(name)
        return self.topics[name]

    def _of(self, topic: Message) -> Iterator[Subscription]:
        for subscription in tuple(self.subscriptions.values()):
            if subscription.config.topic == topic.name:
                yield subscription

    def _check(self, config: Message) -> None:
        limits.check_subscription(config)
        if config.HasField("dead_letter_policy"):
            field = "dead_letter_policy.dead_letter_topic"
            self._topic(field, config.dead_letter_policy.dead_letter_topic)

    def _change(self, found: Subscription, changed: Message) -> Message:
        config = _with_defaults(changed)
        self._check(config)
        found.config = config
        self._on_change(found)
        found.notify()
        return config

    def _publish(self, topic: Message, message: Message) -> str:
        """Hand a message to every subscription of a topic; return its id."""
        published_at = Timestamp()
        # Milliseconds, as the service has them.
        published_at.FromMilliseconds(int(self._now() * 1_000))
        published = protos.PubsubMessage(
            data=message.data,
            attributes=message.attributes,
            ordering_key=message.ordering_key,
            message_id=str(next(self._ids)),
            publish_time=published_at,
        )
        for subscription in self._of(topic):
            subscription.add(published)
        return str(published.message_id)

    def _dead_letter(self, source: Subscription, entry: Entry) -> bool:
        topic = self.topics.get(source.config.dead_letter_policy.dead_letter_topic)
        if topic is None:
            return False
        message, (_, project, _, name) = entry.message, source.config.name.split("/")
        facts: Mapping[str, str] = {
            "DeliveryCount": str(entry.attempts),
            "Subscription": name,
            "SubscriptionProject": project,
            "TopicPublishTime": message.publish_time.ToJsonString(),
        }
        letter = protos.PubsubMessage()
        letter.CopyFrom(message)
        letter.attributes.update({SOURCE + key: value for key, value in facts.items()})
        self._publish(topic, letter)
        return True


def received(deliveries: Iterable[Delivery]) -> list[Message]:
    """Deliveries as a pull returns them."""
    return [
        protos.ReceivedMessage(
            ack_id=delivery.ack_id,
            message=delivery.message,
            delivery_attempt=delivery.attempt,
        )
        for delivery in deliveries
    ]


def _with_defaults(request: Message) -> Message:
    """A subscription as the service stores it."""
    config = protos.Subscription()
    config.CopyFrom(request)
    config.state = ACTIVE
    config.ack_deadline_seconds = (
        config.ack_deadline_seconds or DEFAULT_ACK_DEADLINE_SECONDS
    )
    if not config.HasField("message_retention_duration"):
        config.message_retention_duration.CopyFrom(DEFAULT_RETENTION)
    if not config.HasField("expiration_policy"):
        config.expiration_policy.ttl.CopyFrom(DEFAULT_EXPIRATION)
    if config.HasField("dead_letter_policy"):
        policy = config.dead_letter_policy
        policy.max_delivery_attempts = (
            policy.max_delivery_attempts or DEFAULT_DELIVERY_ATTEMPTS
        )
    if config.HasField("retry_policy"):
        low, high = DEFAULT_BACKOFF_SECONDS
        if not config.retry_policy.HasField("minimum_backoff"):
            config.retry_policy.minimum_backoff.seconds = low
        if not config.retry_policy.HasField("maximum_backoff"):
            config.retry_policy.maximum_backoff.seconds = high
    return config


def _check_mask(mask: Message, changeable: set[str]) -> None:
    wrong = [path for path in mask.paths if path.split(".")[0] not in changeable]
    if wrong or not mask.paths:
        problem = f"must name some of {', '.join(sorted(changeable))}, not {wrong}"
        raise InvalidArgument("update_mask", problem)


def _merge(mask: Message, source: Message, target: Message) -> None:
    mask.MergeMessage(
        source, target, replace_message_field=True, replace_repeated_field=True
    )


def _page(names: Iterable[str], prefix: str, request: Message) -> tuple[list[str], str]:
    """A page of sorted names, and the token of the next one (its last name)."""
    size = min(request.page_size or PAGE_SIZE, PAGE_SIZE)
    if size < 0:
        raise InvalidArgument("page_size", "must not be negative")
    rest = sorted(
        name for name in names if name.startswith(prefix) and name > request.page_token
    )
    return rest[:size], rest[size - 1] if len(rest) > size else ""
