"""Access tokens from the broker (au10001)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from shared.errors import KiwoomUnavailable
from shared.kiwoom.fields import instant
from shared.kiwoom.wire import decode, post
from shared.tokens import AccessToken, fingerprint

if TYPE_CHECKING:
    import requests

    from shared.clock import Clock

API_ID = "au10001"
PATH = "/oauth2/token"
# What can stand in a header.
TOKEN = re.compile(r"[!-~]{1,4096}")


class TokenIssuer:
    """Requests access tokens from the broker."""

    def __init__(self, http: requests.Session, base_url: str, clock: Clock) -> None:
        """Ask the host at ``base_url``; ``clock`` tells whether a token has expired."""
        self._http = http
        self._base_url = base_url
        self._clock = clock

    def issue(self, app_key: str, secret_key: str) -> AccessToken:
        """Request a token; it usually lives 24 hours.

        Raises:
            KiwoomRejected: If the keys or this address are not accepted.
            MalformedResponse: See ``decode``.
            TransientError: If the broker may answer later; also if the answer has no
                token, one that has expired, or no time of its end: the next may do.

        Source: Kiwoom au10001; ``expires_dt`` is a time in Seoul.
        """
        body = {
            "grant_type": "client_credentials",
            "appkey": app_key,
            "secretkey": secret_key,
        }
        response = post(self._http, f"{self._base_url}{PATH}", {"api-id": API_ID}, body)
        answer = decode(API_ID, response)
        value = answer.get("token")
        if not (isinstance(value, str) and TOKEN.fullmatch(value)):
            message = f"{API_ID}: token is {_kind(value)}"
            raise KiwoomUnavailable(message)
        try:
            expires_at = instant(answer.get("expires_dt"))
        except ValueError as error:
            message = f"{API_ID}: expires_dt {error}"
            raise KiwoomUnavailable(message) from None
        token = AccessToken(
            value=value, expires_at=expires_at, app_key_id=fingerprint(app_key)
        )
        if not token.is_fresh(self._clock()):
            message = f"{API_ID}: expires_dt {expires_at} is over, the token expired"
            raise KiwoomUnavailable(message)
        return token


def _kind(value: object) -> str:
    """What the broker sent as a token, without repeating it."""
    if value is None:
        return "missing or null"
    if not isinstance(value, str):
        return type(value).__name__
    return "malformed" if value.strip() else "empty"
