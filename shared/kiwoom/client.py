"""One call to the broker: headers, pages, retries, and what its errors mean.

The contract was observed on the wire, and differs from most clients on the web:
authentication errors arrive as HTTP 200, only the rate limit has a status of its own
(429), and what went wrong is the four-digit code in brackets inside the message.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import requests
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from shared.errors import (
    KiwoomRejected,
    KiwoomUnavailable,
    MalformedResponse,
    PermanentError,
    RateLimited,
    TokenRejected,
    TransientError,
    UnknownStock,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.tokens import AccessToken

# The broker's firewall blocks the default names of some libraries.
USER_AGENT = "tradesmart-pipeline/1.0"
CONNECT_SECONDS = 5.0
READ_SECONDS = 15.0
ATTEMPTS = 3
# A year of five-minute candles with after-market is 35 pages, forty years of daily
# ones are 17: more pages than this mean that the broker runs in circles.
PAGE_CAP = 200

BROKER_CODE = re.compile(r"\[(?:CODE=)?(\d{3,5})")
RATE_CODES = {"1700", "1701", "1702"}
TOKEN_CODES = {"8003", "8005", "8103"}
UNKNOWN_STOCK_CODES = {"1902", "1903"}
PASSING_CODES = {"1999", "8006", "8009"}
# What the broker refuses until somebody has done something about it.
NEW_KEYS = (
    "add the right ones: gcloud secrets versions add kiwoom-app-key --data-file=- "
    "and likewise kiwoom-secret-key"
)
OTHER_HOST = "set KIWOOM_MODE to the host that the app key is for (real or mock)"
OTHER_ADDRESS = "register the address that requests come from in the broker's portal"
THEN_REFRESH = 'then publish {"reason":"operator","force":true} to the tokens topic'
REMEDIES = {
    "8001": NEW_KEYS,
    "8002": NEW_KEYS,
    "8010": f"let all requests leave through one address; {THEN_REFRESH}",
    "8030": OTHER_HOST,
    "8031": f"{OTHER_HOST}; {THEN_REFRESH}",
    "8040": OTHER_ADDRESS,
    "8050": OTHER_ADDRESS,
}


class TokenSource(Protocol):
    """Where the client gets its token from."""

    def current(self) -> AccessToken:
        """The token to use now."""

    def replacement(self, rejected: AccessToken) -> AccessToken | None:
        """A token newer than the ``rejected`` one, None when there is none yet."""


class Throttle(Protocol):
    """What keeps all instances together below the broker's limit."""

    def wait(self, app_key_id: str, api_id: str) -> None:
        """Return when the next request may be sent."""

    def slow_down(self, app_key_id: str, api_id: str) -> None:
        """Note that the broker counted too many requests."""


class Meter(Protocol):
    """Who wants to know about every request."""

    def waiting(self) -> None:
        """A request is about to wait for its turn."""

    def sent(self) -> None:
        """A request is on its way."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One page: the JSON body, and the key of the next page, None on the last.

    A key that is promised but empty stays ``""``: that is no last page.
    """

    body: dict[str, Any]
    next_key: str | None


def new_session(pool_size: int = 1) -> requests.Session:
    """A kept-alive session with an explicit User-Agent."""
    session = requests.Session()
    adapter = requests.adapters.HTTPAdapter(pool_maxsize=pool_size)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.headers["User-Agent"] = USER_AGENT
    return session


def post(
    http: requests.Session, url: str, headers: dict[str, str], body: dict[str, str]
) -> requests.Response:
    """Post JSON, with time-outs.

    Raises:
        KiwoomUnavailable: If no answer came.
    """
    try:
        return http.post(
            url,
            json=body,
            headers={"Content-Type": "application/json;charset=UTF-8", **headers},
            timeout=(CONNECT_SECONDS, READ_SECONDS),
            allow_redirects=False,
        )
    except requests.RequestException as error:
        # The library's text may repeat the request, so only its kind is told.
        message = f"no answer from the broker ({type(error).__name__})"
        raise KiwoomUnavailable(message) from None


def decode(api_id: str, response: requests.Response) -> dict[str, Any]:
    """Return the body of a successful answer.

    Success is HTTP 200 and ``return_code`` 0, as a number or as a text.

    Raises:
        PermanentError: If the broker refuses in a way that repeating will not change.
        TransientError: If waiting, or another token, may help.
    """
    try:
        body = response.json()
    except requests.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        message = f"{api_id}: HTTP {response.status_code} without JSON"
        raise KiwoomUnavailable(message)
    if (
        response.status_code == requests.codes.ok
        and str(body.get("return_code")) == "0"
    ):
        return body
    raise _error(api_id, response.status_code, str(body.get("return_msg", "")))


def _error(api_id: str, status: int, text: str) -> PermanentError | TransientError:
    """Tell what the broker's error means; 429 alone is a status with a meaning."""
    match = BROKER_CODE.search(text)
    code = match[1] if match else ""
    if code in RATE_CODES or (status == requests.codes.too_many and code != "1634"):
        return RateLimited(f"{api_id}: the broker counted too many requests ({code})")
    if code in TOKEN_CODES or (
        not code and status in {requests.codes.unauthorized, requests.codes.forbidden}
    ):
        return TokenRejected(f"{api_id}: the broker rejected the token ({code})")
    if code in UNKNOWN_STOCK_CODES:
        return UnknownStock(f"{api_id}: {text}")
    if code in PASSING_CODES or (not code and status != requests.codes.ok):
        return KiwoomUnavailable(f"{api_id}: HTTP {status} {text}".rstrip())
    return KiwoomRejected(api_id, code or "no code", text, REMEDIES.get(code, ""))


class KiwoomClient:
    """Calls the broker with a token, below its limit, as often as it helps."""

    def __init__(
        self,
        http: requests.Session,
        base_url: str,
        tokens: TokenSource,
        throttle: Throttle,
        sleep: Callable[[float], None],
    ) -> None:
        """Use ``http`` for every request; ``sleep`` is how retries wait."""
        self._http = http
        self._base_url = base_url
        self._tokens = tokens
        self._throttle = throttle
        self._sleep = sleep

    def pages(
        self,
        api_id: str,
        path: str,
        body: dict[str, str],
        meter: Meter,
        next_key: str | None = None,
    ) -> Iterator[Reply]:
        """Yield page after page; stop iterating when the wanted rows are there.

        ``next_key`` goes on where an earlier reading of the same body stopped.

        ``meter`` is told of every request, retries among them.

        Raises:
            MalformedResponse: If the broker never stops, or repeats itself.
            PermanentError: See ``decode``.
            TransientError: See ``decode``; a page is asked for three times first.
        """
        for _ in range(PAGE_CAP):
            reply = self._page(api_id, path, body, next_key, meter)
            yield reply
            if reply.next_key is None:
                return
            if reply.next_key in {"", next_key}:
                message = f"{api_id}: the broker promises a page but gives no new key"
                raise MalformedResponse(message)
            next_key = reply.next_key
        message = f"{api_id}: more than {PAGE_CAP} pages for one stock"
        raise MalformedResponse(message)

    def _page(
        self,
        api_id: str,
        path: str,
        body: dict[str, str],
        next_key: str | None,
        meter: Meter,
    ) -> Reply:
        """Ask for one page: retried where that helps, once more with a newer token."""
        attempts = Retrying(
            retry=retry_if_exception_type((KiwoomUnavailable, RateLimited)),
            stop=stop_after_attempt(ATTEMPTS),
            wait=_wait,
            sleep=self._sleep,
            reraise=True,
        )
        token = self._tokens.current()
        headers = {"api-id": api_id, "cont-yn": "N", "next-key": ""}
        if next_key is not None:
            headers |= {"cont-yn": "Y", "next-key": next_key}

        def request(token: AccessToken) -> Reply:
            meter.waiting()
            self._throttle.wait(token.app_key_id, api_id)
            meter.sent()
            bearer = {"authorization": f"Bearer {token.value}"}
            url = f"{self._base_url}{path}"
            response = post(self._http, url, headers | bearer, body)
            try:
                answer = decode(api_id, response)
            except RateLimited:
                self._throttle.slow_down(token.app_key_id, api_id)
                raise
            except TokenRejected as error:
                raise TokenRejected(str(error), token.version) from None
            return Reply(answer, _next_key(response))

        try:
            return attempts(request, token)
        except TokenRejected:
            newer = self._tokens.replacement(token)
            if newer is None:
                raise
            return attempts(request, newer)


def _next_key(response: requests.Response) -> str | None:
    """The key of the next page; the last page has the header, but empty."""
    if response.headers.get("cont-yn", "N").strip().upper() != "Y":
        return None
    return response.headers.get("next-key", "").strip()


_backoff = wait_random_exponential(multiplier=0.5, max=4)


def _wait(state: RetryCallState) -> float:
    """Back off at random; after a 429 at least the second that the limit counts."""
    outcome = state.outcome
    limited = outcome and isinstance(outcome.exception(), RateLimited)
    return _backoff(state) + (1.0 if limited else 0.0)
