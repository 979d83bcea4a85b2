from __future__ import annotations

import base64
from threading import Barrier, Thread

import pytest
from cloudevents.http import CloudEvent
from werkzeug.exceptions import ServiceUnavailable, TooManyRequests

from shared.delivery import Delivery, answered, once
from shared.errors import Busy, KiwoomUnavailable, MalformedMessage


class Letters(list[object]):
    def put(self, delivery, error):
        self.append((delivery, error))


def a_delivery(**message):
    attributes = {"id": "42", "type": "t", "source": "s"}
    return Delivery.of(CloudEvent(attributes, {"message": message}))


def test_a_push_is_read():
    data = base64.b64encode(b'{"timeframe":"5m"}').decode()

    delivery = a_delivery(data=data, attributes={"schema": "x"})

    assert delivery == Delivery("42", b'{"timeframe":"5m"}', {"schema": "x"})


def test_a_push_without_data_or_attributes_is_read():
    assert a_delivery() == Delivery("42", b"", {})


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
