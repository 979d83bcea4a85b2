"""Where the stack of this checkout is, and whether it runs: light, for every command.

A running stack holds a lock on ``.local/lock``, which the kernel releases however the
stack ends: after ``kill -9`` the files still lie there, but no command believes them.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DIRECTORY = Path(os.environ.get("LOCAL_DIRECTORY") or ROOT / ".local")
LOCK = "lock"
STACK = "stack.json"
GCLOUD = "gcloud.env"
START = "start one with: make dev"


class NotRunning(Exception):
    """No stack runs here; the text says so, and how to start one."""


class AlreadyRunning(Exception):
    """Another stack runs here; the text says which, and how to stop it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What other commands need to know of a running stack.

    ``started_at`` is an instant of this machine's clock (ISO 8601, UTC), as the
    database has them; the stack's own clock runs ``clock_offset`` seconds ahead of it.
    ``requests_per_second`` is the pace of each of the broker's calls, None without a
    limit. ``database_url`` is empty where the user's own ``DATABASE_URL`` is used: a
    password is not written down. ``ports`` and ``processes`` have an entry for each
    function, and for the simulated broker.
    """

    pid: int
    project: str
    started_at: str
    clock_offset: float
    broker: str
    simulated: bool
    requests_per_second: float | None
    database_url: str
    pubsub_host: str
    broker_url: str
    logs: str
    status_page: str | None = None
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, int] = field(default_factory=dict)


@contextmanager
def alone(directory: Path = DIRECTORY) -> Iterator[None]:
    """Keep a second stack away from the same data.

    Raises:
        AlreadyRunning: If there is one.
        OSError: If the folder cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stack = last(directory)
            pid = stack and stack.pid
            which = f" (process {pid})" if pid else ""
            stop = f" or: kill {pid}" if pid else ""
            message = (
                f"a stack runs here already{which}: look at it with make status, "
                f"stop it with Ctrl-C in its terminal{stop}"
            )
            raise AlreadyRunning(message) from None
        yield


def announce(announcement: Announcement, directory: Path = DIRECTORY) -> None:
    """Tell the other commands, and the real ``gcloud``, where the stack is."""
    text = json.dumps(asdict(announcement), indent=2)
    (directory / STACK).write_text(text + "\n", encoding="utf-8")
    variables = {
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB": f"http://{announcement.pubsub_host}/",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_PROJECT": announcement.project,
        # A developer's own login and project are never touched.
        "CLOUDSDK_CONFIG": str(directory / "gcloud"),
        "PUBSUB_EMULATOR_HOST": announcement.pubsub_host,
        "PGCONNECT_TIMEOUT": "5",
    }
    if announcement.database_url:
        variables["DATABASE_URL"] = announcement.database_url
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    (directory / GCLOUD).write_text("\n".join(lines) + "\n", encoding="utf-8")


def withdraw(directory: Path = DIRECTORY) -> None:
    """Take the announcement back."""
    for name in (STACK, GCLOUD):
        (directory / name).unlink(missing_ok=True)


def running(directory: Path = DIRECTORY) -> Announcement:
    """Find the stack that runs here.

    Raises:
        NotRunning: If there is none, or only the files of one that was killed.
    """
    is_held, announcement = _is_held(directory / LOCK), last(directory)
    if announcement is None and is_held:
        message = "the stack is still starting; try again when it is ready"
        raise NotRunning(message)
    if announcement is None:
        message = f"no stack runs here; {START}"
        raise NotRunning(message)
    if not is_held:
        message = (
            f"no stack runs here: the last one (process {announcement.pid}) was "
            f"killed; {START}"
        )
        raise NotRunning(message)
    return announcement


def last(directory: Path = DIRECTORY) -> Announcement | None:
    """What was announced last, whether it still runs or not."""
    try:
        facts = json.loads((directory / STACK).read_text(encoding="utf-8"))
        return Announcement(**facts)
    except (OSError, ValueError, TypeError):
        return None


def _is_held(lock: Path) -> bool:
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
