from __future__ import annotations

from dataclasses import fields
from datetime import timedelta

import pytest

from functions.collector import main
from functions.collector.main import Collector
from functions.collector.token_wait import with_another_token
from shared.errors import TokenMissing, TokenRejected
from shared.lanes import Lane
from tests.support.builders import a_request, kst

BEGAN = kst("2026-11-20 10:30")


class Attempts:
    """Fail as often as there are ``errors``, then succeed."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.asked = []

    def __call__(self):
        if self.errors:
            raise self.errors.pop(0)
        return "done"

    def has_another(self, error):
        self.asked.append(error.version)
        return True


def test_a_task_whose_token_was_refused_goes_on_with_the_next_one():
    attempts = Attempts(TokenRejected("rejected", "7"))

    assert with_another_token(attempts, attempts.has_another) == "done"
    assert attempts.asked == ["7"]


def test_a_task_that_found_no_token_goes_on_with_the_first_one():
    attempts = Attempts(TokenMissing("none yet"))

    assert with_another_token(attempts, attempts.has_another) == "done"
    assert attempts.asked == [None]


def test_a_task_for_which_there_is_no_other_token_is_delivered_again():
    attempts = Attempts(TokenRejected("rejected", "7"))

    with pytest.raises(TokenRejected):
        with_another_token(attempts, lambda _: False)


def test_a_task_that_loses_two_tokens_is_delivered_again():
    attempts = Attempts(TokenRejected("rejected", "7"), TokenRejected("rejected", "8"))

    with pytest.raises(TokenRejected) as raised:
        with_another_token(attempts, attempts.has_another)

    assert (raised.value.version, attempts.asked) == ("8", ["7"])


def collected(monkeypatch, attempts, seconds):
    """Collect, and fail ``seconds`` after the message came; return what was done."""
    done = []

    class Tokens:
        def request(self, error):
            done.append(("request", error.version))

        def wait_for_another(self, version, seconds):
            done.append(("wait", version, seconds))
            return True

    monkeypatch.setattr(main, "collect", lambda *_: attempts())
    parts = dict.fromkeys(field.name for field in fields(Collector)) | {
        "sources": dict.fromkeys(Lane),
        "tokens": Tokens(),
        "token_requester": Tokens(),
        "clock": lambda: BEGAN + timedelta(seconds=seconds),
    }
    try:
        Collector(**parts).collect(a_request(), BEGAN)
    except TokenRejected:
        done.append("given back")
    return done


def test_another_token_is_requested_before_it_is_waited_for(monkeypatch):
    attempts = Attempts(TokenRejected("rejected", "7"))

    assert collected(monkeypatch, attempts, 59) == [("request", "7"), ("wait", "7", 60)]


def test_a_task_whose_message_came_long_ago_does_not_wait(monkeypatch):
    """Its second attempt would be cut off."""
    attempts = Attempts(TokenRejected("rejected", "7"))

    assert collected(monkeypatch, attempts, 60) == [("request", "7"), "given back"]
