from __future__ import annotations

from dataclasses import replace

import pytest
import requests

from shared.errors import (
    Busy,
    KiwoomRejected,
    KiwoomUnavailable,
    MalformedResponse,
    RateLimited,
    TokenRejected,
    UnknownStock,
)
from shared.kiwoom.client import PAGE_CAP, KiwoomClient
from shared.kiwoom.wire import new_http_session
from tests.support.fakes import (
    TOKEN,
    FakeThrottle,
    FakeTokens,
    FakeWire,
    refusal,
    reply,
)

HTML: tuple[bytes, int, dict[str, str]] = (b"<html>Request Blocked</html>", 400, {})


def page(next_key=None, /, **headers):
    """A successful answer: the last page, or one that goes on at ``next_key``."""
    if not headers:
        headers = {"cont_yn": "Y" if next_key else "N", "next_key": next_key or ""}
    return reply(
        {"return_code": 0, "return_msg": "정상적으로 처리되었습니다"}, **headers
    )


class Observer:
    """Notes what it is told; may stop a request."""

    def __init__(self, stop=None):
        self.told = []
        self.stop = stop

    def before_request(self):
        self.told.append("before")
        if self.stop:
            raise self.stop

    def request_sent(self):
        self.told.append("sent")

    @property
    def count(self):
        return self.told.count("sent")


class Call:
    """A client on a fake wire, and what it did."""

    def __init__(self, *answers, tokens=None, observer=None):
        self.wire = FakeWire(*answers)
        http = new_http_session()
        http.mount("https://", self.wire)
        self.throttle, self.slept = FakeThrottle(), []
        self.observer = observer or Observer()
        self.client = KiwoomClient(
            http,
            "https://api.kiwoom.com",
            tokens or FakeTokens(),
            self.throttle,
            self.slept.append,
        )

    def page(self, cursor=None):
        return self.client.page(
            "ka10081",
            "/api/dostk/chart",
            {"stk_cd": "005930"},
            cursor=cursor,
            observer=self.observer,
        )

    def pages(self):
        body = {"mrkt_tp": "0"}
        return list(self.client.pages("ka10099", "/x", body, observer=self.observer))


def test_a_call_is_made_as_the_broker_wants_it():
    call = Call(page())

    reply = call.page()

    (request,) = call.wire.requests
    assert request.url == "https://api.kiwoom.com/api/dostk/chart"
    assert request.headers["api-id"] == "ka10081"
    assert request.headers["authorization"] == f"Bearer {TOKEN.value}"
    assert request.headers["cont-yn"] == "N"
    assert request.body == b'{"stk_cd": "005930"}'
    assert reply.cursor is None


def test_a_page_names_the_next_one_and_is_found_by_that_name():
    call = Call(page("A2"), page())

    assert call.page("A1").cursor == "A2"

    request = call.wire.requests[0]
    assert (request.headers["cont-yn"], request.headers["next-key"]) == ("Y", "A1")


@pytest.mark.parametrize("said", ["N", "n", " N "])
def test_only_an_explicit_no_is_the_last_page(said):
    assert Call(page(cont_yn=said, next_key="A9")).page().cursor is None


@pytest.mark.parametrize(
    "headers",
    [
        {"next_key": ""},
        {"next_key": "A2"},
        {"cont_yn": "", "next_key": ""},
        {"cont_yn": "maybe", "next_key": "A2"},
        {"cont_yn": "Y"},
        {"cont_yn": "Y", "next_key": ""},
        {"cont_yn": "Y", "next_key": "  "},
        {"cont_yn": "Y", "next_key": "A1"},
    ],
)
def test_a_page_that_neither_ends_nor_goes_on_is_requested_again(headers):
    call = Call(page(**headers), page("A2"))

    assert call.page("A1").cursor == "A2"

    call = Call(*[page(**headers)] * 3)
    with pytest.raises(KiwoomUnavailable, match="the answer does|gives no new key"):
        call.page("A1")
    assert call.observer.count == 3


def test_all_pages_of_a_list_are_followed_with_the_same_body():
    call = Call(page("A1"), page("A2"), page())

    assert len(call.pages()) == 3

    assert {request.body for request in call.wire.requests} == {b'{"mrkt_tp": "0"}'}
    assert [request.headers["next-key"] for request in call.wire.requests] == [
        "",
        "A1",
        "A2",
    ]


def test_pages_that_go_round_in_circles_are_left():
    call = Call(*[page(key) for key in ("A1", "A2", "A1")])

    with pytest.raises(KiwoomUnavailable, match="round in circles"):
        call.pages()

    assert call.observer.count == 3


def test_a_list_that_never_ends_is_refused():
    answers = [page(f"A{n}") for n in range(PAGE_CAP + 5)]

    with pytest.raises(MalformedResponse, match=f"more than {PAGE_CAP} pages"):
        Call(*answers).pages()


def test_an_observer_is_told_before_and_after_the_wait_and_may_stop_a_request():
    call = Call(page())
    call.page()
    assert call.observer.told == ["before", "sent"]

    call = Call(page(), observer=Observer(stop=Busy("out of time")))
    with pytest.raises(Busy):
        call.page()
    assert not call.throttle.waits
    assert not call.wire.requests


def test_a_call_needs_no_observer():
    client = Call(page()).client

    assert client.page("ka10081", "/x", {}).cursor is None


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refusal("8001"), KiwoomRejected),
        (refusal("1634", return_code=5, status=429), KiwoomRejected),
        (refusal("1902", return_code=7), UnknownStock),
        (reply({"return_code": 20, "return_msg": "[2000](x)"}), KiwoomRejected),
    ],
)
def test_what_waiting_cannot_help_is_requested_once(answer, error):
    call = Call(answer)

    with pytest.raises(error):
        call.page()

    assert call.observer.count == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (requests.ConnectionError("secret in the text"), KiwoomUnavailable),
        (requests.ReadTimeout(), KiwoomUnavailable),
        (HTML, KiwoomUnavailable),
        (reply({"list": []}, cont_yn="N"), KiwoomUnavailable),
        (refusal("1999"), KiwoomUnavailable),
        (refusal("1700", return_code=5, status=429), RateLimited),
        ((b"", 429, {}), RateLimited),
    ],
)
def test_what_may_pass_is_requested_three_times(answer, error):
    call = Call(answer, answer, answer)

    with pytest.raises(error) as raised:
        call.page()

    assert call.observer.count == 3
    assert len(call.slept) == 2
    assert len(call.throttle.waits) == 3
    assert "secret" not in str(raised.value)


def test_a_page_that_came_at_the_second_attempt_is_a_page():
    assert Call(HTML, page()).page().cursor is None


@pytest.mark.parametrize("body", [b"<html>", {"return_msg": "[1700:x]"}])
def test_a_429_slows_all_callers_down_and_waits_a_second(body):
    call = Call((body, 429, {}), page())

    call.page()

    assert call.throttle.slowed == [("fingerprint", "ka10081")]
    assert call.slept[0] >= 1


def test_a_dead_token_arrives_as_success_and_is_noticed():
    call = Call(refusal("8005"))

    with pytest.raises(TokenRejected) as raised:
        call.page()

    assert call.observer.count == 1
    assert raised.value.version == TOKEN.version


def test_a_dead_token_is_replaced_once():
    newer = replace(TOKEN, value="newer", version="2")
    call = Call(refusal("8005"), page(), tokens=FakeTokens(newer))

    call.page()

    assert call.wire.requests[1].headers["authorization"] == "Bearer newer"


def test_a_replaced_token_that_is_dead_too_is_not_replaced_again():
    newer = replace(TOKEN, value="newer", version="2")
    call = Call(refusal("8005"), refusal("8005"), tokens=FakeTokens(newer))

    with pytest.raises(TokenRejected):
        call.page()

    assert call.observer.count == 2


def test_no_error_holds_the_token():
    for answer in (refusal("8005"), refusal("8001"), refusal("1902")):
        with pytest.raises(Exception) as raised:  # noqa: PT011 - any of them
            Call(answer).page()
        assert TOKEN.value not in f"{raised.value!r} {raised.value}"
