"""A PostgreSQL of our own, on a free port of the loopback."""

from __future__ import annotations

import getpass
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path

from sqlalchemy import Engine, create_engine, text

from infra.local import postgres_binaries
from infra.local.processes import Child, StartFailed, free_port

SUPERUSER = "pipeline"
# Where root keeps data that its own closed folder would hide from the server.
STATE = Path("/var/lib")
FORMER_SECONDS = 10


class Postgres:
    """A server on a free port of the loopback; its data stay in ``directory``."""

    def __init__(self, directory: Path, logs: Path, *, durable: bool = True) -> None:
        """Nothing is started yet; without ``durable`` a crash may lose data."""
        self._account = _unprivileged_account()
        self._data = _reachable(directory, self._account)
        self._binaries = _binaries(self._data, self._account)
        self._log = logs / "postgres.log"
        self._durable = durable
        self.child: Child | None = None
        self.port = 0

    def start(self) -> None:
        """Start the server; the first time, create its data.

        Raises:
            StartFailed: If it does not start; the end of its log is told.
        """
        if not (self._data / "PG_VERSION").exists():
            self._create()
        _check_owner(self._data, self._account)
        _wait_for_former(self._data)
        self.port = self.port or free_port()
        options = [
            *("-D", str(self._data), "-p", str(self.port), "-k", ""),
            *("-c", "listen_addresses=127.0.0.1", "-c", "timezone=UTC"),
        ]
        if not self._durable:
            options += ["-c", "fsync=off", "-c", "full_page_writes=off"]
        self.child = Child(
            "PostgreSQL",
            [str(self._binaries / "postgres"), *options],
            log=self._log,
            environ=_environ(),
            cwd=Path("/"),
            # A fast shutdown: clients are disconnected, data are safe.
            stop_signal=signal.SIGINT,
            user=self._account,
        )
        self.child.wait_until(self._answers)

    def stop(self) -> None:
        """Stop the server."""
        if self.child is not None:
            self.child.stop()
            self.child = None

    def restart(self) -> None:
        """Stop and start on the same port, as an upgrade does."""
        self.stop()
        self.start()

    def crash(self) -> None:
        """Kill it, and start it again on the same port."""
        if self.child is not None:
            self.child.kill()
            self.child = None
        self.start()

    def url(self, database: str, account: str = SUPERUSER) -> str:
        """The URL of a database of this server, for one of its accounts."""
        return f"postgresql://{account}@127.0.0.1:{self.port}/{database}"

    def create(self, database: str, template: str = "template1") -> str:
        """Create the database unless it exists; return its URL."""
        engine = self._admin()
        with engine.connect() as connection:
            exists = connection.execute(
                text("SELECT 1 FROM pg_database WHERE datname = :name"),
                {"name": database},
            ).first()
            if exists is None:
                connection.exec_driver_sql(
                    f'CREATE DATABASE "{database}" TEMPLATE "{template}"'
                )
        engine.dispose()
        return self.url(database)

    def create_account(self, account: str) -> None:
        """Create an account that may sign in and do nothing else, unless it exists."""
        engine = self._admin()
        with engine.connect() as connection:
            connection.exec_driver_sql(
                f'DO $$ BEGIN CREATE ROLE "{account}" LOGIN; '
                "EXCEPTION WHEN duplicate_object THEN NULL; END $$"
            )
        engine.dispose()

    def drop(self, database: str) -> None:
        """Drop a database, also while it is in use."""
        engine = self._admin()
        with engine.connect() as connection:
            connection.exec_driver_sql(f'DROP DATABASE "{database}" WITH (FORCE)')
        engine.dispose()

    def _admin(self) -> Engine:
        url = self.url("postgres").replace("postgresql://", "postgresql+pg8000://")
        return create_engine(
            url, isolation_level="AUTOCOMMIT", connect_args={"ssl_context": False}
        )

    def _answers(self) -> bool:
        ready = [str(self._binaries / "pg_isready"), "-q", "-h", "127.0.0.1"]
        command = [*ready, "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0  # noqa: S603

    def _create(self) -> None:
        account = pwd.getpwnam(self._account) if self._account else None
        self._data.mkdir(parents=True, exist_ok=True)
        if account:
            os.chown(self._data, account.pw_uid, account.pw_gid)
        command = [
            *(str(self._binaries / "initdb"), "-D", str(self._data), "-U", SUPERUSER),
            # Only this machine reaches it, and what it holds can be collected again.
            *("--auth=trust", "--encoding=UTF8", "--locale=C"),
        ]
        made = subprocess.run(  # noqa: S603 - our own command
            command,
            check=False,
            capture_output=True,
            text=True,
            env=_environ(),
            cwd="/",
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )
        if made.returncode:
            shutil.rmtree(self._data, ignore_errors=True)
            message = f"initdb failed: {made.stderr}"
            raise StartFailed(message)


def find_binaries() -> Path:
    """The folder with the newest ``postgres``, ``initdb`` and ``psql`` there is.

    Raises:
        StartFailed: If there is none; the text has the command to install one.
    """
    return postgres_binaries.choose(postgres_binaries.installed()).folder


def _binaries(data: Path, account: str | None) -> Path:
    found = postgres_binaries.installed()
    if account is None:
        return postgres_binaries.choose(found, data).folder
    # Only those of the package can be copied to where the account can run them.
    found = [
        each
        for each in found
        if each.packaged or postgres_binaries.is_open(each.folder / "postgres")
    ]
    chosen = postgres_binaries.choose(found, data)
    return postgres_binaries.within_reach(chosen, data.parent).folder


def _check_owner(data: Path, account: str | None) -> None:
    """PostgreSQL refuses data of another account, and says so in several lines."""
    expected = pwd.getpwnam(account).pw_uid if account else os.geteuid()
    if data.stat().st_uid != expected:
        message = (
            f"the data in {data} belong to another account: start with that account, "
            "or remove the folder (its data can be collected again)"
        )
        raise StartFailed(message)


def _wait_for_former(data: Path) -> None:
    """Let the server of a stack that was killed come to its end."""
    lock = data / "postmaster.pid"
    deadline = time.monotonic() + FORMER_SECONDS
    while (pid := _holder(lock)) is not None:
        if time.monotonic() > deadline:
            message = (
                f"process {pid} still runs a PostgreSQL on {data}: end it with "
                f"kill {pid}; if it is something else, remove {lock}"
            )
            raise StartFailed(message)
        time.sleep(0.05)


def _holder(lock: Path) -> int | None:
    try:
        pid = int(lock.read_text(encoding="ascii").split()[0])
        os.kill(pid, 0)
    except (OSError, ValueError, IndexError):
        return None
    return pid


def _unprivileged_account() -> str | None:
    """PostgreSQL refuses to run as root: then it runs as another account."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    message = (
        f"PostgreSQL cannot run as {getpass.getuser()}, and this machine has neither "
        "an account postgres nor nobody: create one, or run this as another user"
    )
    raise StartFailed(message)


def _reachable(directory: Path, account: str | None) -> Path:
    """``directory``, or a place that the other account can enter.

    Root's checkout may lie in a folder that is closed to every other account. Then
    ``directory`` is a link, by which ``make clean`` finds what it stands for.
    """
    if account is None or (directory.is_symlink() and directory.exists()):
        return directory.resolve()
    directory.parent.mkdir(parents=True, exist_ok=True)
    # What a link that leads nowhere stood for has been removed by hand.
    if directory.is_symlink():
        directory.unlink()
    directory = directory.resolve()
    if postgres_binaries.is_open(directory.parent):
        return directory
    if directory.exists():
        message = (
            f"{directory} lies in a folder that is closed to the account {account}: "
            "remove it (its data can be collected again)"
        )
        raise StartFailed(message)
    name = hashlib.sha256(str(directory).encode()).hexdigest()[:12]
    elsewhere = STATE / f"tradesmart-{name}"
    shutil.rmtree(elsewhere, ignore_errors=True)
    elsewhere.mkdir(mode=0o755, parents=True)
    elsewhere.chmod(0o755)
    directory.symlink_to(elsewhere / "postgres")
    return elsewhere / "postgres"


def _environ() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
