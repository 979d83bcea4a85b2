from __future__ import annotations

import pytest

from functions.collector.token_wait import with_another_token
from shared.errors import TokenMissing, TokenRejected


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
