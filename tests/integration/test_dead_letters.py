"""``make dlq`` and its like, against a real Pub/Sub server."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime

import pytest
from google.cloud import pubsub_v1

from infra import dead_letters
from infra.local import announcement, topics
from infra.topology import load
from shared.errors import MalformedMessage, UnknownStock
from shared.pubsub.dead_letters import DeadLetterPublisher
from shared.pubsub.delivery import Delivery
from shared.pubsub.publisher import Publisher
from tests.support.builders import a_request

TOPOLOGY = load()


class Desk:
    """What an operator has before him."""

    def __init__(self, project):
        self.project = project
        self.publisher = Publisher(project)
        # Ports of nobody: what is replayed has to be seen before it is pushed.
        ports = dict.fromkeys(TOPOLOGY.functions, 1)
        topics.create(TOPOLOGY, project, ports)
        self.subscriber = pubsub_v1.SubscriberClient()
        for topic in ("triggers", "collect-live-days"):
            self.subscriber.create_subscription(
                name=self.path(f"seen-{topic}"),
                topic=f"projects/{project}/topics/{topic}",
            )

    def path(self, name):
        return self.subscriber.subscription_path(self.project, name)

    def dies(self, topic, data, error):
        delivery = Delivery(
            message_id="42",
            data=data,
            attributes={"run_id": "r"},
            published_at=datetime.now(UTC),
            topic=topic,
        )
        DeadLetterPublisher(self.publisher, "dead-letters").dead_letter(delivery, error)

    def letters(self, code=None):
        shelf = dead_letters.DeadLetters(self.project)
        found = shelf.pull(code)
        shelf.release(found)
        return [(letter.topic, letter.error_code, letter.data) for letter in found]

    def run(self, *arguments):
        return dead_letters.main([*arguments, "--project", self.project])

    def seen(self, topic):
        reply = self.subscriber.pull(
            subscription=self.path(f"seen-{topic}"), max_messages=10, timeout=10
        )
        return [
            (one.message.data, dict(one.message.attributes))
            for one in reply.received_messages
        ]


@pytest.fixture
def desk(emulator, monkeypatch):
    monkeypatch.setattr(dead_letters, "PULL_SECONDS", 1.0)
    desk = Desk(f"p{uuid.uuid4().hex[:10]}")
    desk.dies("triggers", b'{"timeframe":"15m"}', MalformedMessage("timeframe", "no"))
    desk.dies("collect-live-days", b'{"stock_code":"1"}', UnknownStock("1902"))
    desk.dies("collect-live-days", b'{"stock_code":"2"}', UnknownStock("1902"))
    yield desk
    desk.subscriber.close()


def test_they_are_listed_by_what_went_wrong_and_stay(desk, capsys):
    assert desk.run("list") == 0

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["3", "dead", "letters"]
    assert lines[1][:3] == ["1", "triggers", "malformed_message"]
    assert lines[2] == ["timeframe:", "no"]
    assert lines[4][:3] == ["2", "collect-live-days", "unknown_stock"]
    assert len(desk.letters()) == 3


def test_they_are_replayed_to_the_topic_where_they_were(desk):
    assert desk.run("replay", "--code", "unknown_stock") == 0

    seen = desk.seen("collect-live-days")
    assert sorted(data for data, _ in seen) == [
        b'{"stock_code":"1"}',
        b'{"stock_code":"2"}',
    ]
    assert seen[0][1] == {"run_id": "r"}
    assert [code for _, code, _ in desk.letters()] == ["malformed_message"]


def test_they_are_dropped_by_their_code_or_all(desk):
    assert desk.run("drop", "--code", "malformed_message") == 0
    assert {code for _, code, _ in desk.letters()} == {"unknown_stock"}

    assert desk.run("drop") == 0
    assert desk.letters() == []


def test_a_letter_of_pubsubs_own_is_known_by_its_subscription(desk):
    desk.run("drop")
    source = {"CloudPubSubDeadLetterSourceSubscription": "dispatcher"}
    source |= {"CloudPubSubDeadLetterSourceDeliveryCount": "10", "origin": "me"}
    desk.publisher.publish("dead-letters", [b'{"timeframe":"5m"}'], source)

    assert desk.letters() == [("triggers", "undeliverable", b'{"timeframe":"5m"}')]
    assert desk.run("replay") == 0

    assert desk.seen("triggers") == [(b'{"timeframe":"5m"}', {"origin": "me"})]


def test_a_request_of_before_there_were_lanes_is_replayed_to_its_lane(desk):
    desk.run("drop")
    old = json.loads(a_request("1d").to_bytes())
    del old["lane"]
    data = json.dumps(old).encode()
    gone = {"CloudPubSubDeadLetterSourceSubscription": "collector"}
    desk.dies("collect", data, UnknownStock("1902"))
    desk.publisher.publish("dead-letters", [data], gone)

    assert desk.run("replay") == 0

    assert [body for body, _ in desk.seen("collect-live-days")] == [data, data]


def test_a_letter_from_nowhere_is_not_lost(desk, capsys):
    desk.run("drop")
    desk.publisher.publish("dead-letters", [b"{}"], {})

    assert desk.run("replay") == 1

    assert "the topic it came from is unknown" in capsys.readouterr().out
    assert desk.letters() == [(None, "undeliverable", b"{}")]


def test_a_huge_message_is_listed_by_its_beginning(desk, capsys):
    desk.run("drop")
    desk.dies("triggers", b"x" * 9_000_000, MalformedMessage("message", "is too long"))

    assert desk.run("list") == 0

    shown = capsys.readouterr().out
    assert "message: is too long" in shown
    assert len(shown) < 5_000


def test_a_message_without_a_body_is_replayed_as_it_was(desk):
    desk.run("drop")
    desk.dies("triggers", b"", MalformedMessage("message", "has no body"))

    assert desk.run("replay") == 0

    assert desk.seen("triggers") == [(b"", {"run_id": "r"})]


def test_without_a_stack_it_says_what_to_do(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    monkeypatch.setattr(dead_letters, "running", lambda: announcement.running(tmp_path))

    assert dead_letters.main(["list"]) == 1
    assert "make dev" in capsys.readouterr().out
