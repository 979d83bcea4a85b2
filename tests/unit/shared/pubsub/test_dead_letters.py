from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from shared.errors import MalformedMessage
from shared.pubsub.dead_letters import DeadLetter, DeadLetterPublisher
from shared.pubsub.delivery import Delivery
from shared.pubsub.publisher import allowed_attributes

AT = datetime(2026, 11, 20, 1, 30, tzinfo=UTC)
TOPICS = {"dispatcher": "triggers"}


@dataclass
class Message:
    data: bytes
    attributes: dict[str, str]
    publish_time: datetime = AT


@dataclass
class Received:
    message: Message
    ack_id: str = "ack"


@dataclass
class FakePublisher:
    published: list[object] = field(default_factory=list)

    def publish(self, topic, messages, attributes):
        self.published.append((topic, messages, allowed_attributes(attributes)))


def written_and_read(delivery, error):
    publisher = FakePublisher()
    DeadLetterPublisher(publisher, "dead-letters").dead_letter(delivery, error)
    ((topic, (data,), attributes),) = publisher.published
    assert topic == "dead-letters"
    return DeadLetter.of(Received(Message(data, attributes)), TOPICS)


def a_delivery(data=b"{}", **attributes):
    return Delivery("42", data, attributes, AT, "triggers")


def test_what_is_written_on_a_dead_letter_is_what_is_read():
    error = MalformedMessage("mode", "is wrong")

    letter = written_and_read(a_delivery(b'{"mode":"x"}', origin="me"), error)

    assert letter == DeadLetter(
        ack_id="ack",
        data=b'{"mode":"x"}',
        attributes={
            "error_code": "malformed_message",
            "reason": "mode: is wrong",
            "message_id": "42",
            "topic": "triggers",
            "origin": "me",
        },
        died_at=AT,
        topic="triggers",
        error_code="malformed_message",
        reason="mode: is wrong",
    )
    assert letter.own_attributes == {"origin": "me"}


def test_a_message_with_a_hundred_attributes_still_tells_why_it_died():
    many = {f"n{number}": "x" for number in range(100)}

    letter = written_and_read(a_delivery(**many), MalformedMessage("mode", "is wrong"))

    assert letter.reason == "mode: is wrong"
    assert len(letter.attributes) == 100


def test_a_message_cannot_say_why_it_died():
    error = MalformedMessage("mode", "is wrong")

    letter = written_and_read(a_delivery(reason="mine", topic="elsewhere"), error)

    assert (letter.topic, letter.reason) == ("triggers", "mode: is wrong")


def test_a_message_without_a_body_stays_one():
    letter = written_and_read(a_delivery(b"", a="b"), MalformedMessage("message", "no"))

    assert letter.data == b""


def test_a_dead_letter_of_pubsubs_own_is_known_by_its_subscription():
    attributes = {
        "CloudPubSubDeadLetterSourceSubscription": "dispatcher",
        "CloudPubSubDeadLetterSourceDeliveryCount": "10",
    }

    letter = DeadLetter.of(Received(Message(b"{}", attributes)), TOPICS)

    assert (letter.topic, letter.error_code) == ("triggers", "undeliverable")
    assert letter.reason == "not handled in 10 deliveries"
    assert letter.own_attributes == {}
