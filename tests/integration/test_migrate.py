"""``make migrate`` as an operator runs it on Cloud SQL, and what its roles may do.

The roles are those of Cloud SQL: the account that migrates is a member of
``cloudsqlsuperuser``, which owns the database and may create roles. The member may not:
that is an attribute, and attributes are not inherited.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from functions.reference_sync.prune import Pruned, prune
from functions.reference_sync.reference_data import bundled_calendar
from infra.database_rights import FUNCTIONS, READER
from infra.migrate import Grants
from shared.database.engine import new_engine, transaction
from shared.database.ledger_pruning import LedgerPruning
from shared.database.session_store import SessionStore
from shared.errors import ConfigError
from shared.settings import DatabaseSettings
from tests.support import ledger, servers
from tests.support.harness import PipelineHarness
from tests.support.pages import blocks_of

MIGRATOR, PERSON = "migrator@demo.iam", "alice@example.com"
ACCOUNTS = {role: f"{role}@demo.iam" for role in FUNCTIONS} | {READER: PERSON}
GRANTS = ",".join(f"{role}={account}" for role, account in ACCOUNTS.items())
CLOUD_SQL = """
DO $$ BEGIN
    CREATE ROLE cloudsqlsuperuser NOLOGIN NOSUPERUSER CREATEROLE CREATEDB;
EXCEPTION WHEN duplicate_object THEN NULL; END $$
"""
TABLES = """
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
    AND relkind IN ('r', 'p', 'v') AND NOT relispartition
"""


def sign_in(url, account):
    return url.replace("pipeline@", f"{account.replace('@', '%40')}@")


def run(engine, *statements):
    with transaction(engine) as connection:
        return [connection.exec_driver_sql(each) for each in statements]


class CloudSql:
    """A database as Cloud SQL creates it, and its accounts."""

    def __init__(self, postgres, name):
        self.url = postgres.create(name)
        self.admin = new_engine(DatabaseSettings(url=self.url))
        database = f'ALTER DATABASE "{name}" OWNER TO cloudsqlsuperuser'
        run(self.admin, CLOUD_SQL, database)
        for account in (MIGRATOR, *ACCOUNTS.values()):
            self.create_account(account)
        run(self.admin, f'GRANT cloudsqlsuperuser TO "{MIGRATOR}"')

    def create_account(self, account):
        run(
            self.admin,
            f'DO $$ BEGIN CREATE ROLE "{account}" LOGIN NOSUPERUSER NOCREATEROLE;'
            " EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        )

    def migrate(self, account=MIGRATOR, grants=GRANTS):
        return subprocess.run(
            [sys.executable, "-m", "infra.migrate"],
            capture_output=True,
            text=True,
            cwd=servers.ROOT,
            env=os.environ
            | {"DATABASE_URL": sign_in(self.url, account), "DATABASE_GRANTS": grants},
        )

    def attempt(self, account, statement):
        """ "done", or the SQLSTATE of the refusal; nothing is kept."""
        engine = new_engine(DatabaseSettings(url=sign_in(self.url, account)))
        try:
            with engine.connect() as connection:
                connection.execute(text(statement))
        except Exception as error:  # noqa: BLE001 - whatever the driver says
            return error.orig.args[0]["C"]
        finally:
            engine.dispose()
        return "done"

    def engine(self, account):
        return new_engine(DatabaseSettings(url=sign_in(self.url, account)))

    def tables(self):
        return set(run(self.admin, TABLES)[0].scalars())


@pytest.fixture(scope="module")
def postgres():
    """A server of its own, because roles and their members belong to the server."""
    with servers.postgres() as server:
        yield server


@pytest.fixture(scope="module")
def migrated(postgres):
    cloud_sql = CloudSql(postgres, "roles")
    for _ in range(2):
        done = cloud_sql.migrate()
        assert done.returncode == 0, done.stderr
    yield cloud_sql
    cloud_sql.admin.dispose()
    postgres.drop("roles")


@pytest.fixture
def fresh(postgres):
    cloud_sql = CloudSql(postgres, "fresh")
    yield cloud_sql
    cloud_sql.admin.dispose()
    postgres.drop("fresh")


DENIED = "42501"
GUIDE = (servers.ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
(IN_THE_GUIDE,) = (block.text for block in blocks_of(GUIDE) if block.language == "sql")
VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE")


def may(cloud_sql, account, table):
    """What an account may do with a table, as PostgreSQL itself decides it."""
    asked = [f"has_table_privilege('{account}', '{table}', '{verb}')" for verb in VERBS]
    (row,) = run(cloud_sql.admin, f"SELECT {', '.join(asked)}")[0].all()
    return {verb for verb, allowed in zip(VERBS, row, strict=True) if allowed}


@pytest.mark.parametrize("role", FUNCTIONS)
def test_each_function_may_do_what_the_table_of_rights_says_and_no_more(migrated, role):
    for table in migrated.tables():
        rights = FUNCTIONS[role].get(table, "")
        named = {part.strip() for part in rights.split(",")} & set(VERBS)
        assert may(migrated, ACCOUNTS[role], table) == named, table


def test_a_person_reads_every_table_and_writes_none(migrated):
    for table in migrated.tables():
        assert may(migrated, PERSON, table) == {"SELECT"}, table


def test_every_table_that_has_rights_exists(migrated):
    named = {table for tables in FUNCTIONS.values() for table in tables}

    assert named <= migrated.tables()


@pytest.mark.parametrize(
    ("role", "statement", "outcome"),
    [
        ("collector", "DELETE FROM candles", "done"),
        ("collector", "SELECT version FROM calendar_state FOR SHARE", "done"),
        ("collector", "UPDATE calendar_state SET version = 0", DENIED),
        ("collector", "UPDATE stocks SET is_target = true", DENIED),
        ("collector", "CREATE TABLE mine (x int)", DENIED),
        ("collector", "CREATE TEMPORARY TABLE mine (x int)", DENIED),
        ("collector", "DROP TABLE candles", DENIED),
        ("collector", "TRUNCATE candles", DENIED),
        ("collector", "SELECT * FROM alembic_version", DENIED),
        ("collector", "SET ROLE cloudsqlsuperuser", DENIED),
        ("dispatcher", "INSERT INTO runs VALUES ('r', 'm', '{}', now())", "done"),
        ("dispatcher", "DELETE FROM candles", DENIED),
        ("dispatcher", "UPDATE series SET version = 0", DENIED),
        ("dispatcher", "DELETE FROM session_seals", DENIED),
        ("dispatcher", "UPDATE rate_slots SET slowdown = 1", DENIED),
        ("daily_report", "SELECT count(*) FROM tasks", "done"),
        ("daily_report", "UPDATE daily_reports SET late = 0", DENIED),
        ("daily_report", "UPDATE session_seals SET candles = 1", DENIED),
        ("daily_report", "INSERT INTO runs VALUES ('r', 'm', '{}', now())", DENIED),
        ("reader", "SELECT day, chain FROM daily_reports", "done"),
        ("reference_sync", "UPDATE stocks SET is_target = true", "done"),
        ("reference_sync", "UPDATE tasks SET state = 'done'", DENIED),
        ("reference_sync", "DELETE FROM runs", DENIED),
        ("reference_sync", "UPDATE candles SET close = 1", DENIED),
        ("reference_sync", "SELECT prune_ledger(90, 1, 1)", "done"),
        ("reference_sync", "SELECT prune_ledger(89, 1, 1)", "P0001"),
        ("collector", "SELECT prune_ledger(90, 1, 1)", DENIED),
        ("reader", "SELECT prune_ledger(90, 1, 1)", DENIED),
        ("reader", "SELECT * FROM reader.candles", "done"),
        ("reader", "SELECT * FROM daily_candles", "done"),
        ("reader", IN_THE_GUIDE, "done"),
        ("reader", "DELETE FROM series", DENIED),
        ("reader", "UPDATE session_seals SET candles = 0", DENIED),
        ("reader", "DELETE FROM broken_seals", DENIED),
        ("reader", "UPDATE candles SET close = 1", DENIED),
        ("reader", "CREATE TEMPORARY TABLE mine (x int)", DENIED),
    ],
)
def test_roles_may_do_what_they_are_for_and_no_more(migrated, role, statement, outcome):
    assert migrated.attempt(ACCOUNTS[role], statement) == outcome


def test_the_ledger_is_pruned_without_a_right_to_write_it(migrated):
    ledger.fill(migrated.admin, runs=4, stocks=2, days=400)
    engine = migrated.engine(ACCOUNTS["reference_sync"])

    pruned = prune(LedgerPruning(engine), datetime.now(UTC))

    engine.dispose()
    assert pruned == Pruned(runs=4, tasks=8, is_done=True)


def test_candles_that_an_earlier_version_left_unsealed_are_sealed_by_the_migrator(
    fresh,
):
    fresh.migrate()
    SessionStore(fresh.admin).write(bundled_calendar())
    engines = {role: fresh.engine(account) for role, account in ACCOUNTS.items()}
    harness = PipelineHarness(
        fresh.admin,
        "2026-11-16 07:30",
        calendar=SessionStore(fresh.admin).calendar(),
        engine_of=engines.get,
    )
    harness.tick("5m", start="2026-11-12", force=True)
    before = harness.query("SELECT session_date, digest FROM session_seals ORDER BY 1")
    harness.query("DELETE FROM session_seals")

    for engine in engines.values():
        engine.dispose()

    done = fresh.migrate()

    assert done.returncode == 0, done.stderr
    after = harness.query("SELECT session_date, digest FROM session_seals ORDER BY 1")
    assert len(before) == 2
    assert after == before


def test_the_account_that_migrates_owns_nothing_and_can_be_dropped(fresh):
    assert fresh.migrate().returncode == 0

    run(fresh.admin, f'DROP ROLE "{MIGRATOR}"')

    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    assert run(fresh.admin, owners)[0].scalars().all() == ["cloudsqlsuperuser"]
    fresh.create_account(MIGRATOR)
    run(fresh.admin, f'GRANT cloudsqlsuperuser TO "{MIGRATOR}"')
    assert fresh.migrate().returncode == 0


def test_a_person_who_leaves_can_be_dropped_and_takes_nothing_along(fresh):
    fresh.create_account("bob@example.com")
    fresh.migrate(grants=f"{GRANTS},reader=bob@example.com")
    assert fresh.attempt("bob@example.com", "SELECT * FROM candles") == "done"

    run(fresh.admin, 'DROP ROLE "bob@example.com"')

    assert fresh.migrate().returncode == 0


def test_an_account_that_is_no_longer_named_loses_its_role(fresh):
    fresh.migrate()
    without = ",".join(pair for pair in GRANTS.split(",") if PERSON not in pair)

    fresh.migrate(grants=without)

    assert fresh.attempt(PERSON, "SELECT * FROM candles") == DENIED


def test_rights_that_were_given_by_hand_are_taken_back(fresh):
    fresh.migrate()
    run(fresh.admin, "GRANT ALL ON candles TO pipeline_dispatcher, pipeline_reader")

    fresh.migrate()

    assert fresh.attempt(ACCOUNTS["dispatcher"], "DELETE FROM candles") == DENIED
    assert fresh.attempt(PERSON, "DELETE FROM candles") == DENIED


def test_tables_that_an_earlier_version_left_to_the_account_change_hands(fresh):
    engine = new_engine(DatabaseSettings(url=sign_in(fresh.url, MIGRATOR)))
    run(engine, "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL)")
    engine.dispose()

    done = fresh.migrate()

    assert done.returncode == 0, done.stderr
    run(fresh.admin, f'DROP ROLE "{MIGRATOR}"')


def test_an_account_that_may_not_create_roles_changes_nothing():
    with servers.postgres() as server:
        cloud_sql = CloudSql(server, "closed")
        run(
            cloud_sql.admin,
            f'REVOKE cloudsqlsuperuser FROM "{MIGRATOR}"',
            f'GRANT CREATE ON DATABASE closed TO "{MIGRATOR}"',
            f'GRANT CREATE ON SCHEMA public TO "{MIGRATOR}"',
        )

        failed = cloud_sql.migrate()

        assert failed.returncode == 1
        assert "not migrated: this account may not create the roles" in failed.stderr
        assert "as a member of cloudsqlsuperuser" in failed.stderr
        assert cloud_sql.tables() == set()
        cloud_sql.admin.dispose()


def test_it_also_works_in_a_database_that_the_administrators_do_not_own(fresh):
    run(
        fresh.admin,
        "ALTER DATABASE fresh OWNER TO pipeline",
        "GRANT CREATE ON DATABASE fresh TO cloudsqlsuperuser",
        "GRANT CREATE, USAGE ON SCHEMA public TO cloudsqlsuperuser",
    )

    for _ in range(2):
        done = fresh.migrate()
        assert done.returncode == 0, done.stderr

    assert fresh.attempt(PERSON, "DELETE FROM candles") == DENIED


def test_an_account_without_any_right_is_told_what_it_lacks(fresh):
    failed = fresh.migrate(account=PERSON, grants="")

    assert failed.returncode == 1
    assert failed.stderr == (
        "not migrated: PostgreSQL refused: permission denied for schema public; "
        "migrate as a member of cloudsqlsuperuser, or as the owner of the database and "
        "of all its tables\n"
    )


def test_an_account_that_does_not_exist_is_named_and_nothing_is_changed(fresh):
    failed = fresh.migrate(grants="reader=nemo@example.com")

    assert failed.returncode == 1
    assert "knows no account nemo@example.com: create its IAM user" in failed.stderr
    assert fresh.tables() == set()


def test_a_database_that_a_newer_version_has_migrated_is_left_alone(fresh):
    fresh.migrate()
    run(fresh.admin, "UPDATE alembic_version SET version_num = '9999'")

    failed = fresh.migrate()

    assert failed.returncode == 1
    assert "Can't locate revision identified by '9999'" in failed.stderr
    assert "check that version out" in failed.stderr


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
    assert "not migrated: PostgreSQL cannot be reached" in done.stderr


@pytest.mark.parametrize("pair", ["writer=a@b", "collector", "collector="])
def test_a_grant_that_is_none_is_named(pair):
    with pytest.raises(ConfigError, match="must be role=account, with a role out of"):
        Grants.parse(f"reader={PERSON}, {pair}")
