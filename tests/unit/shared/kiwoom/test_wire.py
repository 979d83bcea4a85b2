from __future__ import annotations

import socket
import ssl
from http.client import IncompleteRead, RemoteDisconnected

import pytest
import requests
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection
from urllib3.exceptions import (
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
)
from urllib3.exceptions import SSLError as WrappedTlsError

from shared.errors import (
    KiwoomRejected,
    KiwoomUnavailable,
    PipelineError,
    RateLimited,
    TokenRejected,
    UnknownStock,
)
from shared.kiwoom.wire import (
    CONNECT_SECONDS,
    READ_SECONDS,
    SHOWN_CHARACTERS,
    USER_AGENT,
    decode,
    new_http_session,
    post,
)
from tests.support.fakes import FakeWire, refusal, reply

CONNECTION = HTTPConnection("host")
POOL = HTTPConnectionPool("host")
HTML = b"<html>Request Blocked</html>"


def judge(answer, status=200):
    """What becomes of an answer: its body, or the error."""
    body, status, _ = answer if isinstance(answer, tuple) else (answer, status, {})
    wire = FakeWire((body, status, {}))
    http = new_http_session()
    http.mount("https://", wire)
    return decode("ka10081", post(http, "https://api.kiwoom.com/x", {}, {}))


def said(text, status=200, **body):
    return reply({"return_msg": text, **body}, status)


@pytest.mark.parametrize("code", [0, "0", " 0 "])
def test_success_is_a_return_code_of_zero(code):
    assert judge({"return_code": code, "list": []})["list"] == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"return_msg": "정상"},
        {"return_code": None},
        {"return_code": ""},
        {"return_code": False},
        {"return_code": []},
    ],
)
def test_an_answer_without_a_return_code_may_come_right(body):
    with pytest.raises(KiwoomUnavailable):
        judge(body)


@pytest.mark.parametrize("code", ["8001", "8050", "1511", "1504", "8104"])
@pytest.mark.parametrize("status", [200, 400, 500, 503])
def test_a_known_code_that_stays_is_a_refusal_at_any_status(code, status):
    with pytest.raises(KiwoomRejected, match=code):
        judge(refusal(code, status=status))


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize(
    "body", [HTML, b"", {"error": "INTERNAL_SERVER_ERROR"}, {"return_msg": "[9999:?]"}]
)
def test_a_server_error_passes_unless_its_code_is_known(status, body):
    with pytest.raises(KiwoomUnavailable, match=str(status)):
        judge(body, status)


@pytest.mark.parametrize(
    "body",
    [
        HTML,
        b"",
        b"\xff\xfe",
        {"return_code": 0},
        {"return_code": 3, "return_msg": "[8005:Token]"},
        {"return_code": 2, "return_msg": "[1511:base_dt]"},
    ],
)
def test_a_429_is_a_rate_limit_whatever_its_body(body):
    with pytest.raises(RateLimited):
        judge(body, 429)


def test_a_batch_that_is_too_large_stays_too_large():
    with pytest.raises(KiwoomRejected, match="1634"):
        judge(refusal("1634", return_code=5, status=429))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refusal("1700", return_code=5), RateLimited),
        (refusal("1902", return_code=7), UnknownStock),
        (refusal("1903", return_code=7), UnknownStock),
        (refusal("1999"), KiwoomUnavailable),
        (refusal("8006"), KiwoomUnavailable),
        (said("[2000](x)", return_code=20), KiwoomRejected),
        (said("", return_code=9), KiwoomRejected),
        (said(None, return_code=9), KiwoomRejected),
        (said(["[1999:x]"], return_code=9), KiwoomRejected),
        (said("", 401), TokenRejected),
        (said("", 403), TokenRejected),
        (said("", 404), KiwoomUnavailable),
        ((HTML, 403, {}), KiwoomUnavailable),
        ((b'{"return_code": 0, "li', 200, {}), KiwoomUnavailable),
        ((b"[]", 200, {}), KiwoomUnavailable),
        ((b'{"return_code": 0, "list": ' + b"[" * 100_000, 200, {}), KiwoomUnavailable),
        ((b'{"return_code": 1' + b"0" * 5_000 + b"}", 200, {}), KiwoomUnavailable),
    ],
)
def test_what_an_answer_means(answer, error):
    with pytest.raises(error):
        judge(answer)


@pytest.mark.parametrize(
    "text",
    [
        "인증에 실패했습니다[8005:Token이 유효하지 않습니다]",
        "[CODE=8005, MESSAGE=Token이 유효하지 않습니다]",
        "[code = 8005]",
        "[2000](x) 인증에 실패했습니다[8005:Token]",
        "[유량=5][123:x][CODE=8005][9999:x]",
        f"{'긴' * 1_000}[8005:Token]",
    ],
)
def test_of_several_brackets_the_known_code_counts(text):
    with pytest.raises(TokenRejected):
        judge(said(text, return_code=3))


def test_digits_of_a_longer_number_are_no_code():
    with pytest.raises(KiwoomRejected, match="no code"):
        judge(said("[17000000:x]", return_code=5))


def test_what_the_broker_says_is_shortened_and_made_printable():
    with pytest.raises(UnknownStock) as raised:
        judge(said("[1902:\x00\ud800]" + "x" * 10_000, return_code=7))

    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < SHOWN_CHARACTERS + 20


def test_a_session_names_itself_and_has_time_outs():
    wire = FakeWire(reply({"return_code": 0}))
    http = new_http_session()
    http.mount("https://", wire)

    post(http, "https://api.kiwoom.com/x", {"api-id": "ka10081"}, {"stk_cd": "005930"})

    (request,) = wire.requests
    assert request.headers["User-Agent"] == USER_AGENT
    assert request.headers["Content-Type"] == "application/json;charset=UTF-8"
    assert request.body == b'{"stk_cd": "005930"}'
    assert wire.timeout == (CONNECT_SECONDS, READ_SECONDS)


@pytest.mark.parametrize("name", [".netrc", "_netrc"])
def test_a_password_in_the_home_directory_replaces_no_token(
    name, tmp_path, monkeypatch
):
    (tmp_path / name).write_text("default login stranger password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    wire = FakeWire(reply({}))
    http = new_http_session()
    http.mount("https://", wire)

    post(http, "https://api.kiwoom.com/x", {"authorization": "Bearer token"}, {})

    assert wire.requests[0].headers["authorization"] == "Bearer token"


def test_a_ca_bundle_of_the_environment_is_used(tmp_path, monkeypatch):
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))

    assert new_http_session().verify == str(bundle)


def test_without_one_the_library_has_its_own(monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)

    assert new_http_session().verify is True


def wrapped(error, inner):
    """What requests makes of a failure below urllib3."""
    error.__cause__ = inner
    return requests.ConnectionError(MaxRetryError(POOL, "/secret", error))


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (
            wrapped(
                NewConnectionError(CONNECTION, "secret"),
                ConnectionRefusedError(111, "Connection refused"),
            ),
            "Connection refused",
        ),
        (
            wrapped(
                NameResolutionError(
                    "host", CONNECTION, socket.gaierror(-2, "Name or service not known")
                ),
                socket.gaierror(-2, "Name or service not known"),
            ),
            "DNS: Name or service not known",
        ),
        (
            requests.exceptions.SSLError(
                MaxRetryError(
                    POOL,
                    "/secret",
                    WrappedTlsError(ssl.SSLError(1, "secret")),
                )
            ),
            "TLS: failed",
        ),
        (requests.ConnectTimeout("secret"), "no connection within 5 s"),
        (requests.ReadTimeout("secret"), "nothing received for 15 s"),
        (
            requests.ConnectionError(
                ProtocolError("secret", RemoteDisconnected("secret"))
            ),
            "the connection broke off",
        ),
        (
            requests.exceptions.ChunkedEncodingError(IncompleteRead(b"secret", 5)),
            "the connection broke off",
        ),
        (requests.ConnectionError(TimeoutError()), "timed out"),
        (
            requests.exceptions.ProxyError(
                OSError("Tunnel connection failed: 403 Forbidden")
            ),
            "through the proxy: Tunnel connection failed: 403",
        ),
        (OSError("Could not find a suitable TLS CA certificate bundle"), "CA certif"),
        (requests.exceptions.InvalidHeader("secret"), "InvalidHeader"),
        (UnicodeEncodeError("latin-1", "secret", 0, 1, "secret"), "UnicodeEncodeError"),
    ],
)
def test_a_failure_names_host_and_cause_and_nothing_that_was_sent(error, cause):
    http = new_http_session()
    http.mount("https://", FakeWire(error))

    with pytest.raises(KiwoomUnavailable) as raised:
        post(http, "https://user:secret@api.kiwoom.com/secret", {"k": "secret"}, {})

    told = str(raised.value)
    assert "api.kiwoom.com" in told
    assert cause in told
    assert "secret" not in told
    assert len(told) < 200


def test_an_error_that_wraps_itself_is_followed_once():
    error = requests.ConnectionError("secret")
    error.__context__ = MaxRetryError(POOL, "/secret", error)
    http = new_http_session()
    http.mount("https://", FakeWire(error))

    with pytest.raises(PipelineError, match="api.kiwoom.com: ConnectionError"):
        post(http, "https://api.kiwoom.com/x", {}, {})
