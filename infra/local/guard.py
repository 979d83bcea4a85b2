"""Ends the processes of a stack that was killed before it could stop them.

The stack holds the other end of our standard input, and names each process group that
it starts: ``+ PID SIGNAL``, and ``- PID`` when it has ended. End of file means that the
stack is gone, however it ended; this works the same on Linux and on macOS.

Run as a script, so that it starts within a few milliseconds: standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

GRACE_SECONDS = 1.5


def survivors(lines: Iterable[str]) -> dict[int, int]:
    """The groups that run when the lines end, with the signal that stops each."""
    groups: dict[int, int] = {}
    for line in lines:
        sign, pid, *number = line.split()
        if sign == "+":
            groups[int(pid)] = int(number[0])
        else:
            groups.pop(int(pid), None)
    return groups


def end(groups: dict[int, int]) -> None:
    """Stop the leader of each group, then kill what is left of the group."""
    for pid, number in groups.items():
        with contextlib.suppress(OSError):
            os.kill(pid, number)
    deadline = time.monotonic() + GRACE_SECONDS
    while any(_runs(pid) for pid in groups) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in groups:
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    end(survivors(sys.stdin))
