"""``make psql``: the running stack's database, with the client that fits it."""

from __future__ import annotations

import os
import shutil
import sys

from infra.local.announcement import NotRunning, running

CONNECT_SECONDS = 5


def main() -> None:
    """Become ``psql``."""
    try:
        stack = running()
    except NotRunning as error:
        sys.exit(str(error))
    # Imported here: a stack that is not there is told at once.
    from infra.local.postgres import find_binaries  # noqa: PLC0415

    own = find_binaries() / "psql"
    client = str(own) if own.exists() else shutil.which("psql")
    if client is None:
        sys.exit("no psql found: install the package postgresql-client")
    url = stack.database_url or os.environ.get("DATABASE_URL", "")
    environ = os.environ | {"PGCONNECT_TIMEOUT": str(CONNECT_SECONDS)}
    os.execve(client, [client, url], environ)  # noqa: S606 - that is the purpose


if __name__ == "__main__":
    main()
