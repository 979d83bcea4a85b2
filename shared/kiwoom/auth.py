"""Access tokens from the broker (au10001)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import MalformedResponse
from shared.kiwoom.client import decode, post
from shared.kiwoom.fields import instant
from shared.tokens import AccessToken, fingerprint

if TYPE_CHECKING:
    import requests

API_ID = "au10001"
PATH = "/oauth2/token"


class TokenIssuer:
    """Asks the broker for access tokens."""

    def __init__(self, http: requests.Session, base_url: str) -> None:
        """Ask the host at ``base_url``."""
        self._http = http
        self._base_url = base_url

    def issue(self, app_key: str, secret_key: str) -> AccessToken:
        """Ask for a token; it usually lives 24 hours.

        Raises:
            KiwoomRejected: If the keys or this address are not accepted.
            MalformedResponse: If the answer holds no token.
            TransientError: If the broker may answer later.

        Source: Kiwoom au10001; ``expires_dt`` is a time in Seoul.
        """
        body = {
            "grant_type": "client_credentials",
            "appkey": app_key,
            "secretkey": secret_key,
        }
        response = post(self._http, f"{self._base_url}{PATH}", {"api-id": API_ID}, body)
        answer = decode(API_ID, response)
        try:
            return AccessToken(
                value=answer["token"],
                expires_at=instant(answer["expires_dt"]),
                app_key_id=fingerprint(app_key),
            )
        except (KeyError, ValueError, AttributeError):
            message = f"{API_ID}: the answer has no token and expires_dt"
            raise MalformedResponse(message) from None
