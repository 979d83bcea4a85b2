"""A PostgreSQL of our own where something stands in its way."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from sqlalchemy import text

from infra.local import postgres
from infra.local.postgres import Postgres
from infra.local.processes import StartFailed
from shared.database.engine import new_engine, transaction
from shared.settings import DatabaseSettings
from tests.support import servers

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def directory():
    with servers.open_directory() as directory:
        yield directory


@pytest.fixture
def no_patience(monkeypatch):
    monkeypatch.setattr(postgres, "FORMER_SECONDS", 0.1)


def one(url):
    engine = new_engine(DatabaseSettings(url=url))
    with transaction(engine) as connection:
        found = connection.execute(text("SELECT 1")).scalar_one()
    engine.dispose()
    return found


@as_root
def test_root_in_a_closed_folder_keeps_its_data_where_the_server_can_enter(
    directory, monkeypatch
):
    monkeypatch.setattr(postgres, "STATE", directory / "state")
    closed = directory / "root"
    closed.mkdir(mode=0o700)
    server = Postgres(closed / ".local" / "postgres", directory)
    server.start()

    assert one(server.url("postgres")) == 1
    server.stop()
    found = (closed / ".local" / "postgres").resolve()
    assert found.is_relative_to(directory / "state")
    assert (found / "PG_VERSION").exists()
    # The second start finds them again.
    again = Postgres(closed / ".local" / "postgres", directory)
    again.start()
    again.stop()


@as_root
def test_a_link_that_leads_nowhere_is_replaced(directory, monkeypatch):
    monkeypatch.setattr(postgres, "STATE", directory / "state")
    closed = directory / "root"
    closed.mkdir(mode=0o700)
    (closed / "postgres").symlink_to(directory / "removed" / "postgres")

    Postgres(closed / "postgres", directory)

    assert (closed / "postgres").readlink().is_relative_to(directory / "state")


def test_data_of_another_version_are_left_as_they_are(directory):
    (directory / "data").mkdir()
    (directory / "data" / "PG_VERSION").write_text("9.6\n")

    with pytest.raises(
        StartFailed, match=r"need PostgreSQL 9\.6, and this machine has"
    ):
        Postgres(directory / "data", directory)

    assert (directory / "data" / "PG_VERSION").exists()


@as_root
def test_data_of_another_account_are_named(directory):
    server = Postgres(directory / "data", directory)
    server.start()
    server.stop()
    os.chown(directory / "data", 4711, 4711)

    with pytest.raises(StartFailed, match="belong to another account"):
        Postgres(directory / "data", directory).start()


def test_the_server_of_a_killed_stack_is_waited_for(directory):
    server = Postgres(directory / "data", directory)
    server.start()
    server.stop()
    former = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    (directory / "data" / "postmaster.pid").write_text(f"{former.pid}\n")
    ends = threading.Timer(0.3, former.communicate, [b"\n"])
    ends.start()

    server.start()

    assert one(server.url("postgres")) == 1
    server.stop()


def test_a_server_that_does_not_end_is_named(directory, no_patience):
    server = Postgres(directory / "data", directory)
    server.start()

    second = Postgres(directory / "data", directory)
    with pytest.raises(StartFailed) as failed:
        second.start()

    assert "still runs a PostgreSQL" in str(failed.value)
    assert f"kill {server.child.pid}" in str(failed.value)
    assert "\n" not in str(failed.value)
    server.stop()
