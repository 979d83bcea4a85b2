"""What continuous integration runs at the same time: who fails fails all, and is heard."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

import pytest

from tests.support import servers

# Waits until the other side has begun, so that what ends first is no accident.
BARE = """#!/bin/sh
echo "newcomer $*"
touch "$BARE_IN/../begun"
{bare}
"""
MAKE = """#!/bin/sh
until [ -e ../begun ]; do sleep 0.02; done
echo "make $*"
{make}
"""


@pytest.fixture
def run(tmp_path):
    """Runs ``.ci/run`` where a newcomer and ``make`` do as they are told."""
    ci = tmp_path / "checkout" / ".ci"
    tools = tmp_path / "tools"
    for folder in (ci, tools):
        folder.mkdir(parents=True)
    said = (servers.ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (ci / "run").write_text(said.replace("/var/tmp/", f"{tmp_path}/"))

    def run(*, bare="true", make="true"):
        scripts = {
            ci / "bare": BARE.format(bare=bare),
            tools / "make": MAKE.format(make=make),
            tools / "apt-get": "#!/bin/sh\n",
        }
        for path, script in scripts.items():
            path.write_text(script)
            path.chmod(0o755)
        return subprocess.run(
            [shutil.which("bash"), str(ci / "run")],
            capture_output=True,
            text=True,
            env={"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(tmp_path)},
            timeout=60,
        )

    yield run
    assert not list(tmp_path.glob("newcomers-*"))


def test_where_all_is_well_both_are_heard(run):
    done = run()

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1:3] == ["make lint", "make test"]
    assert all(line.startswith("newcomer ") for line in lines[3:])
    assert len(lines) > 3


def test_a_newcomer_who_fails_fails_all_and_has_the_last_word(run):
    done = run(bare="echo it did not work >&2; exit 3")

    assert done.returncode == 3
    assert done.stdout.splitlines()[-1] == "it did not work"


def ends(marker):
    """Whether every process that has ``marker`` in its environment ends."""
    deadline = time.monotonic() + 20
    while any(marker in told for _, told in servers.processes()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("target", ["lint", "test"])
def test_a_target_that_fails_has_the_last_word_and_stops_the_newcomer(
    run, tmp_path, target
):
    done = run(bare="exec sleep 60", make=f"[ $1 != {target} ]")

    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == f"make {target}"
    assert ends(str(tmp_path))
