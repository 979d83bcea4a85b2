"""One HTTP request to the broker, and what its errors mean.

The contract was observed on the wire, and differs from most clients on the web:
authentication errors arrive as HTTP 200, only the rate limit has a status of its own
(429), and what went wrong is the four-digit code in brackets inside the message.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
from contextlib import suppress
from http.client import IncompleteRead
from threading import Timer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from shared.errors import (
    BROKER_REMEDIES,
    KiwoomRejected,
    KiwoomUnavailable,
    PermanentError,
    RateLimited,
    TokenRejected,
    TransientError,
    UnknownStock,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

# The broker's firewall blocks the default names of some libraries.
USER_AGENT = "tradesmart-pipeline/1.0"
CONNECT_SECONDS = 5.0
READ_SECONDS = 15.0
# The time-out of a read begins anew with every byte: an answer that only drips in would
# keep its place for ever. So long a request may take with its whole answer.
ANSWER_SECONDS = 25.0
# An error keeps this much of what a stranger wrote.
SHOWN_CHARACTERS = 200

# "[1700:...]" and "[CODE=8005, ...]".
BROKER_CODE = re.compile(r"\[\s*(?:CODE\s*=\s*)?([0-9]{3,6})(?![0-9])", re.IGNORECASE)
RATE_CODES = frozenset({"1700", "1701", "1702"})
# Comes with the words of a rate limit, and even with its status, but means that one
# request named too many stocks. We never send such a batch: a bug, not a matter of
# waiting.
BATCH_TOO_LARGE = "1634"
# 805004 was seen once, for a token that should have been valid.
TOKEN_CODES = frozenset({"8003", "8005", "8103", "805004"})
UNKNOWN_STOCK_CODES = frozenset({"1902", "1903"})
# An unexpected error (1999), and a token that could not be made (8006, 8009): these
# are faults of the broker, and pass.
PASSING_CODES = frozenset({"1999", "8006", "8009"})
PERMANENT_CODES = frozenset(BROKER_REMEDIES) | {
    *(BATCH_TOO_LARGE, "1501", "1504", "1505", "1511", "1512", "1513", "1514"),
    *("1515", "1516", "1517", "1687", "1901", "8011", "8012", "8015", "8016"),
    *("8020", "8104", "8200"),
}
KNOWN_CODES = (
    RATE_CODES | TOKEN_CODES | UNKNOWN_STOCK_CODES | PASSING_CODES | PERMANENT_CODES
)


def new_http_session(pool_size: int = 1) -> requests.Session:
    """A kept-alive HTTP session with an explicit User-Agent.

    It honours the proxies of the environment (``HTTPS_PROXY``, ``NO_PROXY``) and its
    CA bundles (``REQUESTS_CA_BUNDLE``, else ``SSL_CERT_FILE``), but no ``.netrc``.
    """
    http = requests.Session()
    adapter = requests.adapters.HTTPAdapter(pool_maxsize=pool_size)
    http.mount("https://", adapter)
    http.mount("http://", adapter)
    http.headers["User-Agent"] = USER_AGENT
    # Without an auth of its own, requests replaces the bearer token by the password
    # that ~/.netrc has for the host; trust_env = False would lose the proxies too.
    http.auth = _keep_authorization
    # requests does not know SSL_CERT_FILE; the ssl module does, and names the file
    # here if it is not OpenSSL's own.
    paths = ssl.get_default_verify_paths()
    if paths.cafile and paths.cafile != paths.openssl_cafile:
        http.verify = paths.cafile
    return http


def _keep_authorization(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def post(
    http: requests.Session, url: str, headers: dict[str, str], body: dict[str, str]
) -> requests.Response:
    """Post JSON, with time-outs in seconds.

    Raises:
        KiwoomUnavailable: If no answer came; the text names host and cause, never
            what was sent.
    """
    try:
        with http.post(
            url,
            json=body,
            headers={"Content-Type": "application/json;charset=UTF-8", **headers},
            timeout=(CONNECT_SECONDS, READ_SECONDS),
            allow_redirects=False,
            stream=True,
        ) as response:
            _read(response)
            return response
    except (OSError, HTTPError, UnicodeError) as error:
        host = urlsplit(url).hostname
        proxied = isinstance(error, requests.exceptions.ProxyError)
        way = " through the proxy" if proxied else ""
        message = f"no answer from {host}{way}: {_cause(error)}"
        raise KiwoomUnavailable(message) from None


def _read(response: requests.Response) -> None:
    """Read the body, and break off once the request has taken too long."""

    def break_off() -> None:
        with suppress(RuntimeError, ValueError):
            response.raw.shutdown()

    late = Timer(ANSWER_SECONDS - response.elapsed.total_seconds(), break_off)
    late.daemon = True
    late.start()
    try:
        _ = response.content
    finally:
        late.cancel()


def _cause(error: Exception) -> str:
    """Say shortly why there is no answer.

    The text of the library may repeat the request, so it is never used.
    """
    texts = (_cause_of(each) for each in _causes(error))
    return next(filter(None, texts), type(error).__name__)


def _cause_of(error: BaseException) -> str:
    match error:
        case requests.ConnectTimeout():
            text = f"no connection within {CONNECT_SECONDS:g} s"
        case requests.ReadTimeout():
            text = f"nothing received for {READ_SECONDS:g} s"
        case ssl.SSLError():
            # A certificate that is not accepted says why.
            reasons = (getattr(error, key, "") for key in ("verify_message", "reason"))
            text = f"TLS: {next(filter(None, reasons), 'failed')}"
        case socket.gaierror():
            text = f"DNS: {error.strerror}"
        case OSError(strerror=str(text)):
            pass
        case ConnectionError() | IncompleteRead():
            text = "the connection broke off"
        case TimeoutError():
            text = "timed out"
        case OSError() if type(error) is OSError:
            # A CA bundle that is not there, or a proxy that opens no tunnel.
            text = str(error)
        case _:
            text = ""
    return shown(text)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and all that is wrapped in it, the innermost last."""
    waiting, seen = [error], set[int]()
    while waiting:
        cause = waiting.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        wrapped = (*cause.args, getattr(cause, "reason", None))
        wrapped += (cause.__cause__, cause.__context__)
        waiting += [each for each in wrapped if isinstance(each, BaseException)]


def decode(api_id: str, response: requests.Response) -> dict[str, Any]:
    """Return the body of a successful answer.

    Success is HTTP 200 and ``return_code`` 0, as a number or as a string.

    Raises:
        PermanentError: If the broker refuses in a way that repeating will not change.
        TransientError: If waiting, or another token, may help.
    """
    body = _json(response)
    if body and response.status_code == requests.codes.ok and _return_code(body) == "0":
        return body
    raise _error(api_id, response.status_code, body)


def _json(response: requests.Response) -> dict[str, Any] | None:
    """The JSON object of the body; None if it has none, or is nested too deep."""
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _return_code(body: dict[str, Any]) -> str:
    """The coarse code of the answer; empty where it has none that can be read."""
    code = body.get("return_code")
    return str(code).strip() if type(code) in {int, str} else ""


def _error(
    api_id: str, status: int, body: dict[str, Any] | None
) -> PermanentError | TransientError:
    """Tell what a failure means: by its code if we know it, else by its status."""
    said = (body or {}).get("return_msg")
    text, code = shown(said), _broker_code(said)
    if code == BATCH_TOO_LARGE:
        return KiwoomRejected(api_id, code, text)
    if status == requests.codes.too_many or code in RATE_CODES:
        return RateLimited(
            f"{api_id}: the broker counted too many requests ({code or status})"
        )
    if code in TOKEN_CODES:
        return TokenRejected(f"{api_id}: the broker rejected the token ({code})")
    if code in UNKNOWN_STOCK_CODES:
        return UnknownStock(f"{api_id}: {text}")
    if code in PERMANENT_CODES:
        return KiwoomRejected(api_id, code, text, BROKER_REMEDIES.get(code, ""))
    return _unknown_error(api_id, status, body, code, text)


def _unknown_error(
    api_id: str, status: int, body: dict[str, Any] | None, code: str, text: str
) -> PermanentError | TransientError:
    """Judge a failure whose code, if it has one, does not tell whether it passes."""
    if body is None:
        return KiwoomUnavailable(f"{api_id}: HTTP {status} without JSON")
    if not code and status in {requests.codes.unauthorized, requests.codes.forbidden}:
        return TokenRejected(f"{api_id}: the broker rejected the token ({status})")
    if status == requests.codes.ok and not _return_code(body) and not code:
        return KiwoomUnavailable(f"{api_id}: an answer without return_code")
    passes = code in PASSING_CODES or status >= requests.codes.internal_server_error
    if passes or (not code and status != requests.codes.ok):
        return KiwoomUnavailable(f"{api_id}: HTTP {status} {text}".rstrip())
    return KiwoomRejected(api_id, code or "no code", text)


def _broker_code(text: object) -> str:
    """The code in the brackets of a message: the first one that we know, else any."""
    codes: list[str] = BROKER_CODE.findall(text) if isinstance(text, str) else []
    known = (code for code in codes if code in KNOWN_CODES)
    return next(known, codes[0] if codes else "")


def shown(text: object) -> str:
    """Make a stranger's text fit for a log and a database: printable, and short."""
    if not isinstance(text, str):
        return ""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return printable[:SHOWN_CHARACTERS].strip()
