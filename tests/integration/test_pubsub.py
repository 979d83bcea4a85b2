from __future__ import annotations

import json
import socket
import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from google.cloud import pubsub_v1

from infra.local import topics
from infra.local.pubsub.push_request import CLOUD, PLACES_LABEL, PUSH_LABEL
from infra.local.relay import Relay
from infra.topology import load
from shared.errors import MalformedMessage, PublishFailed
from shared.pubsub.dead_letters import DeadLetterPublisher
from shared.pubsub.delivery import Delivery
from shared.pubsub.publisher import Publisher
from shared.pubsub.transport import GoogleTransport
from tests.support.servers import push_receiver

TOPOLOGY = load()


@pytest.fixture
def project(emulator):
    return f"p{uuid.uuid4().hex[:10]}"


@pytest.fixture
def publisher(project):
    return Publisher(project)


@pytest.fixture
def subscriber(emulator):
    with pubsub_v1.SubscriberClient() as client:
        yield client


@pytest.fixture
def receiver():
    with push_receiver() as receiver:
        yield receiver


COLLECTORS = [
    f"collector-{lane}-{call}"
    for lane in ("live", "history")
    for call in ("minutes", "days", "weeks")
]


def created(project, port=1, pushes=None):
    ports = dict.fromkeys(TOPOLOGY.functions, port)
    return topics.create(TOPOLOGY, project, ports, pushes=pushes)


def pull(subscriber, project, name, count):
    path = subscriber.subscription_path(project, name)
    found = []
    while len(found) < count:
        reply = subscriber.pull(subscription=path, max_messages=1000, timeout=10)
        found += [received.message for received in reply.received_messages]
        ids = [received.ack_id for received in reply.received_messages]
        if ids:
            subscriber.acknowledge(subscription=path, ack_ids=ids)
    return found


def found(project, subscriber):
    return {
        subscription.name.rsplit("/", 1)[1]: subscription
        for subscription in subscriber.list_subscriptions(project=f"projects/{project}")
    }


def test_pubsub_gets_exactly_what_the_topology_says(project, subscriber):
    relayed = created(project, port=4711)

    admin = pubsub_v1.PublisherClient()
    names = {topic.name for topic in admin.list_topics(project=f"projects/{project}")}
    assert names == {f"projects/{project}/topics/{name}" for name in TOPOLOGY.topics}
    subscriptions = found(project, subscriber)
    assert subscriptions.keys() == {
        *TOPOLOGY.subscriptions,
        *TOPOLOGY.dead_letter_subscriptions,
    }
    assert relayed == []
    for name, wanted in TOPOLOGY.subscriptions.items():
        subscription = subscriptions[name]
        assert subscription.ack_deadline_seconds == wanted.ack_deadline_seconds
        policy = subscription.dead_letter_policy
        assert policy.max_delivery_attempts == wanted.max_delivery_attempts
        assert policy.dead_letter_topic.endswith(f"/topics/{wanted.dead_letter_topic}")
        endpoint = f"http://127.0.0.1:4711/projects/{project}/topics/{wanted.topic}"
        assert subscription.push_config.push_endpoint == endpoint
        concurrency = TOPOLOGY.functions[wanted.function].concurrency
        assert subscription.labels == {
            PLACES_LABEL: str(concurrency),
            PUSH_LABEL: CLOUD,
        }
        retries = subscription.retry_policy
        assert retries.minimum_backoff.seconds == wanted.minimum_backoff_seconds
        assert retries.maximum_backoff.seconds == wanted.maximum_backoff_seconds


def test_what_a_server_cannot_push_is_left_to_a_relay(project, subscriber):
    relayed = created(project, pushes=2)

    assert relayed == ["dispatcher", *COLLECTORS]
    for name, subscription in found(project, subscriber).items():
        pushed = name in TOPOLOGY.subscriptions and name not in relayed
        assert bool(subscription.push_config.push_endpoint) == pushed
        # A relay keeps the back-off itself.
        assert bool(subscription.retry_policy) == pushed


def test_pushes_under_way_are_abandoned_and_begun_again(
    project, publisher, receiver, emulator
):
    if emulator.kind == "emulator":
        pytest.skip("a relay pushes for Google's emulator")
    receiver.hold.set()
    impatient = {
        name: replace(subscription, ack_deadline_seconds=10, minimum_backoff_seconds=0)
        for name, subscription in TOPOLOGY.subscriptions.items()
    }
    ports = dict.fromkeys(TOPOLOGY.functions, receiver.port)
    topics.create(replace(TOPOLOGY, subscriptions=impatient), project, ports)
    publisher.publish("collect-live-days", [b"{}"], {})
    receiver.pushes.get(timeout=20)

    topics.restart_push(project, "collector-live-days")
    receiver.hold.clear()

    # Its answer did not count: it comes again when its deadline has passed.
    receiver.pushes.get(timeout=20)


def test_creating_everything_twice_is_no_error(project):
    created(project)
    created(project)


def test_many_messages_are_with_the_service_when_publish_returns(
    project, publisher, subscriber
):
    created(project)

    publisher.publish(
        "dead-letters", [b"%d" % n for n in range(2_500)], {"run_id": "r"}
    )

    found = pull(subscriber, project, "dead-letters", 2_500)
    assert {int(message.data) for message in found} == set(range(2_500))
    assert found[0].attributes["run_id"] == "r"


def test_a_topic_that_is_not_there_fails_loudly(publisher):
    with pytest.raises(PublishFailed, match="topic nowhere: NotFound"):
        publisher.publish("nowhere", [b"{}"], {})


def test_a_service_that_is_silent_is_given_up_within_the_deadline(monkeypatch):
    """It takes the connection and says nothing; Google's client would wait 10 min."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{port}")
        transport, began = GoogleTransport("p", seconds=2.0), time.monotonic()

        with pytest.raises(PublishFailed, match="topic tokens: [A-Z]"):
            transport.send("tokens", [b"{}"], {})

    assert time.monotonic() - began < 10.0


def test_a_dead_letter_keeps_the_message_and_its_reason(project, publisher, subscriber):
    created(project)
    delivery = Delivery(
        message_id="42",
        data=b'{"timeframe":"15m"}',
        attributes={"origin": "me"},
        published_at=datetime.now(UTC),
        topic="triggers",
    )
    error = MalformedMessage("timeframe", "'15m' is not a timeframe" + "." * 2_000)

    DeadLetterPublisher(publisher, "dead-letters").dead_letter(delivery, error)

    (letter,) = pull(subscriber, project, "dead-letters", 1)
    assert letter.data == delivery.data
    assert letter.attributes["error_code"] == "malformed_message"
    assert letter.attributes["reason"].startswith("timeframe: '15m' is not a timeframe")
    assert letter.attributes["message_id"] == "42"
    assert letter.attributes["origin"] == "me"
    assert letter.attributes["topic"] == "triggers"


def test_the_relay_pushes_as_pubsub_does_until_it_is_acknowledged(
    project, publisher, receiver
):
    created(project, pushes=2)
    receiver.answers.put(503)
    endpoint = topics.push_endpoint(receiver.port, project, "collect-live-days")
    subscription = replace(
        TOPOLOGY.subscriptions["collector-live-days"], minimum_backoff_seconds=1
    )
    relay = Relay(project, subscription, endpoint, at_once=4)
    relay.start()

    publisher.publish(
        "collect-live-days", [b'{"run_id":"r"}'], {"schema": "collect-request/1"}
    )

    first, second = receiver.pushes.get(timeout=20), receiver.pushes.get(timeout=30)
    relay.stop()
    assert first.path == second.path == f"/projects/{project}/topics/collect-live-days"
    bodies = [json.loads(push.body) for push in (first, second)]
    assert [body["deliveryAttempt"] for body in bodies] == [1, 2]
    message = bodies[0]["message"]
    assert message["messageId"]
    assert message["attributes"]["schema"] == "collect-request/1"
