"""Real servers for tests: started once, on free ports, gone afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from infra.local.postgres import Postgres
from infra.local.processes import free_port
from infra.local.stack import ROOT

__all__ = ["ROOT", "free_port", "migrate", "open_directory", "postgres", "processes"]


@contextmanager
def open_directory():
    """A folder that also another account can enter, as PostgreSQL's may have to."""
    with tempfile.TemporaryDirectory(prefix="pipeline-", dir="/var/tmp") as name:
        os.chmod(name, 0o755)  # noqa: PTH101
        yield Path(name)


@contextmanager
def postgres(*, durable=False):
    with open_directory() as directory:
        server = Postgres(directory / "data", directory, durable=durable)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def processes():
    """What runs on this machine: process group, command and environment of each.

    Zombies are left out: it is up to the machine when they are buried.
    """
    if not Path("/proc/self/stat").exists():
        return _listed_by_ps()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, group = (
                (folder / "stat").read_text().rpartition(") ")[2].split()[:3]
            )
            told = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
        except OSError:
            continue
        if state != "Z":
            found.append(
                (int(group), told.replace(b"\0", b" ").decode(errors="replace"))
            )
    return found


def _listed_by_ps():
    command = ["ps", "axeww", "-o", "pgid=,stat=,args="]
    listed = subprocess.run(command, capture_output=True, text=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [(int(row[0]), row[2]) for row in rows if not row[1].startswith("Z")]


def migrate(url, target="head"):
    """Run Alembic as an operator does."""
    direction = "downgrade" if target == "base" else "upgrade"
    subprocess.run(
        [
            *(sys.executable, "-m", "alembic", "-c", "infra/migrations/alembic.ini"),
            *(direction, target),
        ],
        check=True,
        capture_output=True,
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": url, "PYTHONPATH": str(ROOT)},
    )
