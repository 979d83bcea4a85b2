from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from threading import Barrier, Event

import pytest
from werkzeug.exceptions import ServiceUnavailable, TooManyRequests

from shared.errors import (
    Busy,
    ConfigError,
    DatabaseMisconfigured,
    KiwoomUnavailable,
    MalformedMessage,
    PublishFailed,
    TokenMissing,
    TokenRejected,
)
from shared.messages import CollectRequest, ReferenceRequest, TokenRequest, Trigger
from shared.pubsub.delivery import Delivery
from shared.pubsub.handling import TokenRequester, acknowledging

MESSAGES = (CollectRequest, ReferenceRequest, TokenRequest, Trigger)


class DeadLetters(list[object]):
    """Keeps all dead letters."""

    def dead_letter(self, delivery, error):
        self.append((delivery, error))


class Tokens(list[object]):
    """Keeps all requests for a token."""

    def request(self, error):
        self.append(error)
        if error.version == "broken":
            raise PublishFailed("tokens")


def a_delivery(data=b"{}"):
    return Delivery("42", data, {}, datetime(2026, 11, 20, tzinfo=UTC), "triggers")


def test_a_permanent_error_is_a_dead_letter_and_acknowledged():
    dead_letters = DeadLetters()
    error = MalformedMessage("mode", "is wrong")

    with acknowledging(a_delivery(), dead_letters):
        raise error

    assert dead_letters == [(a_delivery(), error)]


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_without_a_body_is_a_dead_letter_that_says_so(message):
    dead_letters = DeadLetters()
    delivery = a_delivery(b"")

    with acknowledging(delivery, dead_letters):
        message.from_bytes(delivery.data)

    ((_, error),) = dead_letters
    assert isinstance(error, MalformedMessage)
    assert str(error).startswith("message: has no body; send a JSON object like")


@pytest.mark.parametrize(
    ("error", "answer"),
    [(Busy("later"), TooManyRequests), (KiwoomUnavailable("down"), ServiceUnavailable)],
)
def test_what_may_pass_is_delivered_again(error, answer):
    dead_letters = DeadLetters()

    with pytest.raises(answer), acknowledging(a_delivery(), dead_letters):
        raise error

    assert dead_letters == []


@pytest.mark.parametrize(
    "error",
    [ConfigError("KIWOOM_MODE is missing"), DatabaseMisconfigured("403", "grant it")],
)
def test_what_a_deployment_puts_right_is_told_and_not_lost(error, caplog):
    """Waiting does not help, but once the deployment is right the message is handled."""
    dead_letters = DeadLetters()

    with (
        caplog.at_level(logging.INFO),
        pytest.raises(ServiceUnavailable, match=str(error)),
        acknowledging(a_delivery(), dead_letters),
    ):
        raise error

    assert dead_letters == []
    (record,) = caplog.records
    assert (record.levelname, record.message) == ("ERROR", "misconfigured")


@pytest.mark.parametrize("attributes", [{"run_id": "a-run"}, {}])
def test_what_failed_names_the_run_that_it_is_of(attributes, caplog):
    """A search for a run finds what went wrong with it, not only what got done."""
    delivery = replace(a_delivery(), attributes=attributes)

    with (
        caplog.at_level(logging.INFO),
        pytest.raises(ServiceUnavailable),
        acknowledging(delivery, DeadLetters()),
    ):
        raise KiwoomUnavailable("down")

    (record,) = caplog.records
    named = {k: v for k, v in record.json_fields.items() if k == "run_id"}
    assert named == attributes


@pytest.mark.parametrize("version", ["7", "broken"])
def test_a_token_that_failed_is_requested_anew(version):
    dead_letters, tokens = DeadLetters(), Tokens()
    error = TokenRejected("rejected", version)

    with (
        pytest.raises(ServiceUnavailable),
        acknowledging(a_delivery(), dead_letters, tokens),
    ):
        raise error

    assert tokens == [error]
    assert dead_letters == []


def test_a_function_that_requests_no_tokens_is_delivered_to_again():
    with pytest.raises(ServiceUnavailable), acknowledging(a_delivery(), DeadLetters()):
        raise TokenMissing("none yet")


def test_many_deliveries_without_a_token_request_it_once_a_minute():
    published, now = [], [0.0]

    class Publisher:
        def publish(self, topic, messages, attributes):
            published.append((topic, messages[0]))

    tokens = TokenRequester(Publisher(), "tokens", lambda: now[0])

    for _ in range(3):
        tokens.request(TokenRejected("rejected", "7"))
    now[0] = 61.0
    tokens.request(TokenRejected("rejected", "7"))
    tokens.request(TokenRejected("rejected", "8"))
    tokens.request(TokenMissing("none yet"))

    request = b'{"reason":"token_rejected","rejected_version":"%d"}'
    assert published == [
        ("tokens", request % 7),
        ("tokens", request % 7),
        ("tokens", request % 8),
        ("tokens", b'{"reason":"token_missing"}'),
    ]


def test_deliveries_that_notice_at_once_request_a_token_once():
    published, together = [], Barrier(8)

    class Publisher:
        def publish(self, topic, messages, attributes):
            published.append(messages[0])
            Event().wait(0.02)

    tokens = TokenRequester(Publisher(), "tokens")

    def request(_):
        together.wait()
        tokens.request(TokenRejected("rejected", "7"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(request, range(8)))

    assert len(published) == 1


def test_a_pubsub_that_is_silent_holds_up_one_delivery_and_not_all():
    asked, answers = Event(), Event()

    class Silent:
        def publish(self, topic, messages, attributes):
            asked.set()
            answers.wait(10)

    tokens = TokenRequester(Silent(), "tokens")
    with ThreadPoolExecutor(2) as pool:
        pool.submit(tokens.request, TokenMissing("none yet"))
        asked.wait(10)
        second = pool.submit(tokens.request, TokenMissing("none yet"))
        try:
            assert second.result(timeout=5) is None
        finally:
            answers.set()


def test_a_request_that_was_not_taken_is_repeated_by_the_next_delivery():
    published, refusals = [], [PublishFailed("topic tokens: ServiceUnavailable")]

    class Publisher:
        def publish(self, topic, messages, attributes):
            if refusals:
                raise refusals.pop()
            published.append(messages[0])

    tokens = TokenRequester(Publisher(), "tokens")
    with pytest.raises(PublishFailed):
        tokens.request(TokenMissing("none yet"))

    tokens.request(TokenMissing("none yet"))

    assert len(published) == 1


def test_a_mistake_of_ours_is_not_swallowed():
    with pytest.raises(ZeroDivisionError), acknowledging(a_delivery(), DeadLetters()):
        raise ZeroDivisionError
