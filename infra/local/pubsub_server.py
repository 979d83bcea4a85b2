"""The Pub/Sub of a local stack: Google's emulator where it can run, else our own."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from infra.local import emulator
from infra.local.processes import Child, StartFailed, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).parents[2]
EMBEDDED, EMULATOR = "embedded", "emulator"
CHOICES = (EMBEDDED, EMULATOR)


class PubSubServer:
    """A process on a free port of the loopback; it forgets all when it stops."""

    def __init__(
        self,
        kind: str,
        description: str,
        command: Callable[[int], list[str]],
        *,
        logs: Path,
        environ: Mapping[str, str],
    ) -> None:
        """Nothing is started yet; ``kind`` is one of ``CHOICES``."""
        self.kind = kind
        self.description = description
        self.port = 0
        self._command = command
        self._log = logs / "pubsub.log"
        self._environ = environ
        self._child: Child | None = None

    @property
    def child(self) -> Child | None:
        """The process, while it runs."""
        return self._child

    @property
    def host(self) -> str:
        """What ``PUBSUB_EMULATOR_HOST`` is set to, once it has been started."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it on ``port``, or a free one; ``wait`` tells when it is ready."""
        self.port = self.port or free_port()
        self._child = Child(
            self.description,
            self._command(self.port),
            log=self._log,
            environ=self._environ,
            cwd=ROOT,
        )

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            StartFailed: If it does not; the end of its log is told.
        """
        if self._child is not None:
            self._child.wait_until(self._answers)

    def check(self) -> None:
        """Raise ``StartFailed`` if it has ended by itself."""
        if self._child is not None:
            self._child.check()

    def stop(self) -> None:
        """Stop it."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.host}/", timeout=1) as reply:
                return bool(reply.read().strip() == b"Ok")
        except (urllib.error.URLError, OSError):
            return False


def choose(wanted: str | None, logs: Path, environ: Mapping[str, str]) -> PubSubServer:
    """The server that is ``wanted``, or the best there is.

    Raises:
        StartFailed: If the emulator is wanted and cannot be run here.
    """
    if wanted == EMBEDDED:
        return embedded(logs, environ)
    try:
        return google_emulator(logs, environ)
    except emulator.EmulatorMissing as missing:
        if wanted == EMULATOR:
            message = f"{missing}; or do without: PUBSUB={EMBEDDED}"
            raise StartFailed(message) from missing
        why = str(missing) if isinstance(missing, emulator.JavaMissing) else ""
        return embedded(logs, environ, why)


def embedded(logs: Path, environ: Mapping[str, str], why: str = "") -> PubSubServer:
    """Our own server; ``why`` says what keeps Google's from running."""
    description = f"embedded Pub/Sub ({why})" if why else "embedded Pub/Sub"

    def command(port: int) -> list[str]:
        return [sys.executable, "-m", "infra.local.pubsub", "--port", str(port)]

    return PubSubServer(EMBEDDED, description, command, logs=logs, environ=environ)


def google_emulator(logs: Path, environ: Mapping[str, str]) -> PubSubServer:
    """Google's emulator.

    Raises:
        EmulatorMissing: If it cannot be run here.
    """
    found = emulator.find()
    description = f"Pub/Sub emulator {found.version}"
    return PubSubServer(
        EMULATOR, description, found.command, logs=logs, environ=environ
    )
