"""Topics and subscriptions in the emulator, exactly as ``pipeline.yaml`` says."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from google.api_core.exceptions import AlreadyExists, NotFound
from google.cloud import pubsub_v1
from google.protobuf.duration_pb2 import Duration  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.topology import PushSubscription, Topology

# The emulator pushes no more messages of a subscription at a time than this.
EMULATOR_PUSHES = 2


def create(topology: Topology, project: str, ports: Mapping[str, int]) -> list[str]:
    """Create everything; return the subscriptions that a relay has to deliver.

    ``ports`` tells where each function listens. A subscription of a function that
    serves more messages at a time than the emulator pushes has no push endpoint here.
    """
    publisher = pubsub_v1.PublisherClient()
    for topic in topology.topics:
        with contextlib.suppress(AlreadyExists):
            publisher.create_topic(name=publisher.topic_path(project, topic))
    subscriber = pubsub_v1.SubscriberClient()
    relayed = []
    with subscriber:
        for wanted in topology.subscriptions.values():
            function = topology.functions[wanted.function]
            relay = function.concurrency > EMULATOR_PUSHES
            endpoint = (
                None
                if relay
                else push_endpoint(ports[function.name], project, wanted.topic)
            )
            _replace(subscriber, _push(project, wanted, endpoint))
            if relay:
                relayed.append(wanted.name)
        for pull in topology.dead_letter_subscriptions.values():
            request = {
                "name": subscriber.subscription_path(project, pull.name),
                "topic": publisher.topic_path(project, pull.topic),
                "message_retention_duration": Duration(seconds=pull.retention_seconds),
            }
            with contextlib.suppress(AlreadyExists):
                subscriber.create_subscription(request=request)
    return relayed


def push_endpoint(port: int, project: str, topic: str) -> str:
    """Where a topic's messages are pushed; the framework reads the topic there."""
    return f"http://127.0.0.1:{port}/projects/{project}/topics/{topic}"


def _push(
    project: str, wanted: PushSubscription, endpoint: str | None
) -> dict[str, object]:
    def topic(name: str) -> str:
        return f"projects/{project}/topics/{name}"

    request: dict[str, object] = {
        "name": f"projects/{project}/subscriptions/{wanted.name}",
        "topic": topic(wanted.topic),
        "ack_deadline_seconds": wanted.ack_deadline_seconds,
        "dead_letter_policy": {
            "dead_letter_topic": topic(wanted.dead_letter_topic),
            "max_delivery_attempts": wanted.max_delivery_attempts,
        },
    }
    if endpoint:
        request["push_config"] = {"push_endpoint": endpoint}
        # Where there is a relay, it keeps the back-off: the emulator, asked to, would
        # after a few tries never again answer a pull.
        request["retry_policy"] = {
            "minimum_backoff": Duration(seconds=wanted.minimum_backoff_seconds),
            "maximum_backoff": Duration(seconds=wanted.maximum_backoff_seconds),
        }
    return request


def _replace(
    subscriber: pubsub_v1.SubscriberClient, request: dict[str, object]
) -> None:
    """Create a subscription; one that an earlier stack left points to a dead port."""
    with contextlib.suppress(NotFound):
        subscriber.delete_subscription(subscription=request["name"])
    subscriber.create_subscription(request=request)
