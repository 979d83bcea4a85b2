from __future__ import annotations

import pytest

from shared.kiwoom.fields import count, instant, price
from tests.support.builders import kst


@pytest.mark.parametrize("text", ["70000", "+70000", "-70000", "--70000", "+-70000"])
def test_the_sign_of_a_price_is_only_its_colour(text):
    assert price(text) == 70_000


@pytest.mark.parametrize("text", ["", "-", "7e4", "70,000", "70.5", " 70", "７0"])
def test_a_price_is_a_whole_number(text):
    with pytest.raises(ValueError, match="is not a whole number"):
        price(text)


def test_a_count_has_no_sign():
    assert count("4294967295") == 4_294_967_295
    with pytest.raises(ValueError, match="not a whole number"):
        count("-1")


def test_times_are_korean():
    assert instant("20261120") == kst("2026-11-20")
    assert instant("20261120103000") == kst("2026-11-20 10:30")
    assert instant("20261120103000").utcoffset().total_seconds() == 9 * 3600


@pytest.mark.parametrize(
    "text", ["", "2026-11-20", "202611201030", "20261320", "2026112x"]
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - the reason is the parser's own
        instant(text)
