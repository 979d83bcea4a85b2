"""Real servers for tests: started once, on free ports, gone afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread

from infra.local.postgres import Postgres
from infra.local.processes import free_port
from infra.local.stack import ROOT

__all__ = [
    "ROOT",
    "downgrade",
    "free_port",
    "migrate",
    "open_directory",
    "postgres",
    "processes",
    "push_receiver",
]


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
    _alembic(url, "downgrade" if target == "base" else "upgrade", target)


def downgrade(url, target):
    """Take migrations back, down to ``target``."""
    _alembic(url, "downgrade", target)


def _alembic(url, direction, target):
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


@dataclass
class Push:
    """What was posted, and when (seconds of the monotonic clock)."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float


class PushReceiver(ThreadingHTTPServer):
    """Remembers what is posted and answers from a queue of statuses, else 204.

    While ``hold`` is set it answers nothing.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), _Receive)
        self.pushes, self.answers, self.hold = Queue(), Queue(), Event()
        self.port = self.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def handle_error(self, request, client_address):
        """A sender that hangs up is part of some tests."""


class _Receive(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.pushes.put(Push(self.path, headers, body, time.monotonic()))
        while self.server.hold.is_set():
            time.sleep(0.01)
        status = 204
        with suppress(Empty):
            status = self.server.answers.get_nowait()
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@contextmanager
def push_receiver(port=0):
    """A push endpoint."""
    receiver = PushReceiver(port)
    thread = Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.hold.clear()
        receiver.shutdown()
        receiver.server_close()
        thread.join()
