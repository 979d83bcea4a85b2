from __future__ import annotations

import pytest

from shared.errors import UnknownStock
from shared.plain_text import sendable, shortened


@pytest.mark.parametrize("text", ["", "plain", "삼성전자", "😀", "line\nfeed\t"])
def test_what_can_be_sent_stays_as_it_is(text):
    assert sendable(text) == text


@pytest.mark.parametrize("code", [0, 0xD800, 0xDFFF])
def test_what_cannot_be_sent_is_replaced(code):
    assert sendable(f"a{chr(code)}b") == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize(
    ("most", "short"),
    [(0, ""), (2, ""), (3, "가"), (5, "가"), (6, "가나"), (9, "가나")],
)
def test_a_string_is_cut_between_characters(most, short):
    assert shortened("가나", most) == short


def test_the_text_of_an_error_can_be_published_logged_and_stored():
    error = UnknownStock("a\ud800b\x00")

    assert str(error) == sendable("a\ud800b\x00")
