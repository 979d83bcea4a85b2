"""Keep one good token in the vault."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from shared.messages import TokenRequest
    from shared.tokens import AccessToken

# A token lives 24 hours and the schedule comes every six: even after two missed
# ticks there is a good one.
MARGIN = timedelta(hours=13)


class Issuer(Protocol):
    """Who issues tokens."""

    def issue(self, app_key: str, secret_key: str) -> AccessToken:
        """Issue one."""


class Vault(Protocol):
    """Where the token is kept."""

    def kept(self) -> AccessToken | None:
        """The token that is kept, None if there is none."""

    def put(self, token: AccessToken) -> None:
        """Keep a new one."""


class Keys(Protocol):
    """Where the app key and its secret come from."""

    def __call__(self) -> tuple[str, str]:
        """The app key and the secret key."""


def refresh(
    request: TokenRequest, keys: Keys, issuer: Issuer, vault: Vault, now: datetime
) -> bool:
    """Issue a token and keep it, unless the kept one will do.

    Returns:
        Whether a new one was issued.

    Raises:
        PermanentError: If the keys or this address are not accepted.
        TransientError: If the broker or the vault did not answer.
    """
    kept = vault.kept()
    if kept and _will_do(kept, request, now):
        return False
    vault.put(issuer.issue(*keys()))
    return True


def _will_do(kept: AccessToken, request: TokenRequest, now: datetime) -> bool:
    """Whether the request is answered by the token that is there.

    One that names a version is answered by every later one: many ask at once when a
    token dies, and only the first of them finds it still in place.
    """
    if request.force:
        return False
    if request.rejected_version is not None:
        return kept.version != request.rejected_version
    return kept.is_fresh(now, MARGIN)
