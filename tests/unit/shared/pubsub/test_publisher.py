from __future__ import annotations

import pytest

from shared import tracing
from shared.candles import Timeframe
from shared.lanes import Lane
from shared.messages import CollectRequest
from shared.pubsub.publisher import Publisher, allowed_attributes


class FakeTransport:
    """Remembers what was sent."""

    def __init__(self, project):
        self.project = project
        self.sent = []

    def send(self, topic, messages, attributes):
        self.sent.append((topic, list(messages), dict(attributes)))


class Connections(list[FakeTransport]):
    """Remembers every connection that was made."""

    def __call__(self, project):
        self.append(FakeTransport(project))
        return self[-1]


def test_a_publisher_connects_at_its_first_message_and_only_then():
    connections = Connections()
    publisher = Publisher("p", connections)
    assert connections == []

    publisher.publish("collect", [b"1"], {})
    publisher.publish("tokens", [b"2"], {})

    (transport,) = connections
    assert transport.project == "p"
    assert [topic for topic, _, _ in transport.sent] == ["collect", "tokens"]


def test_more_messages_than_a_request_takes_are_sent_in_several():
    connections = Connections()

    Publisher("p", connections).publish("collect", [b"x"] * 2_500, {"run_id": "r"})

    (transport,) = connections
    assert [len(messages) for _, messages, _ in transport.sent] == [1000, 1000, 500]
    assert {attributes["run_id"] for _, _, attributes in transport.sent} == {"r"}


def test_each_request_of_a_run_goes_to_the_topic_of_its_lane_live_ones_first():
    connections = Connections()
    requests = [
        CollectRequest(run_id="r", stock_code="005930", timeframe=timeframe, lane=lane)
        for lane in (Lane.HISTORY, Lane.LIVE)
        for timeframe in Timeframe
    ]

    Publisher("p", connections).publish_run([r.to_bytes() for r in requests], "r")

    sent = [
        (topic, [CollectRequest.from_bytes(each).timeframe for each in messages])
        for topic, messages, _ in connections[0].sent
    ]
    minutes, days, weeks = ["5m", "30m", "60m"], ["1d"], ["1w"]
    assert sent == [
        ("collect-live-minutes", minutes),
        ("collect-live-days", days),
        ("collect-live-weeks", weeks),
        ("collect-history-minutes", minutes),
        ("collect-history-days", days),
        ("collect-history-weeks", weeks),
    ]


def test_the_trace_of_the_delivery_goes_with_every_message():
    connections = Connections()
    publisher = Publisher("p", connections)

    with tracing.handling("4bf92f3577b34da6a3ce929d0e0e4736", 1):
        publisher.publish("collect", [b"1"], {"run_id": "r"})
    publisher.publish("collect", [b"2"], {"run_id": "r"})

    during, after = (attributes for _, _, attributes in connections[0].sent)
    assert during == {"run_id": "r", "trace": "4bf92f3577b34da6a3ce929d0e0e4736"}
    assert after == {"run_id": "r"}


@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        ("a" * 1024, "a" * 1024),
        ("a" * 1025, "a" * 1024),
        # Hangul has three bytes, and 1,024 is no multiple of three.
        ("가" * 400, "가" * 341),
        ("a\x00b", "a\N{REPLACEMENT CHARACTER}b"),
        ("a\ud800b", "a\N{REPLACEMENT CHARACTER}b"),
        ("", ""),
    ],
)
def test_a_value_is_what_pubsub_accepts(value, allowed):
    assert allowed_attributes({"reason": value}) == {"reason": allowed}


def test_the_first_hundred_attributes_are_published():
    many = {f"n{number}": "x" for number in range(150)}

    assert list(allowed_attributes(many)) == [f"n{number}" for number in range(100)]


def test_keys_that_pubsub_refuses_are_left_out():
    refused = {"": "x", "goog-x": "x", "googclient_schema": "x", "k" * 257: "x"}

    assert allowed_attributes(refused | {"run_id": "r"}) == {"run_id": "r"}
