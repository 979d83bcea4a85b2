"""Real child processes, stopped and abandoned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.local.processes import Child, stop_all
from tests.support import servers

STUBBORN = "trap '' TERM INT; echo ready; while :; do sleep 0.1; done"
# A stack that starts what it is told and waits to be killed.
PARENT = """
import sys, time
from pathlib import Path
from infra.local.processes import Child
log = Path(sys.argv[1])
children = [
    Child(name, ["/bin/sh", "-c", command], log=log / name, environ={}, cwd=log)
    for name, command in (("mild", "sleep 60 & wait"), ("stubborn", sys.argv[2]))
]
print(*(child.pid for child in children), flush=True)
time.sleep(60)
"""


def runs(pid):
    """Whether any process of the group is there."""
    return any(group == pid for group, _ in servers.processes())


def until(condition, seconds=5):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def stubborn(tmp_path):
    children = [
        Child(
            str(number),
            ["/bin/sh", "-c", STUBBORN],
            log=tmp_path / str(number),
            environ={"PATH": os.environ["PATH"]},
            cwd=tmp_path,
        )
        for number in range(4)
    ]
    for child in children:
        child.wait_until(lambda child=child: "ready" in child.log.read_text())
    yield children
    for child in children:
        child.kill()


def test_all_that_ignore_the_signal_are_gone_after_one_grace(stubborn):
    began = time.monotonic()

    stop_all(stubborn, seconds=0.3)

    assert time.monotonic() - began < 1
    assert not any(child.is_alive() for child in stubborn)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_stack_that_is_killed(tmp_path, number):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), STUBBORN],
        stdout=subprocess.PIPE,
        text=True,
        cwd=servers.ROOT,
        start_new_session=True,
    )
    groups = [int(pid) for pid in parent.stdout.readline().split()]
    until(lambda: "ready" in (Path(tmp_path) / "stubborn").read_text())
    assert all(map(runs, groups))

    # As kill -9 of the terminal's whole process group.
    os.killpg(parent.pid, number)
    parent.wait()
    parent.stdout.close()

    until(lambda: not any(map(runs, groups)))
