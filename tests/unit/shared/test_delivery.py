from __future__ import annotations

import base64
from datetime import UTC, datetime
from threading import Barrier, Thread

import pytest
from cloudevents.http import CloudEvent
from werkzeug.exceptions import ServiceUnavailable, TooManyRequests

from shared.delivery import Delivery, Outbox, answered, once
from shared.errors import (
    Busy,
    KiwoomUnavailable,
    MalformedMessage,
    PublishFailed,
    TokenMissing,
    TokenRejected,
)
from shared.settings import PubSubSettings

PUBLISHED = "2026-11-20T01:30:00.123456789Z"


class Letters(list[object]):
    """An outbox that keeps everything."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def put_aside(self, delivery, error):
        self.append((delivery, error))

    def ask_for_token(self, error):
        self.asked.append(error)
        if error.version == "broken":
            raise PublishFailed("tokens")


def a_delivery(**message):
    attributes = {"id": "42", "type": "t", "time": PUBLISHED}
    attributes |= {"source": "//pubsub.googleapis.com/projects/p/topics/triggers"}
    return Delivery.of(CloudEvent(attributes, {"message": message}))


def test_a_push_is_read():
    data = base64.b64encode(b'{"timeframe":"5m"}').decode()

    delivery = a_delivery(data=data, attributes={"schema": "x"})

    assert delivery == Delivery(
        message_id="42",
        data=b'{"timeframe":"5m"}',
        attributes={"schema": "x"},
        published_at=datetime(2026, 11, 20, 1, 30, 0, 123456, UTC),
        topic="triggers",
    )


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-20T01:30:00Z",
        "2026-11-20T01:30:00.0Z",
        "2026-11-20T01:30:00+00:00",
        "2026-11-20T10:30:00.000+09:00",
    ],
)
def test_the_time_of_a_push_comes_in_many_forms(text):
    delivery = a_delivery(publishTime=text)

    assert delivery.published_at == datetime(2026, 11, 20, 1, 30, tzinfo=UTC)


def test_a_push_without_data_or_attributes_is_read():
    delivery = a_delivery()

    assert (delivery.data, delivery.attributes) == (b"", {})


def test_a_permanent_error_is_put_aside_and_acknowledged():
    letters = Letters()
    error = MalformedMessage("mode", "is wrong")

    with answered(a_delivery(), letters):
        raise error

    assert [put for _, put in letters] == [error]


@pytest.mark.parametrize(
    ("error", "answer"),
    [(Busy("later"), TooManyRequests), (KiwoomUnavailable("down"), ServiceUnavailable)],
)
def test_what_may_pass_is_delivered_again(error, answer):
    letters = Letters()

    with pytest.raises(answer), answered(a_delivery(), letters):
        raise error

    assert letters == []


@pytest.mark.parametrize("version", ["7", "broken"])
def test_for_a_token_that_died_another_one_is_asked_for(version):
    letters = Letters()
    error = TokenRejected("rejected", version)

    with pytest.raises(ServiceUnavailable), answered(a_delivery(), letters):
        raise error

    assert letters.asked == [error]
    assert letters == []


def test_many_who_wait_for_a_token_ask_once_a_minute(monkeypatch):
    published, now = [], [0.0]

    class Publisher:
        def publish(self, topic, messages, attributes):
            published.append((topic, messages[0]))

    monkeypatch.setattr("shared.pubsub.new_publisher", lambda project: Publisher())
    topics = PubSubSettings.from_env({"GOOGLE_CLOUD_PROJECT": "p"})
    outbox = Outbox(topics, lambda: now[0])

    for _ in range(3):
        outbox.ask_for_token(TokenRejected("rejected", "7"))
    now[0] = 61.0
    outbox.ask_for_token(TokenRejected("rejected", "7"))
    outbox.ask_for_token(TokenRejected("rejected", "8"))
    outbox.ask_for_token(TokenMissing("none yet"))

    request = b'{"reason":"token_rejected","rejected_version":"%d"}'
    assert published == [
        ("tokens", request % 7),
        ("tokens", request % 7),
        ("tokens", request % 8),
        ("tokens", b'{"reason":"token_missing"}'),
    ]


def test_a_mistake_of_ours_is_not_swallowed():
    with pytest.raises(ZeroDivisionError), answered(a_delivery(), Letters()):
        raise ZeroDivisionError


def test_a_thing_is_built_once_also_by_many_threads():
    built = []
    together = Barrier(8)

    @once
    def build():
        built.append(1)
        return object()

    def get():
        together.wait()
        build()

    threads = [Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert built == [1]
