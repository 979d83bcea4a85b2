"""Real PostgreSQL, a real Pub/Sub server, real Secret Manager client."""

from __future__ import annotations

import os
import shutil
from itertools import count

import pytest

from functions.reference_sync.reference_data import bundled_calendar, target_stocks
from infra import package, topology
from infra.database_rights import FUNCTIONS
from infra.local import environment, pubsub_server
from infra.local.secret_manager import SecretManager
from infra.migrate import Grants, migrate
from shared.database.engine import new_engine
from shared.database.session_store import SessionStore
from shared.database.stock_store import StockStore
from shared.settings import MIGRATION_DEADLINES, DatabaseSettings
from tests.support import servers
from tests.support.terraform import TERRAFORM


@pytest.fixture(scope="session")
def postgres():
    with servers.postgres() as server:
        for role in FUNCTIONS:
            server.create_account(role)
        grants = Grants.parse(",".join(f"{role}={role}" for role in FUNCTIONS))
        migrate(DatabaseSettings(url=server.create("template")), grants)
        yield server


@pytest.fixture(scope="session")
def _names():
    return count()


@pytest.fixture(scope="session")
def _with_reference(postgres):
    """A database to copy: to write the calendar takes ten times as long."""
    url = postgres.create("with_reference", template="template")
    # No test has a copy unless this ends, however long it takes.
    engine = new_engine(DatabaseSettings(url=url, deadlines=MIGRATION_DEADLINES))
    SessionStore(engine).write(bundled_calendar())
    StockStore(engine).upsert_all(target_stocks())
    engine.dispose()
    return "with_reference"


@pytest.fixture
def database_url(request, postgres, _names):
    """A migrated database of this test's own."""
    template = "template"
    if "reference_data" in request.fixturenames:
        template = request.getfixturevalue("_with_reference")
    name = f"test_{next(_names)}"
    yield postgres.create(name, template=template)
    postgres.drop(name)


@pytest.fixture
def engine(database_url):
    engine = new_engine(DatabaseSettings(url=database_url, pool_size=8))
    yield engine
    engine.dispose()


@pytest.fixture
def engine_of(database_url):
    """The engine of a function: it may do no more than ``database_rights`` says."""
    engines = []

    def engine_of(role):
        url = database_url.replace("pipeline@", f"{role}@")
        engines.append(new_engine(DatabaseSettings(url=url, pool_size=8)))
        return engines[-1]

    yield engine_of
    for engine in engines:
        engine.dispose()


@pytest.fixture
def reference_data(database_url):
    """The calendar and the target stocks are in the database of the test."""


@pytest.fixture(scope="session")
def emulator(tmp_path_factory):
    """The Pub/Sub that ``make dev`` would choose here; PUBSUB chooses another."""
    logs = tmp_path_factory.mktemp("pubsub")
    environ = environment.for_children(os.environ, servers.ROOT)
    server = pubsub_server.choose(os.environ.get("PUBSUB"), logs, environ)
    server.start()
    server.wait()
    before = os.environ.get("PUBSUB_EMULATOR_HOST")
    os.environ["PUBSUB_EMULATOR_HOST"] = server.host
    yield server
    os.environ.pop("PUBSUB_EMULATOR_HOST")
    if before:
        os.environ["PUBSUB_EMULATOR_HOST"] = before
    server.stop()


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Terraform's sources with the zips, so that nothing is left in the checkout."""
    directory = tmp_path_factory.mktemp("stack")
    shutil.copytree(TERRAFORM, directory / "infra" / "terraform")
    shutil.copy(topology.PIPELINE, directory / "infra")
    (directory / "build").mkdir()
    # How tfcheck knows which folders belong together.
    (directory / ".git").mkdir()
    package.build(topology.load(), directory / "build")
    return directory / "infra" / "terraform"


@pytest.fixture
def secret_manager():
    server = SecretManager("test-project")
    server.start()
    yield server
    server.stop()
