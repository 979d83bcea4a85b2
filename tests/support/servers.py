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

__all__ = ["ROOT", "free_port", "migrate", "open_directory", "postgres"]


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
