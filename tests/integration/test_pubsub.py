from __future__ import annotations

import contextlib
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, Queue
from threading import Thread

import pytest
from google.cloud import pubsub_v1

from infra.local import topics
from infra.local.relay import Relay
from infra.topology import load
from shared.errors import MalformedMessage, PublishFailed
from shared.pubsub.dead_letters import DeadLetterPublisher
from shared.pubsub.delivery import Delivery
from shared.pubsub.publisher import Publisher

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
    """An HTTP server that remembers what is pushed and answers from a queue."""
    pushes, answers = Queue(), Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            pushes.put((self.path, body))
            status = 204
            with contextlib.suppress(Empty):
                status = answers.get_nowait()
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    server.pushes, server.answers = pushes, answers
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def created(project, port=1):
    ports = dict.fromkeys(TOPOLOGY.functions, port)
    return topics.create(TOPOLOGY, project, ports)


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


def test_the_emulator_gets_exactly_what_the_topology_says(project, subscriber):
    relayed = created(project, port=4711)

    admin = pubsub_v1.PublisherClient()
    names = {topic.name for topic in admin.list_topics(project=f"projects/{project}")}
    assert names == {f"projects/{project}/topics/{name}" for name in TOPOLOGY.topics}
    subscriptions = {
        subscription.name.rsplit("/", 1)[1]: subscription
        for subscription in subscriber.list_subscriptions(project=f"projects/{project}")
    }
    assert subscriptions.keys() == {
        *TOPOLOGY.subscriptions,
        *TOPOLOGY.dead_letter_subscriptions,
    }
    for name, wanted in TOPOLOGY.subscriptions.items():
        found = subscriptions[name]
        assert found.ack_deadline_seconds == wanted.ack_deadline_seconds
        policy = found.dead_letter_policy
        assert policy.max_delivery_attempts == wanted.max_delivery_attempts
        assert policy.dead_letter_topic.endswith(f"/topics/{wanted.dead_letter_topic}")
        endpoint = f"http://127.0.0.1:4711/projects/{project}/topics/{wanted.topic}"
        pushed = found.push_config.push_endpoint
        assert pushed == ("" if name in relayed else endpoint)
        # What a relay delivers has its back-off from the relay.
        backoff = found.retry_policy.minimum_backoff.seconds
        assert backoff == (0 if name in relayed else wanted.minimum_backoff_seconds)


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
    created(project)
    receiver.answers.put(503)
    port = receiver.server_address[1]
    endpoint = topics.push_endpoint(port, project, "collect")
    subscription = replace(
        TOPOLOGY.subscriptions["collector"], minimum_backoff_seconds=1
    )
    relay = Relay(project, subscription, endpoint, at_once=4)
    relay.start()

    publisher.publish("collect", [b'{"run_id":"r"}'], {"schema": "collect-request/1"})

    first, second = receiver.pushes.get(timeout=20), receiver.pushes.get(timeout=30)
    relay.stop()
    path, body = first
    assert path == f"/projects/{project}/topics/collect"
    assert b'"messageId"' in body
    assert b'"schema": "collect-request/1"' in body
    assert second[0] == path
