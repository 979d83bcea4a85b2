"""What a local Pub/Sub must do, run against the embedded one and Google's emulator."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from queue import Queue
from threading import Event, Lock

import pytest
import requests
from google.api_core.exceptions import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    MethodNotImplemented,
    NotFound,
    from_grpc_error,
)
from google.cloud import pubsub_v1
from google.protobuf.duration_pb2 import Duration  # type: ignore[import-untyped]
from google.protobuf.field_mask_pb2 import FieldMask  # type: ignore[import-untyped]
from google.pubsub_v1 import PublisherClient as PublisherApi
from grpc import RpcError

from infra.local import emulator, pubsub_server
from infra.local.pubsub.limits import REQUEST_BYTES
from infra.local.pubsub.push_request import CLOUD, PLACES_LABEL, PUSH_LABEL
from infra.local.pubsub.push_window import FIRST_WINDOW
from tests.support.servers import push_receiver

SECONDS = 20


try:
    emulator.find()
except emulator.EmulatorMissing as missing:
    SERVERS, WHY = ["embedded"], str(missing)
else:
    SERVERS, WHY = ["embedded", "emulator"], ""


@pytest.mark.skipif(bool(WHY), reason=f"only the embedded Pub/Sub is tested: {WHY}")
def test_googles_emulator_is_held_to_the_contract_too():
    assert "emulator" in SERVERS


def embedded_only(reason):
    """A rule that Google's emulator does not keep, for this reason."""
    assert reason
    return pytest.mark.parametrize("server", ["embedded"], indirect=True)


@pytest.fixture(scope="module", params=SERVERS)
def server(request, tmp_path_factory):
    logs = tmp_path_factory.mktemp(request.param)
    server = pubsub_server.choose(request.param, logs, os.environ)
    server.start()
    server.wait()
    yield server
    server.stop()


@pytest.fixture
def pubsub(server, monkeypatch):
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.host)
    pubsub = PubSub(server)
    yield pubsub
    pubsub.subscriber.close()


@pytest.fixture
def receiver():
    with push_receiver() as receiver:
        yield receiver


class PubSub:
    """A project of its own, and the usual clients."""

    def __init__(self, server):
        self.server = server
        self.project = f"p{uuid.uuid4().hex[:10]}"
        self.publisher = pubsub_v1.PublisherClient()
        self.subscriber = pubsub_v1.SubscriberClient()
        self.topic = self.path("topics", "topic")

    def path(self, kind, name):
        return f"projects/{self.project}/{kind}/{name}"

    def with_topic(self, name="topic"):
        return self.publisher.create_topic(name=self.path("topics", name)).name

    def with_subscription(self, name="subscription", topic="topic", **settings):
        path = self.path("topics", topic)
        if path not in [topic.name for topic in self.topics()]:
            self.with_topic(topic)
        request = {"name": self.path("subscriptions", name), "topic": path}
        return self.subscriber.create_subscription(request=request | settings).name

    def with_dead_letters(self, attempts=5, **settings):
        letters = self.with_subscription("letters", topic="dead-letters")
        policy = {"dead_letter_topic": self.path("topics", "dead-letters")}
        policy |= {"max_delivery_attempts": attempts}
        source = self.with_subscription(dead_letter_policy=policy, **settings)
        return source, letters

    def topics(self):
        return list(self.publisher.list_topics(project=f"projects/{self.project}"))

    def publish(self, *messages, topic="topic"):
        messages = [
            message if isinstance(message, dict) else {"data": message}
            for message in messages
        ]
        path = self.path("topics", topic)
        reply = PublisherApi.publish(
            self.publisher, request={"topic": path, "messages": messages}
        )
        return list(reply.message_ids)

    def pull_now(self, path, most=100):
        request = {"subscription": path, "max_messages": most}
        request["return_immediately"] = True
        try:
            # The client's own pull warns of what is right here.
            reply = self.subscriber.transport.pull(
                pubsub_v1.types.PullRequest(request), timeout=SECONDS
            )
        except RpcError as error:
            raise from_grpc_error(error) from error
        return list(reply.received_messages)

    def pull(self, path, count=1, seconds=SECONDS):
        """Wait until so many messages have come, or for so long."""
        found, deadline = [], time.monotonic() + seconds
        while len(found) < count and time.monotonic() < deadline:
            found += self.pull_now(path, count - len(found))
            time.sleep(0.02)
        return found

    def acknowledge(self, path, *received):
        ids = [one.ack_id for one in received]
        self.subscriber.acknowledge(subscription=path, ack_ids=ids)

    def set_deadline(self, path, seconds, *received):
        ids = [one.ack_id for one in received]
        self.subscriber.modify_ack_deadline(
            subscription=path, ack_ids=ids, ack_deadline_seconds=seconds
        )

    def refuse(self, path, *received):
        self.set_deadline(path, 0, *received)

    def rest(self, verb, path, body=None):
        return requests.request(
            verb, f"http://{self.server.host}{path}", json=body, timeout=SECONDS
        )

    def gcloud(self, directory, *arguments):
        """The real gcloud, as ``.local/gcloud.env`` sets it up."""
        environ = {
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB": f"http://{self.server.host}/",
            "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
            "CLOUDSDK_CORE_PROJECT": self.project,
            "CLOUDSDK_CONFIG": str(directory),
        }
        done = subprocess.run(
            ["gcloud", "pubsub", *arguments, "--format=json", "--quiet"],
            capture_output=True,
            text=True,
            env=os.environ | environ,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


# Topics


def test_a_topic_is_created_found_listed_and_deleted(pubsub):
    name = pubsub.with_topic()

    assert pubsub.publisher.get_topic(topic=name).name == name
    assert [topic.name for topic in pubsub.topics()] == [name]

    pubsub.publisher.delete_topic(topic=name)

    assert pubsub.topics() == []
    with pytest.raises(NotFound):
        pubsub.publisher.get_topic(topic=name)


def test_a_name_is_taken_only_once(pubsub):
    subscription = pubsub.with_subscription()

    with pytest.raises(AlreadyExists):
        pubsub.with_topic()
    with pytest.raises(AlreadyExists):
        pubsub.subscriber.create_subscription(name=subscription, topic=pubsub.topic)


def test_topics_are_listed_page_by_page(pubsub):
    names = [pubsub.with_topic(f"topic-{number}") for number in range(5)]

    request = {"project": f"projects/{pubsub.project}", "page_size": 2}
    pages = list(pubsub.publisher.list_topics(request=request).pages)

    assert [len(page.topics) for page in pages] == [2, 2, 1]
    assert sorted(topic.name for page in pages for topic in page.topics) == names


def test_a_topic_knows_its_subscriptions(pubsub):
    names = [pubsub.with_subscription(name) for name in ("one", "two")]
    pubsub.with_subscription("other", topic="another")

    found = pubsub.publisher.list_topic_subscriptions(topic=pubsub.topic)

    assert sorted(found) == names


def test_a_subscription_outlives_its_topic(pubsub):
    subscription = pubsub.with_subscription()
    pubsub.publish(b"before")

    pubsub.publisher.delete_topic(topic=pubsub.topic)

    found = pubsub.subscriber.get_subscription(subscription=subscription)
    assert found.topic == "_deleted-topic_"
    (received,) = pubsub.pull(subscription)
    assert received.message.data == b"before"


# Subscriptions


def test_a_subscription_is_created_found_listed_and_deleted(pubsub):
    name = pubsub.with_subscription()

    found = pubsub.subscriber.get_subscription(subscription=name)
    assert (found.topic, found.ack_deadline_seconds) == (pubsub.topic, 10)
    assert found.message_retention_duration == timedelta(days=7)
    listed = pubsub.subscriber.list_subscriptions(project=f"projects/{pubsub.project}")
    assert [subscription.name for subscription in listed] == [name]

    pubsub.subscriber.delete_subscription(subscription=name)

    for call in ("get_subscription", "delete_subscription"):
        with pytest.raises(NotFound):
            getattr(pubsub.subscriber, call)(subscription=name)
    with pytest.raises(NotFound):
        pubsub.pull_now(name)


def test_a_subscription_needs_a_topic_that_exists(pubsub):
    with pytest.raises(NotFound):
        pubsub.subscriber.create_subscription(
            name=pubsub.path("subscriptions", "name"), topic=pubsub.topic
        )


def test_only_the_named_fields_of_a_subscription_are_updated(pubsub):
    name = pubsub.with_subscription(labels={"team": "data"}, ack_deadline_seconds=30)
    changed = {"name": name, "ack_deadline_seconds": 60, "labels": {"team": "other"}}
    changed["retry_policy"] = {"minimum_backoff": Duration(seconds=3)}
    mask = FieldMask(paths=["ack_deadline_seconds", "retry_policy"])

    pubsub.subscriber.update_subscription(subscription=changed, update_mask=mask)

    found = pubsub.subscriber.get_subscription(subscription=name)
    assert found.ack_deadline_seconds == 60
    assert found.retry_policy.minimum_backoff == timedelta(seconds=3)
    assert found.labels == {"team": "data"}


# Publish and pull


def test_every_message_has_an_id_of_its_own_and_its_time(pubsub):
    subscription = pubsub.with_subscription()
    before = datetime.now(UTC)

    ids = pubsub.publish(*[b"%d" % number for number in range(1000)])

    found = [one.message for one in pubsub.pull(subscription, 1000)]
    assert len(set(ids)) == 1000
    assert {message.message_id for message in found} == set(ids)
    assert {int(message.data) for message in found} == set(range(1000))
    margin = timedelta(seconds=1)
    for message in found:
        published_at = message.publish_time
        assert before - margin <= published_at <= datetime.now(UTC) + margin


def test_data_and_attributes_arrive_as_they_were(pubsub):
    subscription = pubsub.with_subscription()
    data, attributes = bytes(range(256)), {"이름": "값", "empty": ""}

    pubsub.publish({"data": data, "attributes": attributes})

    (received,) = pubsub.pull(subscription)
    assert received.message.data == data
    assert dict(received.message.attributes) == attributes


def test_every_subscription_gets_what_is_published_while_it_is_there(pubsub):
    early = pubsub.with_subscription("early")
    pubsub.publish(b"first")
    late = pubsub.with_subscription("late")
    pubsub.publish(b"second")

    found = {
        name: {one.message.data for one in pubsub.pull(name, count)}
        for name, count in ((early, 2), (late, 1))
    }
    assert found == {early: {b"first", b"second"}, late: {b"second"}}
    assert pubsub.pull_now(late) == []


def test_publishing_to_no_topic_is_refused(pubsub):
    with pytest.raises(NotFound):
        pubsub.publish(b"x")


def test_a_large_message_passes(pubsub):
    subscription = pubsub.with_subscription()
    data = os.urandom(9_000_000)

    pubsub.publish(data)

    # The clients take no more than 4 MiB over gRPC from anything but the service.
    reply = pubsub.rest("POST", f"/v1/{subscription}:pull", {"maxMessages": 1}).json()
    assert base64.b64decode(reply["receivedMessages"][0]["message"]["data"]) == data


@embedded_only("the emulator puts more into a reply than the clients take")
def test_a_pull_brings_what_the_clients_take(pubsub):
    subscription = pubsub.with_subscription()
    for _ in range(9):
        pubsub.publish(b"x" * 1_000_000)

    assert [len(pubsub.pull_now(subscription)) for _ in range(4)] == [3, 3, 3, 0]


def test_a_pull_that_does_not_wait_is_answered_at_once(pubsub):
    subscription = pubsub.with_subscription()
    began = time.monotonic()

    assert pubsub.pull_now(subscription) == []
    assert time.monotonic() - began < 2


def test_a_pull_that_waits_has_the_message_as_soon_as_it_is_published(pubsub):
    subscription = pubsub.with_subscription()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(
            pubsub.subscriber.pull,
            subscription=subscription,
            max_messages=10,
            timeout=SECONDS,
        )
        time.sleep(0.5)
        published = time.monotonic()
        pubsub.publish(b"x")

        (received,) = waiting.result().received_messages
    assert received.message.data == b"x"
    assert time.monotonic() - published < 2


def test_a_pull_that_waits_in_vain_ends_with_the_patience_of_its_client(pubsub):
    subscription = pubsub.with_subscription()

    began = time.monotonic()
    # The emulator answers before that, with nothing.
    with suppress(DeadlineExceeded):
        reply = pubsub.subscriber.pull(
            subscription=subscription, max_messages=1, timeout=2
        )
        assert not reply.received_messages

    assert time.monotonic() - began < 4


@embedded_only("the emulator hands messages to clients that are gone (decision 0008)")
def test_a_pull_whose_client_is_gone_takes_no_message(pubsub):
    subscription = pubsub.with_subscription()
    with pytest.raises(DeadlineExceeded):
        pubsub.subscriber.pull(subscription=subscription, max_messages=1, timeout=1)

    pubsub.publish(b"x")

    assert len(pubsub.pull(subscription, seconds=2)) == 1


def test_a_pull_brings_no_more_than_it_asks_for(pubsub):
    subscription = pubsub.with_subscription()
    pubsub.publish(*[b"x"] * 5)

    assert len(pubsub.pull_now(subscription, most=2)) <= 2


def test_what_is_acknowledged_never_comes_again(pubsub):
    subscription = pubsub.with_subscription()
    pubsub.publish(b"x")
    (received,) = pubsub.pull(subscription)

    pubsub.set_deadline(subscription, 1, received)
    pubsub.acknowledge(subscription, received)

    assert pubsub.pull(subscription, seconds=2) == []


def test_a_passed_deadline_brings_the_message_again(pubsub):
    subscription = pubsub.with_subscription()
    pubsub.publish(b"x")
    (first,) = pubsub.pull(subscription)
    assert pubsub.pull_now(subscription) == []

    pubsub.set_deadline(subscription, 1, first)
    again = pubsub.pull(subscription)

    assert [one.message.message_id for one in again] == [first.message.message_id]
    assert again[0].ack_id != first.ack_id


def test_a_refused_message_comes_again_at_once(pubsub):
    subscription = pubsub.with_subscription(ack_deadline_seconds=600)
    pubsub.publish(b"x")
    pubsub.refuse(subscription, *pubsub.pull(subscription))

    assert len(pubsub.pull(subscription, seconds=3)) == 1


@embedded_only("the emulator brings the first again at once, the fourth never")
def test_the_retry_policy_holds_a_refused_message_back(pubsub):
    subscription = pubsub.with_subscription(
        retry_policy={
            "minimum_backoff": Duration(seconds=2),
            "maximum_backoff": Duration(seconds=4),
        }
    )
    pubsub.publish(b"x")
    pubsub.refuse(subscription, *pubsub.pull(subscription))
    refused = time.monotonic()

    assert len(pubsub.pull(subscription)) == 1
    assert time.monotonic() - refused >= 1.9


# Dead letters


def test_after_its_last_attempt_a_message_is_a_dead_letter(pubsub):
    source, letters = pubsub.with_dead_letters(ack_deadline_seconds=600)
    before = datetime.now(UTC)
    (message_id,) = pubsub.publish({"data": b"x", "attributes": {"origin": "me"}})
    attempts = []
    for _ in range(5):
        (received,) = pubsub.pull(source)
        attempts.append(received.delivery_attempt)
        pubsub.refuse(source, received)

    # The emulator gives a message up only when it is asked for the next one.
    assert pubsub.pull(source, seconds=1) == []
    (letter,) = pubsub.pull(letters)

    assert attempts == [1, 2, 3, 4, 5]
    assert letter.message.data == b"x"
    attributes = dict(letter.message.attributes)
    published_at = attributes.pop("CloudPubSubDeadLetterSourceTopicPublishTime")
    assert attributes == {
        "origin": "me",
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
        "CloudPubSubDeadLetterSourceSubscription": "subscription",
        "CloudPubSubDeadLetterSourceSubscriptionProject": pubsub.project,
    }
    distance = datetime.fromisoformat(published_at) - before
    assert timedelta(seconds=-1) < distance < timedelta(seconds=SECONDS)
    assert message_id


def test_without_a_dead_letter_policy_no_attempt_is_told(pubsub):
    subscription = pubsub.with_subscription()
    pubsub.publish(b"x")

    assert pubsub.pull(subscription)[0].delivery_attempt == 0


# Push


def pushed(receiver, pubsub, **settings):
    endpoint = f"{receiver.url}/projects/{pubsub.project}/topics/topic"
    return {"push_config": {"push_endpoint": endpoint}, **settings}


def test_a_push_is_what_the_service_posts(pubsub, receiver):
    subscription = pubsub.with_subscription(**pushed(receiver, pubsub))

    (message_id,) = pubsub.publish({"data": b"x", "attributes": {"origin": "me"}})

    push = receiver.pushes.get(timeout=SECONDS)
    assert push.path == f"/projects/{pubsub.project}/topics/topic"
    assert push.headers["content-type"].startswith("application/json")
    body = json.loads(push.body)
    assert body["subscription"] == subscription
    message = body["message"]
    assert message["messageId"] == message["message_id"] == message_id
    assert base64.b64decode(message["data"]) == b"x"
    assert message["attributes"] == {"origin": "me"}
    assert message["publishTime"] == message["publish_time"]
    datetime.fromisoformat(message["publishTime"])


@pytest.mark.parametrize("status", [200, 201, 204])
def test_a_push_is_acknowledged_by_its_answer(pubsub, receiver, status):
    receiver.answers.put(status)
    pubsub.with_subscription(**pushed(receiver, pubsub))
    pubsub.publish(b"x")
    receiver.pushes.get(timeout=SECONDS)

    # The emulator brings a refused message again after a second.
    time.sleep(1.5)

    assert receiver.pushes.empty()


@pytest.mark.parametrize("status", [302, 400, 404, 429, 500, 503])
def test_any_other_answer_brings_it_again(pubsub, receiver, status):
    receiver.answers.put(status)
    pubsub.with_subscription(**pushed(receiver, pubsub))
    pubsub.publish(b"x")

    bodies = [receiver.pushes.get(timeout=SECONDS).body for _ in range(2)]

    ids = {json.loads(body)["message"]["messageId"] for body in bodies}
    assert len(ids) == 1


def test_an_endpoint_that_is_not_there_yet_gets_its_messages_later(pubsub):
    with push_receiver() as gone:
        url, port = gone.url, gone.port
    endpoint = f"{url}/topics/topic"
    pubsub.with_subscription(push_config={"push_endpoint": endpoint})
    pubsub.publish(b"x")
    time.sleep(0.5)

    with push_receiver(port) as receiver:
        receiver.pushes.get(timeout=SECONDS)


def test_a_push_is_held_back_by_the_retry_policy(pubsub, receiver):
    receiver.answers.put(500)
    receiver.answers.put(500)
    policy = {
        "minimum_backoff": Duration(seconds=1),
        "maximum_backoff": Duration(seconds=2),
    }
    pubsub.with_subscription(**pushed(receiver, pubsub, retry_policy=policy))
    pubsub.publish(b"x")

    times = [receiver.pushes.get(timeout=SECONDS).at for _ in range(3)]

    assert times[1] - times[0] >= 0.9
    assert times[2] - times[1] >= 0.9


@embedded_only("it is about our own pump")
def test_a_change_of_other_settings_leaves_pushes_alone(pubsub, receiver):
    receiver.hold.set()
    name = pubsub.with_subscription(**pushed(receiver, pubsub))
    pubsub.publish(b"x")
    receiver.pushes.get(timeout=SECONDS)

    changed = {"name": name, "ack_deadline_seconds": 20}
    mask = FieldMask(paths=["ack_deadline_seconds"])
    pubsub.subscriber.update_subscription(subscription=changed, update_mask=mask)
    receiver.hold.clear()
    time.sleep(12)

    assert receiver.pushes.empty()


def test_a_push_that_always_fails_becomes_a_dead_letter(pubsub, receiver):
    for _ in range(10):
        receiver.answers.put(500)
    _, letters = pubsub.with_dead_letters(**pushed(receiver, pubsub))
    pubsub.publish(b"x")

    (letter,) = pubsub.pull(letters)

    count = letter.message.attributes["CloudPubSubDeadLetterSourceDeliveryCount"]
    assert count == "5"


def test_a_late_answer_counts_for_nothing(pubsub, receiver):
    receiver.hold.set()
    pubsub.with_subscription(**pushed(receiver, pubsub, ack_deadline_seconds=10))
    pubsub.publish(b"x")

    times = [receiver.pushes.get(timeout=SECONDS).at for _ in range(2)]

    receiver.hold.clear()
    assert 9 < times[1] - times[0] < 15


def test_push_is_switched_on_and_off(pubsub, receiver):
    subscription = pubsub.with_subscription()
    pubsub.publish(b"waiting")
    config = pushed(receiver, pubsub)["push_config"]

    pubsub.subscriber.modify_push_config(subscription=subscription, push_config=config)
    receiver.pushes.get(timeout=SECONDS)
    pubsub.subscriber.modify_push_config(subscription=subscription, push_config={})
    pubsub.publish(b"pulled")

    (received,) = pubsub.pull(subscription)
    assert received.message.data == b"pulled"
    assert receiver.pushes.empty()


def test_a_deleted_subscription_pushes_no_more(pubsub, receiver):
    subscription = pubsub.with_subscription(**pushed(receiver, pubsub))
    pubsub.subscriber.delete_subscription(subscription=subscription)

    pubsub.publish(b"x")
    time.sleep(1)

    assert receiver.pushes.empty()


@embedded_only("the emulator pushes two messages at a time")
@pytest.mark.parametrize(("labels", "most"), [({}, 40), ({PLACES_LABEL: "16"}, 16)])
def test_as_many_are_pushed_at_a_time_as_the_window_holds(
    pubsub, receiver, labels, most
):
    receiver.hold.set()
    pubsub.with_subscription(**pushed(receiver, pubsub, labels=labels))

    pubsub.publish(*[b"x"] * 40)

    for _ in range(most):
        receiver.pushes.get(timeout=SECONDS)
    time.sleep(0.3)
    assert receiver.pushes.empty()
    receiver.hold.clear()
    for _ in range(40 - most):
        receiver.pushes.get(timeout=SECONDS)


CLOUDY = {PUSH_LABEL: CLOUD}


@embedded_only("the emulator pushes two messages at a time")
def test_pushing_as_the_cloud_does_begins_small_and_grows_with_the_answers(
    pubsub, receiver
):
    receiver.hold.set()
    pubsub.with_subscription(**pushed(receiver, pubsub, labels=CLOUDY))
    pubsub.publish(*[b"x"] * 40)

    for _ in range(FIRST_WINDOW):
        receiver.pushes.get(timeout=SECONDS)
    time.sleep(0.3)
    assert receiver.pushes.empty()
    receiver.hold.clear()

    for _ in range(40 - FIRST_WINDOW):
        receiver.pushes.get(timeout=SECONDS)


@embedded_only("the emulator backs off message by message")
def test_a_subscription_that_answers_busy_backs_off_and_no_other_does(pubsub, receiver):
    """History that is busy all the time, and live work beside it."""
    with push_receiver() as busy:
        for _ in range(1_000):
            busy.answers.put(429)
        pubsub.with_subscription(
            "busy", topic="history", **pushed(busy, pubsub, labels=CLOUDY)
        )
        pubsub.with_subscription(**pushed(receiver, pubsub, labels=CLOUDY))
        pubsub.publish(*[b"x"] * 200, topic="history")
        time.sleep(3)
        refused = busy.pushes.qsize()

        began = time.monotonic()
        pubsub.publish(*[b"x"] * 30)
        for _ in range(30):
            receiver.pushes.get(timeout=SECONDS)

    assert time.monotonic() - began < 1
    # In three seconds of doubled pauses; without them all would have come.
    assert FIRST_WINDOW <= refused < 30


@embedded_only("the emulator tells no deliveryAttempt")
def test_a_push_tells_its_attempt_where_dead_letters_are_counted(pubsub, receiver):
    receiver.answers.put(500)
    pubsub.with_dead_letters(**pushed(receiver, pubsub))
    pubsub.publish(b"x")

    bodies = [json.loads(receiver.pushes.get(timeout=SECONDS).body) for _ in range(2)]

    assert [body["deliveryAttempt"] for body in bodies] == [1, 2]


@embedded_only("the emulator posts an empty string")
def test_a_message_without_data_is_pushed_without_data(pubsub, receiver):
    pubsub.with_subscription(**pushed(receiver, pubsub))
    pubsub.publish({"attributes": {"origin": "me"}})

    message = json.loads(receiver.pushes.get(timeout=SECONDS).body)["message"]

    assert "data" not in message


# The clients' own background delivery


def test_the_usual_subscriber_receives_and_acknowledges(pubsub):
    subscription = pubsub.with_subscription()
    found, done, lock = set(), Event(), Lock()

    def receive(message):
        message.ack()
        with lock:
            found.add(int(message.data))
            if len(found) == 500:
                done.set()

    future = pubsub.subscriber.subscribe(subscription, receive)
    pubsub.publish(*[b"%d" % number for number in range(500)])

    assert done.wait(SECONDS)
    time.sleep(0.5)
    future.cancel()
    future.result(timeout=SECONDS)
    assert pubsub.pull_now(subscription) == []


def test_the_usual_subscriber_holds_no_more_than_it_wants(pubsub):
    subscription = pubsub.with_subscription()
    pubsub.publish(*[b"x"] * 20)
    held, flow = Queue(), pubsub_v1.types.FlowControl(max_messages=3)

    future = pubsub.subscriber.subscribe(subscription, held.put, flow_control=flow)
    first = [held.get(timeout=SECONDS) for _ in range(3)]
    time.sleep(0.5)
    assert held.empty()
    for message in first:
        message.ack()

    for _ in range(17):
        held.get(timeout=SECONDS).ack()
    time.sleep(0.5)
    future.cancel()
    future.result(timeout=SECONDS)


# REST


def test_the_root_says_that_it_is_there(pubsub):
    assert pubsub.rest("GET", "/").text.strip() == "Ok"


def test_all_that_grpc_can_do_rest_can_do(pubsub):
    project, topic = f"/v1/projects/{pubsub.project}", pubsub.topic
    subscription = pubsub.path("subscriptions", "subscription")
    rest = pubsub.rest

    assert rest("PUT", f"/v1/{topic}", {}).json()["name"] == topic
    created = rest("PUT", f"/v1/{subscription}", {"topic": topic}).json()
    assert created["ackDeadlineSeconds"] == 10
    assert len(rest("GET", f"{project}/topics?pageSize=10").json()["topics"]) == 1
    listed = rest("GET", f"{project}/subscriptions").json()["subscriptions"]
    assert [one["name"] for one in listed] == [subscription]
    found = rest("GET", f"/v1/{topic}/subscriptions").json()
    assert found["subscriptions"] == [subscription]

    message = {"data": base64.b64encode(b"x").decode(), "attributes": {"a": "b"}}
    body = {"messages": [message]}
    (message_id,) = rest("POST", f"/v1/{topic}:publish", body).json()["messageIds"]
    body = {"maxMessages": 1}
    reply = rest("POST", f"/v1/{subscription}:pull", body).json()
    (received,) = reply["receivedMessages"]
    assert received["message"]["messageId"] == message_id
    assert received["message"]["data"] == message["data"]
    body = {"ackIds": [received["ackId"]], "ackDeadlineSeconds": 30}
    assert rest("POST", f"/v1/{subscription}:modifyAckDeadline", body).json() == {}
    body = {"ackIds": [received["ackId"]]}
    assert rest("POST", f"/v1/{subscription}:acknowledge", body).json() == {}

    changed = {"subscription": {"ackDeadlineSeconds": 20}}
    changed["updateMask"] = "ackDeadlineSeconds"
    rest("PATCH", f"/v1/{subscription}", changed).raise_for_status()
    found = rest("GET", f"/v1/{subscription}").json()
    assert found["ackDeadlineSeconds"] == 20
    assert rest("DELETE", f"/v1/{subscription}").json() == {}
    assert rest("DELETE", f"/v1/{topic}").json() == {}


def test_rest_names_its_errors_as_the_service_does(pubsub):
    missing = pubsub.rest("GET", f"/v1/{pubsub.topic}")
    assert missing.status_code == 404
    assert missing.json()["error"]["status"] == "NOT_FOUND"

    pubsub.with_topic()
    taken = pubsub.rest("PUT", f"/v1/{pubsub.topic}", {})
    assert taken.status_code == 409
    assert taken.json()["error"]["status"] == "ALREADY_EXISTS"


@pytest.mark.skipif(not shutil.which("gcloud"), reason="gcloud is not installed")
def test_gcloud_works_as_the_readme_shows_it(pubsub, tmp_path):
    subscription = pubsub.with_subscription()

    published = pubsub.gcloud(
        tmp_path,
        *("topics", "publish", "topic"),
        *("--message", '{"timeframe":"5m"}', "--attribute", "origin=me"),
    )
    listed = pubsub.gcloud(tmp_path, "topics", "list")
    pulled = pubsub.gcloud(
        tmp_path, "subscriptions", "pull", "subscription", "--auto-ack"
    )

    assert [topic["name"] for topic in listed] == [pubsub.topic]
    (received,) = pulled
    assert received["message"]["messageId"] == published["messageIds"][0]
    data = base64.b64decode(received["message"]["data"])
    assert data == b'{"timeframe":"5m"}'
    assert received["message"]["attributes"] == {"origin": "me"}
    assert pubsub.pull_now(subscription) == []


# The service's limits

no_limits = embedded_only("the emulator has none of the service's limits")

TOO_MUCH = [
    ("messages", [{"data": b"x"}] * 1_001),
    ("messages", []),
    ("request", [{"data": b"x" * REQUEST_BYTES}]),
    ("request", [{"data": b"x" * (REQUEST_BYTES // 4)}] * 4),
    (r"messages\[1\]", [{"data": b"x"}, {"data": b""}]),
    (r"messages\[0\].attributes", [{"attributes": {f"k{n}": "" for n in range(101)}}]),
    (r"messages\[0\].attributes\['k+'\]", [{"attributes": {"k" * 257: ""}}]),
    (r"messages\[0\].attributes\['값+'\]", [{"attributes": {"값" * 86: ""}}]),
    (r"messages\[0\].attributes\[''\]", [{"attributes": {"": "x"}}]),
    (r"messages\[0\].attributes\['k'\]", [{"attributes": {"k": "v" * 1_025}}]),
    (r"messages\[0\].attributes\['k'\]", [{"attributes": {"k": "값" * 342}}]),
    (r"messages\[0\].attributes\['google'\]", [{"attributes": {"google": "x"}}]),
]


@no_limits
@pytest.mark.parametrize(("field", "messages"), TOO_MUCH)
def test_what_the_service_would_not_publish_is_refused_by_name(pubsub, field, messages):
    subscription = pubsub.with_subscription()

    with pytest.raises(InvalidArgument, match=f"^400 {field}: "):
        pubsub.publish(*messages)

    assert pubsub.pull_now(subscription) == []


@no_limits
def test_what_just_fits_is_published(pubsub):
    subscription = pubsub.with_subscription()
    attributes = {f"{number:03}" + "k" * 253: "v" * 1_024 for number in range(100)}

    pubsub.publish({"attributes": attributes})
    pubsub.publish({"data": b"x", "attributes": {"googclient_traceparent": "x"}})
    assert len(pubsub.pull(subscription, 2)) == 2

    pubsub.publish({"data": b"x" * (REQUEST_BYTES - 200)})


WRONG_NAMES = ("ab", "1abc", "goog-topic", "a b c", "a" * 256, "이름이름")


@no_limits
@pytest.mark.parametrize("name", WRONG_NAMES)
def test_a_name_keeps_the_rules(pubsub, name):
    with pytest.raises(InvalidArgument, match="^400 name: must be projects/PROJECT"):
        pubsub.with_topic(name)
    with pytest.raises(InvalidArgument, match="^400 name: must be projects/PROJECT"):
        pubsub.with_subscription(name)


WRONG_SETTINGS = [
    ("ack_deadline_seconds", {"ack_deadline_seconds": 9}),
    ("ack_deadline_seconds", {"ack_deadline_seconds": 601}),
    (
        "message_retention_duration",
        {"message_retention_duration": Duration(seconds=599)},
    ),
    (
        "message_retention_duration",
        {"message_retention_duration": Duration(seconds=31 * 86_400 + 1)},
    ),
    (
        "retry_policy.maximum_backoff",
        {"retry_policy": {"maximum_backoff": Duration(seconds=601)}},
    ),
    (
        "retry_policy.minimum_backoff",
        {
            "retry_policy": {
                "minimum_backoff": Duration(seconds=20),
                "maximum_backoff": Duration(seconds=10),
            }
        },
    ),
    ("push_config.push_endpoint", {"push_config": {"push_endpoint": "localhost:1"}}),
    ("expiration_policy.ttl", {"expiration_policy": {"ttl": Duration(seconds=3_600)}}),
]


@no_limits
@pytest.mark.parametrize(("field", "settings"), WRONG_SETTINGS)
def test_a_subscription_keeps_the_rules(pubsub, field, settings):
    with pytest.raises(InvalidArgument, match=f"^400 {field}: "):
        pubsub.with_subscription(**settings)


@no_limits
@pytest.mark.parametrize("attempts", [4, 101])
def test_dead_letters_take_five_to_a_hundred_attempts(pubsub, attempts):
    field = "dead_letter_policy.max_delivery_attempts"
    with pytest.raises(InvalidArgument, match=f"^400 {field}: "):
        pubsub.with_dead_letters(attempts)


@no_limits
def test_dead_letters_need_a_topic(pubsub):
    policy = {"dead_letter_topic": pubsub.path("topics", "nowhere")}
    with pytest.raises(NotFound, match="nowhere"):
        pubsub.with_subscription(dead_letter_policy=policy)


@no_limits
def test_an_update_keeps_the_rules_too(pubsub):
    name = pubsub.with_subscription()
    mask = FieldMask(paths=["ack_deadline_seconds"])
    changed = {"name": name, "ack_deadline_seconds": 601}
    with pytest.raises(InvalidArgument, match="^400 ack_deadline_seconds: "):
        pubsub.subscriber.update_subscription(subscription=changed, update_mask=mask)
    mask = FieldMask(paths=["topic"])
    with pytest.raises(InvalidArgument, match="^400 update_mask: "):
        pubsub.subscriber.update_subscription(subscription=changed, update_mask=mask)


@no_limits
def test_a_new_deadline_is_at_most_ten_minutes(pubsub):
    name = pubsub.with_subscription()
    with pytest.raises(InvalidArgument, match="^400 ack_deadline_seconds: "):
        pubsub.subscriber.modify_ack_deadline(
            subscription=name, ack_ids=["x"], ack_deadline_seconds=601
        )


@embedded_only("the emulator stores these fields and ignores them")
@pytest.mark.parametrize(
    "settings",
    [
        {"filter": 'attributes.k = "v"'},
        {"enable_message_ordering": True},
        {"enable_exactly_once_delivery": True},
        {"retain_acked_messages": True},
    ],
)
def test_what_is_not_implemented_is_said(pubsub, settings):
    with pytest.raises(MethodNotImplemented, match="make emulator"):
        pubsub.with_subscription(**settings)


@embedded_only("the emulator implements it")
def test_a_call_that_is_not_implemented_is_said(pubsub):
    name = pubsub.with_subscription()
    with pytest.raises(MethodNotImplemented, match="does not implement Seek"):
        pubsub.subscriber.seek(request={"subscription": name})
    refused = pubsub.rest("POST", f"/v1/{name}:seek", {})
    assert refused.status_code == 501
    assert refused.json()["error"]["status"] == "UNIMPLEMENTED"


@embedded_only("the emulator lets a pushed subscription be pulled from")
def test_a_pushed_subscription_cannot_be_pulled_from(pubsub, receiver):
    subscription = pubsub.with_subscription(**pushed(receiver, pubsub))

    with pytest.raises(FailedPrecondition):
        pubsub.pull_now(subscription)


@embedded_only("REST of the emulator answers other words")
@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{", "request: "),
        (b"[]", "request: "),
        (b'{"messages": [{"dada": ""}]}', "dada"),
        (b'{"messages": [{"data": 5}]}', "data"),
        (b'{"messages": [{"attributes": {"k": "\\ud800"}}]}', "request: "),
    ],
)
def test_rest_refuses_what_it_does_not_understand(pubsub, body, problem):
    pubsub.with_topic()
    url = f"http://{pubsub.server.host}/v1/{pubsub.topic}:publish"

    refused = requests.post(url, data=body, timeout=SECONDS)

    assert refused.status_code == 400
    assert refused.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert problem in refused.json()["error"]["message"]


# The process


@embedded_only("the emulator counts from 1 at every start")
def test_an_id_is_never_used_again_after_a_restart(server, tmp_path, monkeypatch):
    ids = []
    for _ in range(2):
        again = pubsub_server.embedded(tmp_path, os.environ)
        again.start()
        again.wait()
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", again.host)
        pubsub = PubSub(again)
        pubsub.with_topic()
        ids += pubsub.publish(*[b"x"] * 1_000)
        again.stop()

    assert len(set(ids)) == 2_000


@embedded_only("it is about our own process")
def test_a_taken_port_is_said_in_one_sentence(server, tmp_path):
    command = pubsub_server.embedded(tmp_path, {})._command(server.port)

    done = subprocess.run(
        command, capture_output=True, text=True, cwd=pubsub_server.ROOT, timeout=30
    )

    assert done.returncode == 1
    assert done.stderr.startswith(f"cannot listen on 127.0.0.1:{server.port}: ")
    assert len(done.stderr.splitlines()) == 1
