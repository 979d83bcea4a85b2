"""Secrets, and the one token that all functions share, in Secret Manager."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any

import grpc
from google.api_core.exceptions import (
    FailedPrecondition,
    GoogleAPIError,
    NotFound,
    PermissionDenied,
)
from google.api_core.retry import Retry, if_transient_error
from google.cloud.secretmanager_v1 import (
    SecretManagerServiceClient,
    SecretPayload,
    SecretVersion,
)
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import (
    SecretManagerServiceGrpcTransport,
)

from shared.errors import (
    SecretUnavailable,
    TokenMissing,
    TokenRejected,
    VaultUnavailable,
)
from shared.tokens import AccessToken

if TYPE_CHECKING:
    from shared.clock import Clock
    from shared.settings import SecretSettings

RPC_SECONDS = 10.0


def new_client(settings: SecretSettings) -> SecretManagerServiceClient:
    """Build the client; a local server takes the place of the service if one is set."""
    if settings.emulator_host is None:
        return SecretManagerServiceClient()
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
        # The client's own retries last a minute, which is too long for a push.
        self._limits: dict[str, Any] = {
            "timeout": seconds,
            "retry": Retry(predicate=if_transient_error, timeout=seconds),
        }

    def read(self, secret: str) -> tuple[bytes, str]:
        """Return the newest version's payload and name.

        Raises:
            SecretUnavailable: If there is none that can be read.
            VaultUnavailable: If Secret Manager does not answer.
        """
        name = f"projects/{self._project}/secrets/{secret}/versions/latest"
        try:
            version = self._client.access_secret_version(name=name, **self._limits)
        except (NotFound, FailedPrecondition) as error:
            state = (
                "missing" if isinstance(error, NotFound) else "disabled or destroyed"
            )
            message = (
                f"secret {secret} is {state}; add a version: gcloud secrets versions "
                f"add {secret} --project={self._project} --data-file=-"
            )
            raise SecretUnavailable(message) from None
        except PermissionDenied:
            message = f"no permission to read secret {secret}"
            raise SecretUnavailable(message) from None
        except GoogleAPIError as error:
            message = f"Secret Manager: {type(error).__name__}"
            raise VaultUnavailable(message) from None
        return version.payload.data, version.name

    def add(self, secret: str, payload: bytes) -> str:
        """Store ``payload`` as the newest version and destroy the older ones.

        Raises:
            SecretUnavailable: If there is no such secret.
            VaultUnavailable: If Secret Manager does not answer.
        """
        parent = f"projects/{self._project}/secrets/{secret}"
        try:
            version = self._client.add_secret_version(
                parent=parent, payload=SecretPayload(data=payload), **self._limits
            )
            self._destroy_older(parent, version.name)
        except (NotFound, PermissionDenied):
            message = f"secret {secret} cannot be written; does it exist?"
            raise SecretUnavailable(message) from None
        except GoogleAPIError as error:
            message = f"Secret Manager: {type(error).__name__}"
            raise VaultUnavailable(message) from None
        return version.name

    def _destroy_older(self, parent: str, newest: str) -> None:
        versions = self._client.list_secret_versions(parent=parent, **self._limits)
        for version in versions:
            destroyed = version.state == SecretVersion.State.DESTROYED
            if version.name != newest and not destroyed:
                self._client.destroy_secret_version(name=version.name, **self._limits)


class TokenVault:
    """The access token in Secret Manager."""

    def __init__(self, secrets: Secrets, secret: str) -> None:
        """Keep the token in the secret called ``secret``."""
        self._secrets = secrets
        self._secret = secret
        self._put: AccessToken | None = None

    def current(self) -> AccessToken:
        """Read the token.

        Raises:
            TokenMissing: If none is there.
            VaultUnavailable: If Secret Manager does not answer.
        """
        try:
            return AccessToken.from_bytes(*self._secrets.read(self._secret))
        except (SecretUnavailable, ValueError) as error:
            message = f"no token yet ({error}); publish to the tokens topic for one"
            raise TokenMissing(message) from None

    def stored(self) -> AccessToken | None:
        """Read the token, None if there is none.

        For a while after a version was added, the service may still return the one
        before; what this instance has put is newer.

        Raises:
            VaultUnavailable: If Secret Manager does not answer.
        """
        try:
            found = self.current()
        except TokenMissing:
            return self._put
        if self._put and _number(self._put) > _number(found):
            return self._put
        return found

    def put(self, token: AccessToken) -> None:
        """Store a new token; older ones are destroyed."""
        version = self._secrets.add(self._secret, token.to_bytes())
        self._put = replace(token, version=version)


def _number(token: AccessToken) -> int:
    """Versions of a secret are numbered from 1."""
    return int((token.version or "0").rsplit("/", 1)[-1])


class CachedToken:
    """The token, read once an instance and again when it has expired or failed."""

    def __init__(self, vault: TokenVault, clock: Clock) -> None:
        """Read from ``vault``; tell expiry by ``clock``."""
        self._vault = vault
        self._clock = clock
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

    def _is_usable(self) -> bool:
        token = self._token
        if token is None or token.version == self._rejected:
            return False
        return token.is_fresh(self._clock())
