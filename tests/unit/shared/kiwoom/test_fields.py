from __future__ import annotations

from math import inf, nan

import pytest

from shared.kiwoom.fields import code, count, instant, optional, price, text
from tests.support.builders import kst


@pytest.mark.parametrize(
    "value",
    [
        *("70000", "+70000", "-70000", "--70000", "+-70000", " 70000 ", "0070000"),
        *("70000.0", "-70000.00", 70_000, -70_000, 70_000.0),
    ],
)
def test_the_sign_of_a_price_is_only_its_colour(value):
    assert price(value) == 70_000


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "is missing"),
        ("", "is blank"),
        ("  ", "is blank"),
        ("-", "'-' is not a whole number"),
        ("7e4", "not a whole number"),
        ("70,000", "not a whole number"),
        ("70.5", "'70.5' is not a whole number"),
        (70.5, "not a whole number"),
        ("７0", "not a whole number"),
        ("7\x00\ud800", r"'7\x00\ud800' is not a whole number"),
        (nan, "not a whole number"),
        (inf, "not a whole number"),
        (True, "is a bool"),
        ([], "is a list"),
        ({}, "is a dict"),
        ("9223372036854775808", "does not fit 64 bits"),
        (2**63, "does not fit 64 bits"),
        (1e300, "has 301 characters"),
        ("1" * 10_000, "has 10000 characters"),
    ],
)
def test_a_price_is_a_whole_number_of_64_bits(value, reason):
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - compared as it is
        price(value)

    assert reason in str(refused.value)
    assert len(str(refused.value)) < 100
    assert str(refused.value).isascii()


@pytest.mark.parametrize("value", ["4294967295", "+4294967295", 4_294_967_295])
def test_a_volume_at_the_end_of_32_bits_is_kept(value):
    assert count(value) == 2**32 - 1


def test_a_count_is_not_negative():
    assert count("-0") == 0
    with pytest.raises(ValueError, match="-1 is negative"):
        count("-1")


@pytest.mark.parametrize("value", ["20261120", 20261120, 20261120.0, " 20261120 "])
def test_a_day_begins_in_seoul(value):
    assert instant(value) == kst("2026-11-20")


def test_times_are_korean():
    assert instant("20261120103000") == kst("2026-11-20 10:30")
    assert instant("20261120103000").utcoffset().total_seconds() == 9 * 3600


@pytest.mark.parametrize(
    "value",
    [
        *(None, "", "2026-11-20", "202611201030", "20261320", "2026112x", "-20261120"),
        *("19551231", "00010101", "20261120256060", "２０２６１１２０", [], True, nan),
    ],
)
def test_what_is_no_time_of_the_exchange_is_refused(value):
    with pytest.raises(ValueError):  # noqa: PT011 - the reasons differ
        instant(value)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (" 삼성  전자\n", "삼성 전자"),
        (10, "10"),
        (10.0, "10"),
        (None, ""),
        (True, ""),
        (["삼성"], ""),
        ("삼\x00성\ud800", "삼성"),
    ],
)
def test_a_text_is_what_a_database_can_store(value, read):
    assert text(value) == read


@pytest.mark.parametrize(
    ("value", "read"), [("0001A0", "0001A0"), (5930, "005930"), (None, ""), (True, "")]
)
def test_a_code_that_came_as_a_number_has_its_zeros_again(value, read):
    assert code(value) == read


def test_an_optional_field_costs_only_itself():
    assert optional(count, "5") == 5
    assert optional(count, "-") is None
