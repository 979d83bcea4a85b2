"""Secrets, and the one token that all functions share, in Secret Manager."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from math import inf
from threading import Lock
from typing import TYPE_CHECKING, Any

import grpc
from google.api_core.exceptions import (
    FailedPrecondition,
    Forbidden,
    GoogleAPIError,
    NotFound,
    Unauthorized,
)
from google.api_core.retry import Retry, if_transient_error
from google.auth.exceptions import DefaultCredentialsError
from google.cloud.secretmanager_v1 import (
    SecretManagerServiceClient,
    SecretPayload,
    SecretVersion,
)
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import (
    SecretManagerServiceGrpcTransport,
)

from shared.errors import (
    SecretMisconfigured,
    SecretUnavailable,
    TokenMissing,
    TokenRejected,
    VaultUnavailable,
)
from shared.tokens import AccessToken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from shared.clock import Clock
    from shared.settings import SecretSettings

RPC_SECONDS = 10.0
READER = "roles/secretmanager.secretAccessor"
WRITER = "roles/secretmanager.secretVersionManager"
VIEWER = "roles/secretmanager.viewer"
PAGE_SIZE = 100
LOOK_AGAIN_SECONDS = 1.0


def new_client(settings: SecretSettings) -> SecretManagerServiceClient:
    """Build the client; a local server takes the place of the service if one is set.

    Raises:
        SecretMisconfigured: If there are no credentials.
    """
    if settings.emulator_host is None:
        try:
            return SecretManagerServiceClient()
        except DefaultCredentialsError:
            problem = "there are no credentials for Secret Manager"
            raise SecretMisconfigured(
                problem, "run the function as its service account"
            ) from None
    channel = grpc.insecure_channel(settings.emulator_host)
    transport = SecretManagerServiceGrpcTransport(channel=channel)
    return SecretManagerServiceClient(transport=transport)


class Secrets:
    """Reads secrets and adds versions."""

    def __init__(
        self,
        client: SecretManagerServiceClient,
        project: str,
        seconds: float = RPC_SECONDS,
    ) -> None:
        """Use the secrets of ``project``; retry each call for up to ``seconds``."""
        self._client = client
        self._project = project
        self._once: dict[str, Any] = {"timeout": seconds, "retry": None}
        # The client's own retries last a minute, which is too long for a push.
        self._limits: dict[str, Any] = {
            "timeout": seconds,
            "retry": Retry(predicate=if_transient_error, timeout=seconds),
        }

    def read(self, secret: str, version: str | None = None) -> tuple[bytes, str]:
        """Return the payload and the name of a ``version``, of the newest by default.

        Raises:
            SecretMisconfigured: If this function may not read it.
            SecretUnavailable: If there is none that can be read.
            VaultUnavailable: If Secret Manager does not answer.
        """
        name = version or f"{self._parent(secret)}/versions/latest"
        with self._translated(secret, READER):
            found = self._client.access_secret_version(name=name, **self._limits)
        return found.payload.data, found.name

    def add(self, secret: str, payload: bytes) -> str:
        """Store ``payload`` as the newest version, and return its name.

        It is not repeated: an answer that was lost would make two versions of one.

        Raises:
            SecretMisconfigured: If this function may not write it.
            SecretUnavailable: If there is no such secret.
            VaultUnavailable: If Secret Manager does not answer.
        """
        with self._translated(secret, WRITER):
            added = self._client.add_secret_version(
                parent=self._parent(secret),
                payload=SecretPayload(data=payload),
                **self._once,
            )
        return added.name

    def destroy_older(self, secret: str, newest: str) -> None:
        """Destroy all versions before the ``newest``.

        Raises:
            SecretMisconfigured, VaultUnavailable: See ``add``.
        """
        with self._translated(secret, WRITER):
            for version in self._versions(secret):
                destroyed = version.state == SecretVersion.State.DESTROYED
                if _number(version.name) < _number(newest) and not destroyed:
                    self._client.destroy_secret_version(
                        name=version.name, **self._limits
                    )

    def added_since(self, secret: str, instant: datetime) -> dict[str, datetime]:
        """When the versions since ``instant`` were added, by name; newest first.

        Those that were destroyed since are among them.

        Raises:
            SecretMisconfigured, SecretUnavailable, VaultUnavailable: See ``add``.
        """
        added = {}
        with self._translated(secret, WRITER):
            for version in self._versions(secret):
                if version.create_time < instant:
                    break
                added[version.name] = version.create_time
        return added

    def usable_since(self, secret: str) -> datetime | None:
        """When the newest version was added; None where it cannot be read any more.

        Raises:
            SecretMisconfigured, SecretUnavailable, VaultUnavailable: See ``add``.
        """
        with self._translated(secret, VIEWER):
            newest = next(self._versions(secret), None)
        if newest is None or newest.state != SecretVersion.State.ENABLED:
            return None
        added_at: datetime = newest.create_time
        return added_at

    def _versions(self, secret: str) -> Iterator[SecretVersion]:
        """All versions, newest first."""
        request = {"parent": self._parent(secret), "page_size": PAGE_SIZE}
        yield from self._client.list_secret_versions(request=request, **self._limits)

    def _parent(self, secret: str) -> str:
        return f"projects/{self._project}/secrets/{secret}"

    @contextmanager
    def _translated(self, secret: str, role: str) -> Iterator[None]:
        """Turn errors of the service into ours; ``role`` is what the call needs."""
        where = f"{secret} --project={self._project}"
        try:
            yield
        except (NotFound, FailedPrecondition) as error:
            state = (
                "missing" if isinstance(error, NotFound) else "disabled or destroyed"
            )
            message = (
                f"secret {secret} is {state}; add a version: "
                f"gcloud secrets versions add {where} --data-file=-"
            )
            raise SecretUnavailable(message) from None
        except (Forbidden, Unauthorized) as error:
            if error.reason == "SERVICE_DISABLED":
                remedy = "gcloud services enable secretmanager.googleapis.com"
                problem = "the Secret Manager API is disabled"
            else:
                problem = f"this function may not use secret {secret}"
                remedy = (
                    f"grant its service account {role}: gcloud secrets "
                    f"add-iam-policy-binding {where} --role={role} --member=…"
                )
            raise SecretMisconfigured(problem, remedy) from None
        except GoogleAPIError as error:
            message = f"Secret Manager: {type(error).__name__}"
            raise VaultUnavailable(message) from None


class TokenVault:
    """The access token in Secret Manager."""

    def __init__(self, secrets: Secrets, secret: str) -> None:
        """Keep the token in the secret called ``secret``."""
        self._secrets = secrets
        self._secret = secret
        self._put: str | None = None

    def current(self) -> AccessToken:
        """Read the token.

        Raises:
            SecretMisconfigured: If this function may not read it.
            TokenMissing: If none is there.
            VaultUnavailable: If Secret Manager does not answer.
        """
        return self._read()

    def stored(self) -> AccessToken | None:
        """Read the token, None if there is none that can be read.

        For a while after a version was added, the service may still call the one
        before the newest. What this instance has put is newer, and is read by its
        number; it is not remembered, for it may have been destroyed since.

        Raises:
            SecretMisconfigured: If this function may not read it.
            VaultUnavailable: If Secret Manager does not answer.
        """
        try:
            found = self.current()
        except TokenMissing:
            found = None
        newest = _number(found.version) if found else 0
        if self._put is None or newest >= _number(self._put):
            return found
        try:
            return self._read(self._put)
        except TokenMissing:
            return None

    def put(self, token: AccessToken) -> AccessToken:
        """Store a new token, and read it back.

        Raises:
            SecretMisconfigured: If this function may not write or read it.
            SecretUnavailable: If there is no such secret.
            TokenMissing: If what was stored cannot be read.
            VaultUnavailable: If Secret Manager does not answer.
        """
        self._put = self._secrets.add(self._secret, token.to_bytes())
        return self._read(self._put)

    def destroy_older(self, token: AccessToken) -> None:
        """Destroy all versions before that of ``token``.

        Raises:
            SecretMisconfigured: If this function may not.
            VaultUnavailable: If Secret Manager does not answer.
        """
        self._secrets.destroy_older(self._secret, token.version or "")

    def put_since(self, instant: datetime) -> dict[str, datetime]:
        """When the tokens since ``instant`` were stored, by version; newest first.

        Raises:
            SecretMisconfigured: If this function may not list them.
            SecretUnavailable: If there is no such secret.
            VaultUnavailable: If Secret Manager does not answer.
        """
        return self._secrets.added_since(self._secret, instant)

    def _read(self, version: str | None = None) -> AccessToken:
        try:
            return AccessToken.from_bytes(*self._secrets.read(self._secret, version))
        except (SecretUnavailable, ValueError) as error:
            message = f"no token yet ({error}); publish to the tokens topic for one"
            raise TokenMissing(message) from None


def _number(version: str | None) -> int:
    """Versions of a secret are numbered from 1."""
    return int((version or "0").rsplit("/", 1)[-1])


class CachedToken:
    """The token, read once an instance and again when it has expired or failed."""

    def __init__(
        self,
        vault: TokenVault,
        clock: Clock,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read from ``vault``; tell expiry by ``clock``.

        ``sleep`` takes seconds, and ``monotonic`` counts them.
        """
        self._vault = vault
        self._clock = clock
        self._sleep = sleep
        self._monotonic = monotonic
        self._looked_at = -inf
        self._lock = Lock()
        self._token: AccessToken | None = None
        self._rejected: str | None = None

    def current(self) -> AccessToken:
        """The token to use now; only the broker decides whether it is still good.

        Raises:
            TokenRejected: If the broker has refused it, and there is no newer one.
            TokenMissing: If there is none.
        """
        with self._lock:
            if not self._is_usable():
                self._token = self._vault.current()
            assert self._token is not None
            if self._token.version == self._rejected:
                message = "the broker rejected the token, and there is no newer one yet"
                raise TokenRejected(message, self._rejected)
            return self._token

    def replacement(self, rejected: AccessToken) -> AccessToken | None:
        """A token newer than the ``rejected`` one, None when there is none yet."""
        with self._lock:
            self._rejected = rejected.version
            if not self._is_usable():
                self._token = self._vault.current()
            assert self._token is not None
            return None if self._token.version == rejected.version else self._token

    def wait_for_another(self, version: str | None, seconds: float) -> bool:
        """Wait until there is another token than ``version``; tell whether there is.

        However many wait, the vault is asked once a second.

        Raises:
            SecretMisconfigured, VaultUnavailable: See ``TokenVault.current``.
        """
        until = self._monotonic() + seconds
        while not self._has_another(version):
            if self._monotonic() >= until:
                return False
            self._sleep(LOOK_AGAIN_SECONDS)
        return True

    def _has_another(self, version: str | None) -> bool:
        with self._lock:
            now = self._monotonic()
            is_due = now - self._looked_at >= LOOK_AGAIN_SECONDS
            if is_due and not self._is_other(version):
                self._looked_at = now
                with suppress(TokenMissing):
                    self._token = self._vault.current()
            return self._is_other(version)

    def _is_other(self, version: str | None) -> bool:
        """Whether the token may be used, and is not the one of ``version``.

        Where the vault has none any more, the last one is still known here: it was
        refused, or has expired.
        """
        token = self._token
        return token is not None and token.version != version and self._is_usable()

    def _is_usable(self) -> bool:
        token = self._token
        if token is None or token.version == self._rejected:
            return False
        return token.is_fresh(self._clock())
