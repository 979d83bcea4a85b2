from __future__ import annotations

import pytest

from shared.errors import MalformedResponse
from shared.kiwoom.client import KiwoomClient
from shared.kiwoom.listings import KiwoomStocks
from shared.kiwoom.wire import new_http_session
from shared.stocks import Market
from tests.support.builders import day
from tests.support.fakes import FakeThrottle, FakeTokens, FakeWire, rows_reply

SAMSUNG = {
    "code": "005930",
    "name": "삼성전자",
    "listCount": "0000005919637922",
    "auditInfo": "정상",
    "regDay": "19750611",
    "lastPrice": "00326500",
    "state": "증거금20%|담보대출|신용가능",
    "marketCode": "0",
    "marketName": "거래소",
    "upName": "전기/전자",
    "upSizeName": "대형주",
    "orderWarning": "0",
    "companyClassName": "",
    "nxtEnable": "Y",
}


def ask(*pages, market=Market.KOSPI, name="list"):
    """The listing that these pages of rows make, and the requests it took."""
    keys = [f"A{n}" for n in range(1, len(pages))] + [""]
    wire = FakeWire(
        *(rows_reply(name, *page) for page in zip(pages, keys, strict=True))
    )
    http = new_http_session()
    http.mount("https://", wire)
    client = KiwoomClient(
        http, "https://api.kiwoom.com", FakeTokens(), FakeThrottle(), lambda _: None
    )
    return KiwoomStocks(client).listed(market), wire.requests


def codes(listing):
    return [stock.stock_code for stock in listing.stocks]


def test_an_entry_becomes_a_stock():
    listing, [request] = ask([SAMSUNG])

    (stock,) = listing.stocks
    assert not listing.skipped
    assert (stock.stock_code, stock.stock_name) == ("005930", "삼성전자")
    assert (stock.market_code, stock.market_name) == ("0", "거래소")
    assert stock.listed_on == day("1975-06-11")
    assert stock.listed_shares == 5_919_637_922
    assert stock.nxt_enabled is True
    assert request.body == b'{"mrkt_tp": "0"}'
    assert request.path_url == "/api/dostk/stkinfo"


def test_funds_in_the_mixed_list_are_left_out():
    fund = SAMSUNG | {"code": "069500", "marketCode": "8"}

    listing, _ = ask([SAMSUNG, fund])

    assert codes(listing) == ["005930"]
    assert not listing.skipped


@pytest.mark.parametrize(
    ("code", "kept"), [("0001A0", True), ("02826K", True), ("5930", False)]
)
def test_codes_may_have_letters_but_not_any_length(code, kept):
    listing, _ = ask([SAMSUNG | {"code": code}])

    assert bool(listing.stocks) is kept
    assert bool(listing.skipped) is not kept


def test_an_entry_needs_no_more_than_code_and_market():
    listing, _ = ask([{"code": "005930", "name": "삼성  전자 ", "marketCode": "0"}])

    (stock,) = listing.stocks
    assert stock.stock_name == "삼성 전자"
    assert (stock.listed_on, stock.listed_shares, stock.nxt_enabled) == (
        None,
        None,
        None,
    )


@pytest.mark.parametrize("odd", [None, 0, 1.5, True, [], {}, "\x00", "\ud800"])
def test_a_field_that_is_odd_keeps_the_stock(odd):
    named = dict.fromkeys(SAMSUNG, odd) | {"code": "005930", "marketCode": 0}

    listing, _ = ask([named])

    assert codes(listing) == ["005930"]
    assert listing.stocks[0].nxt_enabled is None
    assert listing.stocks[0].stock_name in {"", "0", "1.5"}


def test_a_code_without_its_zeros_is_found():
    listing, _ = ask([SAMSUNG | {"code": 5930}])

    assert codes(listing) == ["005930"]


def test_a_row_that_is_no_object_is_skipped_and_told():
    listing, _ = ask([None, SAMSUNG, [SAMSUNG], "005930"])

    assert codes(listing) == ["005930"]
    assert listing.skipped == ("a row is not an object",) * 3


def test_a_code_that_is_listed_twice_is_one_stock_and_told():
    listing, _ = ask([SAMSUNG, SAMSUNG | {"name": "다른"}])

    assert [stock.stock_name for stock in listing.stocks] == ["삼성전자"]
    assert listing.skipped == ("005930 is listed twice",)


def test_a_list_that_goes_on_is_followed():
    listing, requests = ask([SAMSUNG], [SAMSUNG | {"code": "000660"}], [SAMSUNG])

    assert codes(listing) == ["005930", "000660"]
    assert listing.skipped == ("005930 is listed twice",)
    assert len(requests) == 3


def test_an_answer_without_a_list_is_broken():
    with pytest.raises(MalformedResponse, match="no list"):
        ask([], name="lists")


def test_every_field_that_is_read_is_documented(documented):
    assert SAMSUNG.keys() <= set(documented["ka10099"]["response"])
