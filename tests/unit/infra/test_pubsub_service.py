"""The embedded Pub/Sub under a clock of the test's own."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration  # type: ignore[import-untyped]

from infra.local.pubsub import protos
from infra.local.pubsub.push_request import push_body
from infra.local.pubsub.service import PubSub

TOPIC = "projects/p/topics/topic"
LETTERS = "projects/p/topics/letters"
SUBSCRIPTION = "projects/p/subscriptions/subscription"
SHELF = "projects/p/subscriptions/shelf"


def request(name, **fields):
    return protos.request_class(name)(**fields)


def policy(low, high):
    return {
        "minimum_backoff": Duration(seconds=low),
        "maximum_backoff": Duration(seconds=high),
    }


class Desk:
    """A service, its clock, and one subscription."""

    def __init__(self, **settings):
        self.now = 1_700_000_000.0
        self.service = PubSub(lambda: self.now)
        for topic in (TOPIC, LETTERS):
            self.service.create_topic(protos.Topic(name=topic))
        self.subscribe(SUBSCRIPTION, TOPIC, **settings)
        self.subscribe(SHELF, LETTERS)

    def subscribe(self, name, topic, **settings):
        config = protos.Subscription(name=name, topic=topic, **settings)
        self.service.create_subscription(config)

    def publish(self, *data):
        messages = [protos.PubsubMessage(data=one) for one in data]
        published = request("PublishRequest", topic=TOPIC, messages=messages)
        return list(self.service.publish(published).message_ids)

    def after(self, seconds):
        self.now += seconds
        self.service.tick()

    def pull(self, name=SUBSCRIPTION, most=100):
        pulled = request("PullRequest", subscription=name, max_messages=most)
        return list(self.service.pull(pulled).received_messages)

    def set_deadline(self, received, seconds):
        modified = request(
            "ModifyAckDeadlineRequest",
            subscription=SUBSCRIPTION,
            ack_ids=[received.ack_id],
            ack_deadline_seconds=seconds,
        )
        self.service.modify_ack_deadline(modified)

    def acknowledge(self, received):
        acknowledged = request(
            "AcknowledgeRequest", subscription=SUBSCRIPTION, ack_ids=[received.ack_id]
        )
        self.service.acknowledge(acknowledged)

    def waits(self):
        """After how many seconds each refused message comes again."""
        self.publish(b"x")
        while True:
            began = self.now
            while not (found := self.pull()):
                self.after(0.5)
            yield self.now - began
            self.set_deadline(found[0], 0)


def test_a_deadline_is_kept_to_the_second():
    desk = Desk(ack_deadline_seconds=30)
    desk.publish(b"x")
    desk.pull()

    desk.after(29)
    assert desk.pull() == []
    desk.after(1)
    assert len(desk.pull()) == 1


def test_an_extended_deadline_counts_from_now():
    desk = Desk(ack_deadline_seconds=30)
    desk.publish(b"x")
    (received,) = desk.pull()

    desk.after(20)
    desk.set_deadline(received, 60)
    desk.after(59)
    assert desk.pull() == []
    desk.after(1)
    assert len(desk.pull()) == 1


def test_an_acknowledgement_after_the_deadline_counts_for_nothing():
    desk = Desk(ack_deadline_seconds=10)
    desk.publish(b"x")
    (received,) = desk.pull()
    desk.after(10)

    desk.acknowledge(received)

    assert len(desk.pull()) == 1


def test_the_back_off_doubles_up_to_its_maximum():
    waits = Desk(retry_policy=policy(10, 60)).waits()

    assert [next(waits) for _ in range(6)] == [0, 10, 20, 40, 60, 60]


def test_without_a_retry_policy_it_comes_again_at_once():
    waits = Desk().waits()

    assert [next(waits) for _ in range(4)] == [0, 0, 0, 0]


def test_a_passed_deadline_is_an_attempt_and_is_held_back_too():
    desk = Desk(ack_deadline_seconds=10, retry_policy=policy(20, 60))
    desk.publish(b"x")
    desk.pull()

    desk.after(10)
    desk.after(19)
    assert desk.pull() == []
    desk.after(1)
    assert len(desk.pull()) == 1


@pytest.mark.parametrize("days", [1, 7, 31])
def test_a_message_vanishes_when_its_retention_is_over(days):
    desk = Desk(message_retention_duration=Duration(seconds=days * 86_400))
    desk.publish(b"old")
    desk.after(60)
    desk.publish(b"young")

    desk.after(days * 86_400 - 60)
    assert {one.message.data for one in desk.pull()} == {b"old", b"young"}
    desk.after(10)

    assert [one.message.data for one in desk.pull()] == [b"young"]
    assert len(desk.service.subscriptions[SUBSCRIPTION]) == 1


def test_the_default_retention_is_a_week():
    desk = Desk()
    desk.publish(b"x")

    desk.after(7 * 86_400 + 1)

    assert desk.pull() == []


def test_a_dead_letter_needs_nobody_to_ask_for_it():
    desk = Desk(
        ack_deadline_seconds=10,
        dead_letter_policy={"dead_letter_topic": LETTERS, "max_delivery_attempts": 5},
    )
    desk.publish(b"x")
    for _ in range(5):
        assert len(desk.pull()) == 1
        desk.after(10)

    (letter,) = desk.pull(SHELF)
    assert letter.message.data == b"x"
    assert len(desk.service.subscriptions[SUBSCRIPTION]) == 0


def test_a_message_whose_dead_letter_topic_is_gone_is_kept():
    desk = Desk(dead_letter_policy={"dead_letter_topic": LETTERS})
    desk.publish(b"x")
    desk.service.delete_topic(request("DeleteTopicRequest", topic=LETTERS))

    for _ in range(8):
        (received,) = desk.pull()
        desk.set_deadline(received, 0)

    assert received.delivery_attempt == 8


def test_messages_come_in_the_order_in_which_they_were_published():
    desk = Desk()
    desk.publish(b"1", b"2")
    desk.after(1)
    desk.publish(b"3")

    found = [one.message.data for one in desk.pull(most=2) + desk.pull()]
    assert found == [b"1", b"2", b"3"]


def test_ids_go_on_where_the_last_start_can_have_ended():
    first, second = Desk(), Desk()
    before = first.publish(*[b"x"] * 1000)
    second.service = PubSub(lambda: first.now + 0.001)
    second.service.create_topic(protos.Topic(name=TOPIC))

    after = second.publish(*[b"x"] * 1000)

    assert int(max(before)) < int(min(after))


def test_the_listeners_are_called_when_a_message_is_ready():
    desk = Desk(ack_deadline_seconds=10)
    calls = []
    desk.service.subscriptions[SUBSCRIPTION].listeners.add(lambda: calls.append(1))

    desk.publish(b"x")
    assert calls == [1]
    desk.pull()
    desk.after(5)
    assert calls == [1]
    desk.after(5)
    assert len(calls) > 1


def test_a_push_names_what_the_service_names():
    message = protos.PubsubMessage(
        data=b"x", attributes={"a": "b"}, message_id="7", ordering_key="k"
    )
    message.publish_time.FromMilliseconds(1_700_000_000_123)

    assert push_body("projects/p/subscriptions/s", message, 2) == {
        "message": {
            "data": "eA==",
            "attributes": {"a": "b"},
            "messageId": "7",
            "message_id": "7",
            "publishTime": "2023-11-14T22:13:20.123Z",
            "publish_time": "2023-11-14T22:13:20.123Z",
            "orderingKey": "k",
        },
        "subscription": "projects/p/subscriptions/s",
        "deliveryAttempt": 2,
    }
