"""Set-up on machines that lack something: one sentence, and what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.support import servers

HOLD = """
import fcntl, sys
lock = open(sys.argv[1])
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
input()
"""


@pytest.fixture
def checkout(tmp_path):
    """A copy of what set-up reads, in a path that is hard on shell scripts."""
    root = tmp_path / "처음 온 사람's"
    (root / "infra" / "local").mkdir(parents=True)
    for name in ("setup.sh", "clean.sh"):
        shutil.copy(servers.ROOT / "infra" / "local" / name, root / "infra" / "local")
    shutil.copy(servers.ROOT / "Makefile", root)
    (root / "locks").mkdir()
    locked = f"six==1.17.0 --hash=sha256:{'0' * 64}\n"
    (root / "locks" / "local.txt").write_text(locked)
    # Whether there is a PostgreSQL is not the question here.
    (root / "infra" / "local" / "postgres_binaries.py").write_text(
        "def installed():\n    return ['one']\n"
    )
    return root


def run(checkout, *command, **environ):
    kept = {name: os.environ[name] for name in ("PATH", "HOME")}
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=checkout,
        env=kept | {"LC_ALL": "C"} | environ,
        timeout=60,
    )


def set_up(checkout, **environ):
    """Set up against an index that does not answer, unless told otherwise."""
    index = f"http://127.0.0.1:{servers.free_port()}/simple"
    offline = {
        "PIP_INDEX_URL": index,
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_RETRIES": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "PYTHON": sys.executable,
    }
    command = ["infra/local/setup.sh", ".venv", "locks/local.txt"]
    return run(checkout, *command, **(offline | environ))


def fake_python(folder, version, *, venv):
    """An interpreter that only knows its version, and whether it has venv."""
    path = folder / "python"
    pretend = f"import sys; sys.version_info = {version}; exec(sys.argv[1])"
    path.write_text(
        '#!/bin/sh\ncase "$*" in\n--version) echo Python 3.x ;;\n'
        f"*ensurepip*) exit {0 if venv else 1} ;;\n"
        f'*) exec "{sys.executable}" -c "{pretend}" "$2" ;;\nesac\n'
    )
    path.chmod(0o755)
    return str(path)


def test_without_network_one_sentence_says_so(checkout):
    failed = set_up(checkout)

    assert failed.returncode == 1
    assert failed.stderr == (
        "cannot set up: no network, or no package index in reach; behind a proxy set "
        "HTTPS_PROXY, with a mirror set PIP_INDEX_URL (all of what pip said: "
        ".venv/setup.log)\n"
    )
    assert "six" in (checkout / ".venv" / "setup.log").read_text()


def test_a_proxy_that_does_not_answer_is_named(checkout):
    proxy = f"http://127.0.0.1:{servers.free_port()}"

    failed = set_up(checkout, HTTPS_PROXY=proxy, PIP_INDEX_URL="https://index.invalid/")

    assert "no package index in reach by the proxy that HTTPS_PROXY" in failed.stderr


@pytest.mark.parametrize("version", [(3, 10), (3, 15)])
def test_another_python_is_asked_for_by_its_versions(checkout, version):
    failed = set_up(checkout, PYTHON=fake_python(checkout, version, venv=True))

    assert failed.returncode == 1
    assert "Python 3.11 to 3.14 is needed" in failed.stderr
    assert "make PYTHON=/path/to/python" in failed.stderr
    assert not (checkout / ".venv").exists()


def test_a_python_without_venv_leaves_nothing_broken(checkout):
    failed = set_up(checkout, PYTHON=fake_python(checkout, (3, 13), venv=False))

    assert failed.returncode == 1
    assert "apt-get install python3-venv" in failed.stderr
    assert not (checkout / ".venv").exists()


def broken_environment(checkout):
    """As Debian without python3-venv leaves it: without pip."""
    venv = checkout / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    return venv / "bin" / "python"


def test_an_environment_without_pip_is_built_again(checkout):
    broken_environment(checkout)

    built = set_up(checkout)

    assert "setting up .venv with Python" in built.stdout
    answered = run(checkout, ".venv/bin/python", "-m", "pip", "--version")
    assert answered.returncode == 0


@pytest.mark.parametrize("breakage", ["no python", "moved"])
def test_an_environment_that_cannot_start_is_built_again(checkout, breakage):
    python = broken_environment(checkout)
    python.unlink()
    if breakage == "no python":
        python.symlink_to("/nowhere/python")
    else:
        python.write_text("#!/bin/sh\nexit 0\n")
        python.chmod(0o755)
        (checkout / ".venv" / ".ready-local").write_text("/somewhere/else\n")
    # That it is built at all is the question here, and takes no time.
    builder = checkout / "python"
    builder.write_text('#!/bin/sh\n[ "$2" != venv ] || { echo built; exit 1; }\n')
    builder.chmod(0o755)

    failed = set_up(checkout, PYTHON=str(builder))

    assert failed.stderr == "cannot set up: built\n"


def test_the_environment_of_another_checkout_is_left_alone(checkout, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "kept").touch()
    (checkout / ".venv").symlink_to(other)

    done = set_up(checkout)

    assert done.returncode != 0
    assert f".venv is a link to {other}; remove it" in done.stderr
    assert (other / "kept").exists()


def test_our_own_servers_are_never_looked_for_behind_a_proxy(checkout):
    told = run(checkout, "make", "-pn", "help", no_proxy="intra.example").stdout

    for name in ("NO_PROXY", "no_proxy"):
        assert f"{name} := 127.0.0.1,localhost,intra.example\n" in told


def test_make_in_windows_says_where_it_runs(checkout):
    failed = run(checkout, "make", "setup", OS="Windows_NT")

    assert "On Windows this runs inside WSL" in failed.stderr


def test_clean_removes_all_of_it(checkout):
    for name in (".local/logs", ".venv/bin", "build"):
        (checkout / name).mkdir(parents=True)
    (checkout / ".local" / "lock").touch()

    cleaned = run(checkout, "make", "clean")

    assert cleaned.returncode == 0, cleaned.stderr
    assert {path.name for path in checkout.iterdir()} == {
        "Makefile",
        "infra",
        "locks",
    }


def test_clean_never_pulls_the_data_from_under_a_running_stack(checkout):
    (checkout / ".local").mkdir()
    lock = checkout / ".local" / "lock"
    lock.touch()
    holder = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            HOLD,
            str(lock),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    holder.stdout.readline()

    refused = run(checkout, "make", "clean")
    holder.communicate(b"\n")

    assert refused.returncode != 0
    assert "a stack runs here; stop it with Ctrl-C in its terminal" in refused.stderr
    assert lock.exists()
