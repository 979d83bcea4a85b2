"""Topics and subscriptions of a local Pub/Sub, exactly as ``pipeline.yaml`` says."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from google.api_core.exceptions import AlreadyExists, NotFound
from google.cloud import pubsub_v1
from google.protobuf.duration_pb2 import Duration  # type: ignore[import-untyped]

from infra.local.pubsub.push_request import CLOUD, PLACES_LABEL, PUSH_LABEL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.topology import PushSubscription, Topology

# Google's emulator pushes no more messages of a subscription at a time than this.
EMULATOR_PUSHES = 2


def create(
    topology: Topology,
    project: str,
    ports: Mapping[str, int],
    *,
    pushes: int | None = None,
    push: str = CLOUD,
) -> list[str]:
    """Create everything; return the subscriptions that a relay has to deliver.

    ``ports`` tells where each function listens, ``pushes`` how many messages of a
    subscription the server pushes at a time, None if any number. A subscription of a
    function that serves more at a time has no push endpoint here. ``push`` is how the
    embedded Pub/Sub pushes; see ``push_request``.
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
            request = _subscription(project, wanted)
            if pushes is not None and function.concurrency > pushes:
                relayed.append(wanted.name)
            else:
                endpoint = push_endpoint(ports[function.name], project, wanted.topic)
                # One instance of each function runs here.
                labels = {PLACES_LABEL: str(function.concurrency), PUSH_LABEL: push}
                request |= _push(wanted, endpoint, labels)
            _replace(subscriber, request)
        for pull in topology.dead_letter_subscriptions.values():
            request = {
                "name": subscriber.subscription_path(project, pull.name),
                "topic": publisher.topic_path(project, pull.topic),
                "message_retention_duration": Duration(seconds=pull.retention_seconds),
            }
            with contextlib.suppress(AlreadyExists):
                subscriber.create_subscription(request=request)
    return relayed


def restart_push(project: str, name: str) -> None:
    """Take a subscription's endpoint away, and give it back."""
    with pubsub_v1.SubscriberClient() as subscriber:
        path = subscriber.subscription_path(project, name)
        push = subscriber.get_subscription(subscription=path).push_config
        subscriber.modify_push_config(subscription=path, push_config={})
        subscriber.modify_push_config(subscription=path, push_config=push)


def push_endpoint(port: int, project: str, topic: str) -> str:
    """Where a topic's messages are pushed; the framework reads the topic there."""
    return f"http://127.0.0.1:{port}/projects/{project}/topics/{topic}"


def _subscription(project: str, wanted: PushSubscription) -> dict[str, object]:
    def topic(name: str) -> str:
        return f"projects/{project}/topics/{name}"

    return {
        "name": f"projects/{project}/subscriptions/{wanted.name}",
        "topic": topic(wanted.topic),
        "ack_deadline_seconds": wanted.ack_deadline_seconds,
        "dead_letter_policy": {
            "dead_letter_topic": topic(wanted.dead_letter_topic),
            "max_delivery_attempts": wanted.max_delivery_attempts,
        },
    }


def _push(
    wanted: PushSubscription, endpoint: str, labels: dict[str, str]
) -> dict[str, object]:
    """What a subscription has on top when no relay delivers it.

    A relay keeps the back-off itself: the emulator, asked to, would after a few
    attempts never again answer a pull.
    """
    return {
        "push_config": {"push_endpoint": endpoint},
        "labels": labels,
        "retry_policy": {
            "minimum_backoff": Duration(seconds=wanted.minimum_backoff_seconds),
            "maximum_backoff": Duration(seconds=wanted.maximum_backoff_seconds),
        },
    }


def _replace(
    subscriber: pubsub_v1.SubscriberClient, request: dict[str, object]
) -> None:
    """Create a subscription; one that an earlier stack left points to a dead port."""
    with contextlib.suppress(NotFound):
        subscriber.delete_subscription(subscription=request["name"])
    subscriber.create_subscription(request=request)
