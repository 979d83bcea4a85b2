"""Child processes that never outlive the stack, each with its own log."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

STOP_SECONDS = 15
PR_SET_PDEATHSIG = 1


class StartFailed(RuntimeError):
    """A part of the stack did not start; the text says which, and where its log is."""


def free_port() -> int:
    """A port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Child:
    """A process of the stack, in a session of its own so that Ctrl-C is ours alone."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environ: Mapping[str, str],
        cwd: Path,
        stop_signal: int = signal.SIGTERM,
        user: str | None = None,
    ) -> None:
        """Start ``command``; its output goes to ``log``, as ``user`` where given."""
        self.name = name
        self.log = log
        self._stop_signal = stop_signal
        log.parent.mkdir(parents=True, exist_ok=True)
        account = pwd.getpwnam(user) if user else None
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own commands
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environ),
                cwd=cwd,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return int(self._process.pid)

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def wait_until(self, ready: Callable[[], bool], seconds: float = 60) -> None:
        """Wait until it is ``ready``.

        Raises:
            StartFailed: If it ends or takes too long; the end of its log is told.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                message = f"{self.name} is not ready after {seconds:.0f} s; "
                raise StartFailed(message + self._last_words())
            time.sleep(0.02)

    def check(self) -> None:
        """Raise ``StartFailed`` if it has ended by itself."""
        if not self.is_alive():
            message = f"{self.name} has ended; {self._last_words()}"
            raise StartFailed(message)

    def wait_for_port(self, port: int, seconds: float = 60) -> None:
        """Wait until it listens on ``port``; see ``wait_until``."""
        self.wait_until(lambda: listens(port), seconds)

    def kill(self) -> None:
        """End it and its children at once, as a crash would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def ask_to_stop(self) -> None:
        """Ask it to end; ``stop`` waits for it."""
        if self.is_alive():
            self._process.send_signal(self._stop_signal)

    def stop(self) -> None:
        """End it: politely first, then with all of its children."""
        self.ask_to_stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        self.kill()

    def _last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([f"the end of {self.log}:", *lines[-15:]])


def listens(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _die_with_parent() -> None:
    """Let Linux end a child whose parent was killed without a chance to stop it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
