"""Keep a usable token in the vault."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.messages import TokenRequest
    from shared.tokens import AccessToken

# A token lives 24 hours and the schedule comes every six: even after two missed
# ticks there is a good one.
MARGIN = timedelta(hours=13)


class Issuer(Protocol):
    """What issues tokens."""

    def issue(self, app_key: str, secret_key: str) -> AccessToken:
        """Issue one."""


class Vault(Protocol):
    """Where the token is stored."""

    def stored(self) -> AccessToken | None:
        """The stored token, None if there is none."""

    def put(self, token: AccessToken) -> None:
        """Store a new one."""


def refresh(
    request: TokenRequest,
    keys: Callable[[], tuple[str, str]],
    issuer: Issuer,
    vault: Vault,
    now: datetime,
) -> bool:
    """Issue a token and store it, unless the stored one will do.

    ``keys`` returns the app key and the secret key.

    Returns:
        Whether a new one was issued.

    Raises:
        PermanentError: If the keys or this address are not accepted.
        TransientError: If the broker or the vault did not answer.
    """
    stored = vault.stored()
    if stored and _will_do(stored, request, now):
        return False
    vault.put(issuer.issue(*keys()))
    return True


def _will_do(stored: AccessToken, request: TokenRequest, now: datetime) -> bool:
    """Whether the request is answered by the token that is there.

    A request that names a version is answered by every later one: many arrive at once
    when a token fails, and only the first of them finds it still in place.
    """
    if request.force:
        return False
    if request.rejected_version is not None:
        return stored.version != request.rejected_version
    return stored.is_fresh(now, MARGIN)
