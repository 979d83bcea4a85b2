"""Keep a usable token in the vault."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from shared.errors import PipelineError, TokenContested, TokenNotIssued
from shared.sessions import KST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from shared.messages import TokenRequest
    from shared.tokens import AccessToken

# A token lives 24 hours and the schedule comes every six: even after two missed
# ticks there is a good one.
MARGIN = timedelta(hours=13)
# So many answers of the broker within this time are no accident. From then on tokens
# are issued in turns: who lost the last one waits, longer each time, and the other can
# work meanwhile.
FREE_ISSUES = 4
WINDOW = timedelta(hours=1)
FIRST_TURN = timedelta(seconds=10)
MOST_DOUBLINGS = 10


class Issuer(Protocol):
    """What issues tokens."""

    def issue(self, app_key: str, secret_key: str) -> AccessToken:
        """Issue one."""


class Vault(Protocol):
    """Where the token is stored."""

    def stored(self) -> AccessToken | None:
        """The stored token, None if there is none that can be read."""

    def put(self, token: AccessToken) -> AccessToken:
        """Store a new one, and read it back."""

    def destroy_older(self, token: AccessToken) -> None:
        """Destroy all that were stored before this one."""

    def put_since(self, instant: datetime) -> Mapping[str, datetime]:
        """When tokens were stored since an instant, by version; newest first."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The token that was read in the vault, and how many were issued for the request.

    ``issued`` is 0 if the stored token is kept.
    """

    token: AccessToken
    issued: int


@dataclass(frozen=True, slots=True)
class _Failure:
    """An answer of the broker that was no usable token."""

    at: datetime
    error: PipelineError


class TokenKeeper:
    """Issues tokens, one request at a time."""

    def __init__(
        self,
        keys: Callable[[], tuple[str, str]],
        issuer: Issuer,
        vault: Vault,
        contested: Callable[[str], None],
        longest_turn: timedelta,
    ) -> None:
        """``keys`` returns the app key and the secret key.

        ``contested`` is told, once for each token, that another program issues tokens
        for the same app key.
        """
        self._keys = keys
        self._issuer = issuer
        self._vault = vault
        self._contested = contested
        self._longest_turn = longest_turn
        self._told: str | None = None
        self._unstored: AccessToken | None = None
        self._failures: list[_Failure] = []

    def refresh(
        self, request: TokenRequest, requested_at: datetime, now: datetime
    ) -> Refreshed:
        """Issue a token and store it, unless the stored one will do.

        ``requested_at`` is when the request was published: the stored token is known
        to be refused since then.

        Raises:
            ConfigError: If Secret Manager does not let this function in.
            PermanentError: If the keys or this address are not accepted.
            TokenContested, TokenNotIssued: If it is not yet the time to ask again.
            TransientError: If the vault did not answer, or the broker not with a token.
        """
        stored = self._vault.stored()
        if stored and _will_do(stored, request, now):
            return Refreshed(stored, 0)
        before = self._vault.put_since(now - WINDOW)
        token = self._unstored
        if token is None or not token.is_fresh(now, MARGIN):
            if not request.force:
                refused_at = requested_at if request.rejected_version else None
                self._wait_for_turn(stored, refused_at, now, before.values())
            token = self._issue(now)
        return self._settle(self._store(token), before, now)

    def _wait_for_turn(
        self,
        stored: AccessToken | None,
        refused_at: datetime | None,
        now: datetime,
        issued: Iterable[datetime],
    ) -> None:
        """Return if a token may be issued now; ``issued`` are those of the window."""
        self._failures = [each for each in self._failures if each.at > now - WINDOW]
        answers = sorted([*issued, *(each.at for each in self._failures)])
        if len(answers) < FREE_ISSUES:
            return
        doubled = 2 ** min(len(answers) - FREE_ISSUES, MOST_DOUBLINGS)
        wait = min(FIRST_TURN * doubled, self._longest_turn)
        failure = self._failures[-1] if self._failures else None
        if failure and failure.at == answers[-1]:
            # Waiting helps, whatever the answer was: wrong keys are corrected
            # meanwhile, and the message that waits is the one that finds out.
            if now < (again := failure.at + wait):
                message = (
                    f"{len(self._failures)} times within an hour the broker issued no "
                    f"token, the last time because of: {failure.error}. It is asked "
                    f"again at {again.astimezone(KST):%H:%M:%S}"
                )
                raise TokenNotIssued(message)
            return
        turn = max(answers[-1], refused_at or answers[-1]) + wait
        if now < turn:
            message = (
                f"{len(answers)} tokens were issued within an hour, and the last one "
                "was refused or removed: does another program issue tokens for this "
                f"app key? The next one is issued at {turn.astimezone(KST):%H:%M:%S}"
            )
            self._tell(stored.version if stored else None, message)
            raise TokenContested(message)

    def _issue(self, now: datetime) -> AccessToken:
        keys = self._keys()
        try:
            return self._issuer.issue(*keys)
        except PipelineError as error:
            self._failures.append(_Failure(now, error))
            raise

    def _store(self, token: AccessToken) -> AccessToken:
        self._unstored = token
        stored = self._vault.put(token)
        self._unstored = None
        return stored

    def _settle(
        self, token: AccessToken, before: Mapping[str, datetime], now: datetime
    ) -> Refreshed:
        """Make sure that the newest token is the one that was issued last.

        Another refresher may have issued one at the same time. Whose is alive is not
        known, but who stored later sees the other's, and issues once more.
        """
        issued = 1
        newest_first = list(self._vault.put_since(now - WINDOW))
        if token.version in newest_first:
            del newest_first[: newest_first.index(token.version) + 1]
        others = [version for version in newest_first if version not in before]
        if others:
            message = f"another refresher stored {others[0]} at the same time"
            self._tell(token.version, message)
            token = self._store(self._issue(now))
            issued += 1
        self._vault.destroy_older(token)
        return Refreshed(token, issued)

    def _tell(self, version: str | None, message: str) -> None:
        told = version or "none"
        if told != self._told:
            self._told = told
            self._contested(message)


def _will_do(stored: AccessToken, request: TokenRequest, now: datetime) -> bool:
    """Whether the request is answered by the token that is there.

    A request that names a version is answered by every later one: many arrive at once
    when a token fails, and only the first of them finds it still in place.
    """
    if request.force:
        return False
    if request.rejected_version is not None:
        return stored.version != request.rejected_version and stored.is_fresh(now)
    return stored.is_fresh(now, MARGIN)
