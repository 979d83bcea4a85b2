from __future__ import annotations

import pytest

from shared.errors import MalformedResponse
from shared.kiwoom.client import KiwoomClient, new_session
from shared.kiwoom.listings import KiwoomStocks
from shared.stocks import Market
from tests.support.builders import day
from tests.support.fakes import (
    FakeMeter,
    FakeThrottle,
    FakeTokens,
    FakeWire,
    rows_reply,
)

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


def ask(rows, market=Market.KOSPI, name="list"):
    wire = FakeWire(rows_reply(name, rows))
    http = new_session()
    http.mount("https://", wire)
    client = KiwoomClient(
        http, "https://api.kiwoom.com", FakeTokens(), FakeThrottle(), lambda _: None
    )
    return KiwoomStocks(client).listed(market, FakeMeter()), wire.requests[0]


def test_an_entry_becomes_a_stock():
    ([stock], request) = ask([SAMSUNG])

    assert (stock.stock_code, stock.stock_name) == ("005930", "삼성전자")
    assert (stock.market_code, stock.market_name) == ("0", "거래소")
    assert stock.listed_on == day("1975-06-11")
    assert stock.listed_shares == 5_919_637_922
    assert stock.nxt_enabled is True
    assert request.body == b'{"mrkt_tp": "0"}'
    assert request.path_url == "/api/dostk/stkinfo"


def test_funds_in_the_mixed_list_are_left_out():
    fund = SAMSUNG | {"code": "069500", "marketCode": "8"}

    stocks, _ = ask([SAMSUNG, fund])

    assert [stock.stock_code for stock in stocks] == ["005930"]


@pytest.mark.parametrize(
    ("code", "kept"), [("0001A0", True), ("02826K", True), ("5930", False)]
)
def test_codes_may_have_letters_but_not_any_length(code, kept):
    stocks, _ = ask([SAMSUNG | {"code": code}])

    assert bool(stocks) is kept


def test_an_entry_needs_no_more_than_code_and_market():
    ([stock], _) = ask([{"code": "005930", "name": "삼성  전자 ", "marketCode": "0"}])

    assert stock.stock_name == "삼성 전자"
    assert (stock.listed_on, stock.listed_shares, stock.nxt_enabled) == (
        None,
        None,
        None,
    )


def test_an_answer_without_a_list_is_broken():
    with pytest.raises(MalformedResponse, match="no list"):
        ask([], name="lists")


def test_every_field_that_is_read_is_documented(documented):
    assert SAMSUNG.keys() <= set(documented["ka10099"]["response"])
