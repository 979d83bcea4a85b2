"""Processes of a stack that was killed: they are ended before the next one starts.

Most end by themselves, but a function first finishes what it is at, and PostgreSQL
waits for it: for half a minute the data would be locked, and the ports in use.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from infra.local import announcement

if TYPE_CHECKING:
    from collections.abc import Callable

PROC = Path("/proc")
WAIT_SECONDS = 5.0
POLL_SECONDS = 0.05


def clear(directory: Path) -> list[str]:
    """End what is left in ``directory``, and return its names.

    Only the holder of the stack's lock may do this.
    """
    found = [*_parts(directory), *_postgres(directory / "postgres")]
    for _, pid, number in found:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    for _, pid, _ in found:
        _wait(lambda pid=pid: not arguments(pid))  # type: ignore[misc]
    announcement.withdraw(directory)
    return [name for name, _, _ in found]


def _parts(directory: Path) -> list[tuple[str, int, int]]:
    """The functions and the broker that were announced, with the signal for each."""
    stack = announcement.last(directory)
    if stack is None:
        return []
    return [
        (name, pid, signal.SIGKILL)
        for name, pid in stack.processes.items()
        # A number that another process has by now is left alone.
        if f"--port {stack.ports.get(name)}" in arguments(pid)
    ]


def _postgres(data: Path) -> list[tuple[str, int, int]]:
    """The server of ``data``; a fast shutdown disconnects clients and is safe."""
    try:
        pid = int((data / "postmaster.pid").read_text(encoding="utf-8").split()[0])
    except (OSError, ValueError, IndexError):
        return []
    is_ours = f"-D {data.resolve()}" in arguments(pid)
    return [("PostgreSQL", pid, signal.SIGINT)] if is_ours else []


def arguments(pid: int) -> str:
    """The command line of a process; empty if there is none, or it has ended."""
    if PROC.is_dir():
        try:
            line = (PROC / str(pid) / "cmdline").read_bytes()
        except OSError:
            return ""
        return line.replace(b"\0", b" ").decode(errors="replace")
    told = subprocess.run(  # noqa: S603 - a number
        ["ps", "-o", "args=", "-p", str(pid)],
        check=False,
        capture_output=True,
        text=True,
    )
    return told.stdout.strip()


def _wait(is_over: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_over() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
