"""Calls of the broker: with a token, below its limit, page by page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from shared.errors import (
    KiwoomUnavailable,
    MalformedResponse,
    RateLimited,
    TokenRejected,
)
from shared.kiwoom.wire import decode, post

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import requests

    from shared.pages import RequestObserver
    from shared.tokens import AccessToken

ATTEMPTS = 3
# A market is one page today: more than this means that the broker never ends.
PAGE_CAP = 100


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


@dataclass(frozen=True, slots=True)
class Reply:
    """One page: the JSON body, and the cursor of the next page, None on the last."""

    body: dict[str, Any]
    cursor: str | None


class KiwoomClient:
    """Calls the broker with a token, below its limit, retrying where that helps."""

    def __init__(
        self,
        http: requests.Session,
        base_url: str,
        tokens: TokenSource,
        throttle: Throttle,
        sleep: Callable[[float], None],
    ) -> None:
        """Call the host at ``base_url``; ``sleep`` takes the seconds of a back-off."""
        self._http = http
        self._base_url = base_url
        self._tokens = tokens
        self._throttle = throttle
        self._sleep = sleep

    def page(
        self,
        api_id: str,
        path: str,
        body: dict[str, str],
        *,
        cursor: str | None = None,
        observer: RequestObserver | None = None,
    ) -> Reply:
        """Request one page: retried where that helps, once more with a newer token.

        A ``cursor`` continues where an earlier page of the same body ended. The
        ``observer`` is notified of every request, including retries.

        Raises:
            PermanentError: See ``decode``.
            TransientError: See ``decode``; also for a page that neither ends nor says
                where to go on. It is requested three times first.
        """
        attempts = Retrying(
            retry=retry_if_exception_type((KiwoomUnavailable, RateLimited)),
            stop=stop_after_attempt(ATTEMPTS),
            wait=_wait,
            sleep=self._sleep,
            reraise=True,
        )
        token = self._tokens.current()
        headers = {"api-id": api_id, "cont-yn": "N", "next-key": ""}
        if cursor is not None:
            headers |= {"cont-yn": "Y", "next-key": cursor}

        def request(token: AccessToken) -> Reply:
            if observer:
                observer.before_request()
            self._throttle.wait(token.app_key_id, api_id)
            if observer:
                observer.request_sent()
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
            return Reply(answer, _next_cursor(api_id, response, cursor))

        try:
            return attempts(request, token)
        except TokenRejected:
            newer = self._tokens.replacement(token)
            if newer is None:
                raise
            return attempts(request, newer)

    def pages(
        self,
        api_id: str,
        path: str,
        body: dict[str, str],
        *,
        observer: RequestObserver | None = None,
    ) -> Iterator[Reply]:
        """Yield all pages of an answer, in the broker's order.

        Raises:
            MalformedResponse: If the broker never ends.
            PermanentError: See ``page``.
            TransientError: See ``page``; also if the pages go round in circles.
        """
        cursors: set[str | None] = {None}
        cursor = None
        for _ in range(PAGE_CAP):
            reply = self.page(api_id, path, body, cursor=cursor, observer=observer)
            yield reply
            cursor = reply.cursor
            if cursor is None:
                return
            if cursor in cursors:
                message = f"{api_id}: the broker's pages go round in circles"
                raise KiwoomUnavailable(message)
            cursors.add(cursor)
        message = f"{api_id}: more than {PAGE_CAP} pages"
        raise MalformedResponse(message)


def _next_cursor(
    api_id: str, response: requests.Response, cursor: str | None
) -> str | None:
    """The key of the next page; None only if the broker says that there is none.

    The last page says ``cont-yn: N``. A page without that header may be one that a
    proxy or a fault cut short: to take it as the last would lose all older candles.
    """
    continues = response.headers.get("cont-yn", "").strip().upper()
    if continues == "N":
        return None
    if continues != "Y":
        message = f"{api_id}: the answer does not say whether it is the last page"
        raise KiwoomUnavailable(message)
    key = response.headers.get("next-key", "").strip()
    if key in {"", cursor}:
        message = f"{api_id}: the broker promises another page but gives no new key"
        raise KiwoomUnavailable(message)
    return key


_backoff = wait_random_exponential(multiplier=0.5, max=4)


def _wait(state: RetryCallState) -> float:
    """Back off at random; after a 429 at least the second that the limit counts."""
    outcome = state.outcome
    limited = outcome and isinstance(outcome.exception(), RateLimited)
    return _backoff(state) + (1.0 if limited else 0.0)
