"""A small Secret Manager: gRPC on the loopback, secrets in memory.

The real client talks to it. What is copied from the service: ``latest`` is the newest
version whatever its state, a disabled or destroyed version cannot be read, versions
are listed newest first with the time when they were added, and ``latest`` may lag.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import RLock
from typing import TYPE_CHECKING, Any

import grpc
from google.cloud.secretmanager_v1 import SecretVersion
from google.cloud.secretmanager_v1.types import service

from shared.clock import new_clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.clock import Clock

SERVICE = "google.cloud.secretmanager.v1.SecretManagerService"
State = SecretVersion.State


@dataclass(slots=True)
class _Version:
    payload: bytes
    added_at: datetime
    state: int = State.ENABLED

    def become(self, state: int) -> None:
        self.state = state
        if state == State.DESTROYED:
            self.payload = b""


@dataclass(slots=True)
class _Secret:
    versions: list[_Version] = field(default_factory=list)
    ever: list[bytes] = field(default_factory=list)
    lag: int = 0

    def add(self, payload: bytes, added_at: datetime) -> None:
        self.versions.append(_Version(payload, added_at))
        self.ever.append(payload)


class SecretManager:
    """The server; ``port`` is set once it has started."""

    def __init__(self, project: str, clock: Clock | None = None) -> None:
        """Serve the secrets of ``project``; ``clock`` tells when versions are added."""
        self._project = project
        self._clock = clock or new_clock()
        self._denied: dict[str, set[str]] = {}
        self._secrets: dict[str, _Secret] = {}
        self._lock = RLock()
        self._server = grpc.server(ThreadPoolExecutor(max_workers=8))
        methods: dict[str, tuple[Callable[..., Any], Any]] = {
            "AddSecretVersion": (self._add, service.AddSecretVersionRequest),
            "AccessSecretVersion": (self._access, service.AccessSecretVersionRequest),
            "ListSecretVersions": (self._list, service.ListSecretVersionsRequest),
            "DestroySecretVersion": (
                self._set_state(State.DESTROYED),
                service.DestroySecretVersionRequest,
            ),
            "DisableSecretVersion": (
                self._set_state(State.DISABLED),
                service.DisableSecretVersionRequest,
            ),
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                self._permitted(name, method),
                request_deserializer=request.deserialize,
                response_serializer=lambda message: type(message).serialize(message),
            )
            for name, (method, request) in methods.items()
        }
        generic = grpc.method_handlers_generic_handler(SERVICE, handlers)
        self._server.add_generic_rpc_handlers((generic,))
        self.port = 0

    @property
    def host(self) -> str:
        """What ``SECRET_MANAGER_EMULATOR_HOST`` is set to."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Serve on a free port."""
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def stop(self) -> None:
        """Stop; everything is forgotten."""
        self._server.stop(grace=1).wait()

    def create(self, secret: str, payload: bytes | None = None) -> None:
        """Create a secret, with a first version if a ``payload`` is given."""
        with self._lock:
            created = self._secrets.setdefault(secret, _Secret())
            if payload is not None:
                created.add(payload, self._clock())

    def destroy(self, secret: str, number: int | None = None) -> None:
        """Destroy a version, by default the newest: what one does with a leak."""
        self._change(secret, number, State.DESTROYED)

    def disable(self, secret: str, number: int | None = None) -> None:
        """Disable a version, by default the newest."""
        self._change(secret, number, State.DISABLED)

    def let_latest_lag(self, secret: str, versions: int = 1) -> None:
        """Let ``latest`` be an older version, as it is for a while after adding one."""
        with self._lock:
            self._secrets[secret].lag = versions

    def deny(self, method: str, secret: str) -> None:
        """Refuse a method, such as ``AddSecretVersion``, for lack of a role."""
        with self._lock:
            self._denied.setdefault(method, set()).add(secret)

    def _change(self, secret: str, number: int | None, state: int) -> None:
        with self._lock:
            versions = self._secrets[secret].versions
            versions[(number or len(versions)) - 1].become(state)

    def _permitted(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def checked(request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401
            path = getattr(request, "name", "") or request.parent
            with self._lock:
                denied = path.split("/")[3] in self._denied.get(name, ())
            if denied:
                text = f"Permission denied on resource {path}"
                context.abort(grpc.StatusCode.PERMISSION_DENIED, text)
            return method(request, context)

        return checked

    def count(self, secret: str) -> int:
        """How many versions a secret has ever had."""
        with self._lock:
            return len(self._secrets[secret].versions)

    def payloads(self, secret: str) -> list[bytes]:
        """All that a secret ever held, also what is destroyed: to look for leaks."""
        with self._lock:
            return list(self._secrets[secret].ever)

    def _find(self, name: str, context: grpc.ServicerContext) -> _Secret:
        parts = name.split("/")
        found = self._secrets.get(parts[3]) if parts[1] == self._project else None
        if found is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Secret [{name}] not found")
        return found  # type: ignore[return-value]  # abort raises

    def _find_version(
        self, name: str, context: grpc.ServicerContext
    ) -> tuple[_Version, str]:
        secret, wanted = self._find(name, context), name.rsplit("/", 1)[1]
        newest = max(len(secret.versions) - secret.lag, 0)
        number = newest if wanted == "latest" else int(wanted)
        if not 1 <= number <= len(secret.versions):
            context.abort(
                grpc.StatusCode.NOT_FOUND, f"Secret Version [{name}] not found"
            )
        parent = name.rsplit("/", 2)[0]
        return secret.versions[number - 1], f"{parent}/versions/{number}"

    def _add(self, request: Any, context: grpc.ServicerContext) -> SecretVersion:  # noqa: ANN401
        with self._lock:
            secret = self._find(request.parent, context)
            secret.add(request.payload.data, self._clock())
            name = f"{request.parent}/versions/{len(secret.versions)}"
            return SecretVersion(name=name, state=State.ENABLED)

    def _access(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401
        with self._lock:
            version, name = self._find_version(request.name, context)
            if version.state != State.ENABLED:
                text = (
                    f"Secret Version [{name}] is in {State(version.state).name} state."
                )
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, text)
            payload = {"data": version.payload}
            return service.AccessSecretVersionResponse(name=name, payload=payload)

    def _list(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401
        with self._lock:
            versions = self._find(request.parent, context).versions
            listed = [
                SecretVersion(
                    name=f"{request.parent}/versions/{n}",
                    state=version.state,
                    create_time=version.added_at,
                )
                for n, version in enumerate(versions, start=1)
            ]
            return service.ListSecretVersionsResponse(versions=listed[::-1])

    def _set_state(self, state: int) -> Callable[..., SecretVersion]:
        def change(request: Any, context: grpc.ServicerContext) -> SecretVersion:  # noqa: ANN401
            with self._lock:
                version, name = self._find_version(request.name, context)
                version.become(state)
                return SecretVersion(name=name, state=state)

        return change
