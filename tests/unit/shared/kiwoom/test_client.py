from __future__ import annotations

from dataclasses import replace

import pytest
import requests

from shared.errors import (
    KiwoomRejected,
    KiwoomUnavailable,
    MalformedResponse,
    RateLimited,
    TokenRejected,
    UnknownStock,
)
from shared.kiwoom.client import PAGE_CAP, USER_AGENT, KiwoomClient, new_session
from tests.support.fakes import (
    TOKEN,
    FakeMeter,
    FakeThrottle,
    FakeTokens,
    FakeWire,
    refusal,
    reply,
)

OK = {"return_code": 0, "return_msg": "정상적으로 처리되었습니다"}
HTML: tuple[bytes, int, dict[str, str]] = (b"<html>Request Blocked</html>", 400, {})


class Call:
    """A client on a fake wire, and what it did."""

    def __init__(self, *answers, tokens=None):
        self.wire = FakeWire(*answers)
        http = new_session()
        http.mount("https://", self.wire)
        self.throttle, self.meter, self.slept = FakeThrottle(), FakeMeter(), []
        self.client = KiwoomClient(
            http,
            "https://api.kiwoom.com",
            tokens or FakeTokens(),
            self.throttle,
            self.slept.append,
        )

    def pages(self):
        body = {"stk_cd": "005930"}
        return list(self.client.pages("ka10081", "/api/dostk/chart", body, self.meter))


def test_a_call_is_made_as_the_broker_wants_it():
    call = Call(reply(OK, cont_yn="N", next_key=""))

    call.pages()

    (request,) = call.wire.requests
    assert request.url == "https://api.kiwoom.com/api/dostk/chart"
    assert request.headers["api-id"] == "ka10081"
    assert request.headers["authorization"] == f"Bearer {TOKEN.value}"
    assert request.headers["cont-yn"] == "N"
    assert request.headers["User-Agent"] == USER_AGENT
    assert request.headers["Content-Type"] == "application/json;charset=UTF-8"
    assert request.body == b'{"stk_cd": "005930"}'


def test_every_call_has_time_outs():
    call = Call(reply(OK))

    call.pages()

    connect, read = call.wire.timeout
    assert 0 < connect < read < 60


def test_pages_continue_by_the_response_headers_and_the_same_body():
    call = Call(
        reply(OK, cont_yn="Y", next_key="A1"), reply(OK, cont_yn="N", next_key="")
    )

    call.pages()

    first, second = call.wire.requests
    assert (second.headers["cont-yn"], second.headers["next-key"]) == ("Y", "A1")
    assert first.body == second.body


def test_an_answer_without_headers_is_the_last_page():
    assert len(Call(reply(OK)).pages()) == 1


@pytest.mark.parametrize("code", [0, "0"])
def test_success_is_a_return_code_of_zero(code):
    assert len(Call(reply(OK | {"return_code": code})).pages()) == 1


def test_a_key_that_is_promised_but_empty_is_no_last_page():
    with pytest.raises(MalformedResponse, match="gives no new key"):
        Call(reply(OK, cont_yn="Y", next_key="")).pages()


def test_a_broker_that_repeats_a_page_is_stopped():
    call = Call(*[reply(OK, cont_yn="Y", next_key="A1")] * 3)

    with pytest.raises(MalformedResponse, match="gives no new key"):
        call.pages()

    assert len(call.wire.requests) == 2


def test_a_broker_that_never_ends_is_stopped():
    answers = [reply(OK, cont_yn="Y", next_key=f"A{n}") for n in range(PAGE_CAP + 5)]

    with pytest.raises(MalformedResponse, match="more than 200 pages"):
        Call(*answers).pages()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refusal("8001"), KiwoomRejected),
        (refusal("8050"), KiwoomRejected),
        (refusal("1511", return_code=2), KiwoomRejected),
        (refusal("1634", return_code=5, status=429), KiwoomRejected),
        (refusal("1902", return_code=7), UnknownStock),
        (reply({"return_code": 20, "return_msg": "[2000](x)"}), KiwoomRejected),
        (reply({"return_code": 9, "return_msg": ""}), KiwoomRejected),
    ],
)
def test_what_waiting_cannot_help_is_asked_once(answer, error):
    call = Call(answer)

    with pytest.raises(error):
        call.pages()

    assert call.meter.count == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (requests.ConnectionError("secret in the text"), KiwoomUnavailable),
        (requests.ReadTimeout(), KiwoomUnavailable),
        (HTML, KiwoomUnavailable),
        ((b'{"return_code": 0, "li', 200, {}), KiwoomUnavailable),
        ((b"[]", 200, {}), KiwoomUnavailable),
        (reply({"error": "INTERNAL_SERVER_ERROR"}, 500), KiwoomUnavailable),
        (refusal("1999"), KiwoomUnavailable),
        (refusal("1700", return_code=5, status=429), RateLimited),
        (refusal("1702", return_code=5), RateLimited),
    ],
)
def test_what_may_pass_is_asked_three_times(answer, error):
    call = Call(answer, answer, answer)

    with pytest.raises(error) as raised:
        call.pages()

    assert call.meter.count == 3
    assert len(call.slept) == 2
    assert len(call.throttle.waits) == 3
    assert "secret" not in str(raised.value)


def test_a_page_that_came_at_the_second_try_is_a_page():
    call = Call(HTML, reply(OK))

    assert len(call.pages()) == 1


def test_a_429_slows_everybody_down_and_waits_a_second():
    call = Call(refusal("1700", return_code=5, status=429), reply(OK))

    call.pages()

    assert call.throttle.slowed == [("fingerprint", "ka10081")]
    assert call.slept[0] >= 1


@pytest.mark.parametrize(
    "text",
    [
        "인증에 실패했습니다[8005:Token이 유효하지 않습니다]",
        "[CODE=8005, MESSAGE=Token이 유효하지 않습니다]",
    ],
)
def test_a_dead_token_arrives_as_success_and_is_noticed(text):
    call = Call(reply({"return_code": 3, "return_msg": text}))

    with pytest.raises(TokenRejected):
        call.pages()

    assert call.meter.count == 1


def test_a_dead_token_is_replaced_once():
    newer = replace(TOKEN, value="newer", version="2")
    call = Call(refusal("8005"), reply(OK), tokens=FakeTokens(newer))

    call.pages()

    assert call.wire.requests[1].headers["authorization"] == "Bearer newer"


def test_a_replaced_token_that_is_dead_too_is_not_replaced_again():
    newer = replace(TOKEN, value="newer", version="2")
    call = Call(refusal("8005"), refusal("8005"), tokens=FakeTokens(newer))

    with pytest.raises(TokenRejected):
        call.pages()

    assert call.meter.count == 2


def test_no_error_holds_the_token():
    for answer in (refusal("8005"), refusal("8001"), refusal("1902")):
        with pytest.raises(Exception) as raised:  # noqa: PT011 - any of them
            Call(answer).pages()
        assert TOKEN.value not in f"{raised.value!r} {raised.value}"
