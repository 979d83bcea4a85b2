"""Child processes that never outlive the stack, each with its own log."""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from infra.local import guard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

STOP_SECONDS = 15
# Ctrl-C is over within 3 s, whatever the children are doing.
GRACE_SECONDS = 1.5


class StartFailed(RuntimeError):
    """A part of the stack did not start; the text says which, and where its log is."""


def free_port() -> int:
    """A port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Guard:
    """The process that ends our children if we are killed; see ``guard.py``."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def watch(self, pid: int, stop_signal: int) -> None:
        """End this process group when we are gone."""
        self._tell(f"+ {pid} {stop_signal:d}\n")

    def forget(self, pid: int) -> None:
        """The group has ended, and its number may be given to another."""
        self._tell(f"- {pid}\n")

    def _tell(self, line: str) -> None:
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-I", "-S", guard.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env={},
                cwd="/",
                # Neither Ctrl-C nor a kill of our process group reaches it.
                start_new_session=True,
            )
            atexit.register(self._close, self._process)
        pipe = self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            # A line is short enough to be written as a whole, from any thread.
            _ = pipe and pipe.write(line.encode())

    @staticmethod
    def _close(process: subprocess.Popen[bytes]) -> None:
        if process.stdin:
            process.stdin.close()
        process.wait()


_guard = _Guard()


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
            # Without preexec_fn: nothing of Python runs between fork and exec, which
            # threads here and macOS would not survive.
            self._process = subprocess.Popen(  # noqa: S603 - our own commands
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environ),
                cwd=cwd,
                start_new_session=True,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )
        _guard.watch(self.pid, stop_signal)

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
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # macOS answers "not permitted" where only a zombie is left of a group.
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        _guard.forget(self.pid)

    def ask_to_stop(self) -> None:
        """Ask it to end; ``stop`` waits for it."""
        if self.is_alive():
            self._process.send_signal(self._stop_signal)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """End it: politely first, after ``seconds`` with all of its children."""
        stop_all([self], seconds)

    def wait(self, seconds: float) -> None:
        """Give it time to end; whether it does is not reported."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(seconds, 0))

    def _last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([f"the end of {self.log}:", *lines[-15:]])


def stop_all(children: Iterable[Child], seconds: float = GRACE_SECONDS) -> None:
    """Ask all to end at the same time, and kill those that run after ``seconds``."""
    children = list(children)
    for child in children:
        child.ask_to_stop()
    deadline = time.monotonic() + seconds
    for child in children:
        child.wait(deadline - time.monotonic())
        child.kill()


def listens(port: int) -> bool:
    """Whether a server listens on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
