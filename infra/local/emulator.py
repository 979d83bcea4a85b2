"""The real Pub/Sub emulator, started without its wrapper."""

from __future__ import annotations

import os
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from infra.local.processes import Child, StartFailed, free_port

IMAGE = "gcr.io/google.com/cloudsdktool/google-cloud-cli:emulators"
INSTALL_HINT = (
    "no Pub/Sub emulator found. Install the Google Cloud CLI and run\n"
    "    gcloud components install pubsub-emulator\n"
    "(or the Debian package google-cloud-cli-pubsub-emulator; Java 11 or newer is "
    "needed), or start a container engine."
)


class Emulator:
    """The emulator on a free port of the loopback; it forgets all when it stops."""

    def __init__(self, logs: Path) -> None:
        """Nothing is started yet."""
        self._log = logs / "pubsub-emulator.log"
        self._child: Child | None = None
        self.port = free_port()

    @property
    def host(self) -> str:
        """What ``PUBSUB_EMULATOR_HOST`` is set to."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it; ``wait`` tells when it is ready.

        Raises:
            StartFailed: If there is none, or it does not start.
        """
        self._child = Child(
            "the Pub/Sub emulator",
            _command(self.port),
            log=self._log,
            environ=os.environ,
            cwd=Path("/"),
        )

    def wait(self) -> None:
        """Wait until it answers; see ``start``."""
        if self._child is not None:
            self._child.wait_until(self._answers)

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


def _command(port: int) -> list[str]:
    """How to start it: its jar, as the CLI's wrapper leaves Java behind."""
    java, jar = shutil.which("java"), _jar()
    if java and jar:
        limits = ["-Xmx512m", "-XX:+UseSerialGC"]
        return [java, *limits, "-jar", str(jar), "--host=127.0.0.1", f"--port={port}"]
    if _engine_runs():
        ports = f"127.0.0.1:{port}:{port}"
        emulator = ["gcloud", "beta", "emulators", "pubsub", "start"]
        listen = f"--host-port=0.0.0.0:{port}"
        return [
            "docker",
            "run",
            "--rm",
            "--init",
            "-p",
            ports,
            IMAGE,
            *emulator,
            listen,
        ]
    raise StartFailed(INSTALL_HINT)


def _jar() -> Path | None:
    """The emulator's jar inside the Google Cloud CLI."""
    roots = [Path("/usr/lib/google-cloud-sdk"), Path("/usr/share/google-cloud-sdk")]
    gcloud = shutil.which("gcloud")
    if gcloud:
        roots.insert(0, Path(gcloud).resolve().parent.parent)
    roots.append(Path.home() / "google-cloud-sdk")
    for root in roots:
        jars = sorted(
            root.glob("platform/pubsub-emulator/lib/cloud-pubsub-emulator-*.jar")
        )
        if jars:
            return jars[-1]
    return None


def _engine_runs() -> bool:
    docker = shutil.which("docker")
    if docker is None:
        return False
    asked = subprocess.run([docker, "info"], check=False, capture_output=True)  # noqa: S603
    return asked.returncode == 0
