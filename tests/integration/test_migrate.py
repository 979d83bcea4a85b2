"""``make migrate`` as an operator runs it, and what its roles may do."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from functions.reference_sync.prune import Pruned, prune
from shared.database.engine import new_engine, transaction
from shared.database.ledger_pruning import LedgerPruning
from shared.errors import DatabaseMisconfigured
from shared.settings import DatabaseSettings
from tests.support import ledger, servers

WRITER, READER = "collector@demo.iam", "status@demo.iam"


@pytest.fixture(scope="module")
def migrated(postgres):
    url = postgres.create("roles")
    owner = new_engine(DatabaseSettings(url=url))
    with transaction(owner) as connection:
        for account in (WRITER, READER):
            connection.exec_driver_sql(
                f'DO $$ BEGIN CREATE ROLE "{account}" LOGIN;'
                " EXCEPTION WHEN duplicate_object THEN NULL; END $$"
            )
    owner.dispose()
    accounts = {"DATABASE_WRITERS": WRITER, "DATABASE_READERS": f"{READER}, "}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "infra.migrate"],
            capture_output=True,
            text=True,
            cwd=servers.ROOT,
            env=os.environ | accounts | {"DATABASE_URL": url},
        )
        assert done.returncode == 0, done.stderr
    yield lambda account: new_engine(
        DatabaseSettings(
            url=url.replace("pipeline@", f"{account.replace('@', '%40')}@")
        )
    )
    postgres.drop("roles")


def attempt(engine, statement):
    try:
        with transaction(engine) as connection:
            connection.execute(text(statement))
    except DatabaseMisconfigured as error:
        return error.__cause__.orig.args[0]["C"]
    finally:
        engine.dispose()
    return "done"


DENIED = "42501"


@pytest.mark.parametrize(
    ("account", "statement", "outcome"),
    [
        (WRITER, "SELECT * FROM candles", "done"),
        (WRITER, "DELETE FROM series", "done"),
        (WRITER, "INSERT INTO rate_slots VALUES ('k', 'a', now())", "done"),
        (WRITER, "CREATE TABLE mine (x int)", DENIED),
        (WRITER, "DROP TABLE candles", DENIED),
        (WRITER, "DELETE FROM alembic_version", DENIED),
        (READER, "SELECT * FROM daily_candles", "done"),
        (READER, "DELETE FROM series", DENIED),
        (READER, "UPDATE candles SET close = 1", DENIED),
    ],
)
def test_roles_may_do_what_they_are_for_and_no_more(
    migrated, account, statement, outcome
):
    assert attempt(migrated(account), statement) == outcome


def test_the_account_of_a_function_prunes_the_ledger(migrated):
    owner, writer = migrated("pipeline"), migrated(WRITER)
    ledger.fill(owner, runs=4, stocks=2, days=400)

    assert prune(LedgerPruning(writer), datetime.now(UTC)) == Pruned(
        runs=4, tasks=8, is_done=True
    )
    for engine in (owner, writer):
        engine.dispose()


def test_a_database_that_is_away_is_told():
    port = servers.free_port()
    done = subprocess.run(
        [sys.executable, "-m", "infra.migrate"],
        capture_output=True,
        text=True,
        cwd=servers.ROOT,
        env=os.environ | {"DATABASE_URL": f"postgresql://x@127.0.0.1:{port}/x"},
    )

    assert done.returncode == 1
    assert "not migrated: PostgreSQL" in done.stderr
