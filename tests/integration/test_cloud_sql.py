"""The real Cloud SQL connector, in front of a real PostgreSQL."""

from __future__ import annotations

import gc
from random import Random

import pytest
from google.cloud.sql import connector
from sqlalchemy import text

from shared.database.candle_store import CandleStore
from shared.database.engine import new_engine, transaction
from shared.database.run_ledger import RunLedger
from shared.database.task_ledger import TaskLedger
from shared.errors import DatabaseUnavailable
from shared.runs import NewRun
from shared.series import CollectedSeries, Series
from shared.settings import DatabaseSettings
from tests.support.builders import CALENDAR, a_candle, a_request, kst
from tests.support.cloud_sql import INSTANCE, CloudSql, FakeCredentials

USER = "collector@demo-proj.iam"
# The connector leaves its event loop, and sockets that were cut, to the collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)


@pytest.fixture
def cloud_sql(postgres, tmp_path):
    octets = Random(str(tmp_path))
    address = ".".join(["127", *(str(octets.randint(2, 250)) for _ in range(3))])
    server = CloudSql(postgres.port, address)
    server.start(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def engine(cloud_sql, postgres, database_url, monkeypatch):
    """What a function in the cloud is given, but for whom it talks to."""
    made = []

    def make(**options):
        real = real_connector(
            credentials=FakeCredentials(),
            sqladmin_api_endpoint=cloud_sql.url,
            **options,
        )
        made.append(real)
        return real

    real_connector = connector.Connector
    monkeypatch.setattr(connector, "Connector", make)
    name = database_url.rpartition("/")[2]
    owner = new_engine(DatabaseSettings(url=database_url))
    with transaction(owner) as connection:
        connection.exec_driver_sql(
            f'DO $$ BEGIN CREATE ROLE "{USER}" LOGIN SUPERUSER;'
            " EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
    owner.dispose()
    settings = DatabaseSettings.from_env(
        {"CLOUD_SQL_INSTANCE": INSTANCE, "DATABASE_USER": USER, "DATABASE_NAME": name}
    )
    engine = new_engine(settings)
    yield engine
    engine.dispose()
    assert len(made) == 1
    made[0].close()
    made[0]._loop.close()
    # What the tests have cut off is collected here, not in a test that comes later.
    del made[0]
    gc.collect()


def one(engine):
    with transaction(engine) as connection:
        return connection.execute(text("SELECT current_user")).scalar()


def test_it_signs_in_as_the_service_account_without_a_password(engine, cloud_sql):
    assert one(engine) == USER

    assert len(cloud_sql.issued) == 1
    assert cloud_sql.issued[0].startswith("token-")


def test_candles_are_stored_through_it(engine):
    request = a_request()
    store = CandleStore(engine, lambda: CALENDAR)
    run = NewRun(
        run_id=request.run_id,
        message_id="1",
        trigger=b"{}",
        requests=[request],
        requested_at=kst("2026-11-20 21:00"),
    )
    RunLedger(engine).open_run(run)

    with TaskLedger(engine).attempt(request) as attempt:
        collected = CollectedSeries(
            series=Series(),
            calendar=CALENDAR.version,
            read_at=run.requested_at,
            candles=(a_candle(),),
        )
        stored = store.store(attempt, collected)

    assert stored.counts.inserted == 1
    with transaction(engine) as connection:
        found = connection.execute(text("SELECT close FROM candles")).scalar()
    assert found == a_candle().close


def test_a_certificate_that_expires_is_replaced(engine, cloud_sql):
    # The connector replaces one that has less than four minutes left.
    cloud_sql.certificate_seconds = 60
    one(engine)

    for _ in range(3):
        engine.dispose()
        assert one(engine) == USER

    assert len(cloud_sql.issued) == 4


def test_a_certificate_is_used_as_long_as_it_is_good(engine, cloud_sql):
    for _ in range(3):
        one(engine)
        engine.dispose()

    assert len(cloud_sql.issued) == 1


def test_a_dropped_connection_is_replaced(engine, cloud_sql):
    one(engine)
    cloud_sql.drop_connections()

    assert one(engine) == USER


def test_a_restart_of_the_server_is_survived(engine, cloud_sql, postgres):
    one(engine)
    postgres.restart()

    assert one(engine) == USER


def test_a_proxy_that_is_away_is_transient(engine, cloud_sql):
    one(engine)
    cloud_sql.close_the_door()
    cloud_sql.drop_connections()

    with pytest.raises(DatabaseUnavailable):
        one(engine)
