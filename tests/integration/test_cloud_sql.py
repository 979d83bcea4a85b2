"""The real Cloud SQL connector, in front of a real PostgreSQL."""

from __future__ import annotations

import gc
import socket
import threading
import time
from random import Random

import pytest
from google.auth.exceptions import DefaultCredentialsError
from google.cloud.sql import connector
from sqlalchemy import text

from shared.database.candle_store import CandleStore
from shared.database.cloud_sql import CloudSql as OurCloudSql
from shared.database.engine import new_engine, transaction
from shared.database.run_ledger import RunLedger
from shared.database.task_ledger import TaskLedger
from shared.errors import DatabaseMisconfigured, DatabaseUnavailable
from shared.runs import NewRun
from shared.series import CollectedSeries, Series
from shared.settings import DatabaseDeadlines, DatabaseSettings
from tests.support.builders import CALENDAR, a_candle, a_request, kst
from tests.support.cloud_sql import INSTANCE, CloudSql, FakeCredentials
from tests.support.silent_proxy import SilentProxy

USER = "collector@demo-proj.iam"
# The connector leaves its event loop, and sockets that were cut, to the collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)


# Like those of production, but for a test that waits; a key is generated in between.
SHORT = DatabaseDeadlines(
    checkout=1.0, connect=1.0, ping=0.3, statement=0.6, lock=0.3, silence=0.8
)
ENOUGH = 2.5


@pytest.fixture
def behind(postgres):
    """The way from Cloud SQL's proxy to PostgreSQL, which may fall silent."""
    proxy = SilentProxy(postgres.port)
    yield proxy
    proxy.stop()


@pytest.fixture
def cloud_sql(behind, tmp_path):
    octets = Random(str(tmp_path))
    address = ".".join(["127", *(str(octets.randint(2, 250)) for _ in range(3))])
    server = CloudSql(behind.port, address)
    server.start(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def environ(database_url):
    """What a function in the cloud is given, and a role for its account."""
    owner = new_engine(DatabaseSettings(url=database_url))
    with transaction(owner) as connection:
        connection.exec_driver_sql(
            f'DO $$ BEGIN CREATE ROLE "{USER}" LOGIN SUPERUSER;'
            " EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
    owner.dispose()
    name = database_url.rpartition("/")[2]
    return {
        "CLOUD_SQL_INSTANCE": INSTANCE,
        "DATABASE_USER": USER,
        "DATABASE_NAME": name,
        "K_SERVICE": "collector",
    }


@pytest.fixture
def credentials():
    return FakeCredentials()


@pytest.fixture
def connect(cloud_sql, credentials, monkeypatch):
    """Makes engines whose real connectors talk to the stand-in, and cleans up."""
    made, engines = [], []
    real_connector = connector.Connector

    def make(**options):
        made.append(
            real_connector(
                credentials=credentials, sqladmin_api_endpoint=cloud_sql.url, **options
            )
        )
        return made[-1]

    def connect(environ, deadlines=None):
        engine = new_engine(DatabaseSettings.from_env(environ, deadlines))
        engines.append(engine)
        return engine

    monkeypatch.setattr(connector, "Connector", make)
    yield connect
    cloud_sql.api_answers.set()
    cloud_sql.door_answers.set()
    for engine in engines:
        engine.dispose()
    for one in made:
        one.close()
        end_loop(one._loop)
    # The limit for sockets of the connector is the process's.
    socket.setdefaulttimeout(None)
    # What the tests have cut off is collected here, not in a test that comes later.
    made.clear()
    gc.collect()


def end_loop(loop):
    loop.call_soon_threadsafe(loop.stop)
    while loop.is_running():
        time.sleep(0.01)
    loop.close()


@pytest.fixture
def engine(connect, environ):
    return connect(environ)


@pytest.fixture
def hasty(connect, environ):
    return connect(environ, SHORT)


def one(engine):
    with transaction(engine) as connection:
        return connection.execute(text("SELECT current_user")).scalar()


def refused(engine, kind):
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        one(engine)
    assert time.monotonic() - began < ENOUGH
    return str(caught.value)


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


def test_a_connection_is_limited_behind_the_connector_too(engine):
    with engine.connect() as connection:
        usock = connection.connection.dbapi_connection._usock

        assert usock.gettimeout() == DatabaseDeadlines().silence
        assert usock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert usock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        found = connection.execute(text("SHOW statement_timeout")).scalar()
    assert found == "6s"


def test_a_statement_that_is_never_answered_is_given_up(hasty, behind):
    with pytest.raises(DatabaseUnavailable), transaction(hasty) as connection:
        connection.execute(text("SELECT 1"))
        behind.silence_existing()
        connection.execute(text("SELECT 1"))

    assert one(hasty) == USER


def test_a_connection_that_fell_silent_while_idle_is_replaced(hasty, behind):
    one(hasty)
    behind.silence_existing()

    assert one(hasty) == USER


def test_a_database_that_is_silent_altogether_is_unavailable(hasty, behind):
    one(hasty)
    behind.silence_all()

    for _ in range(2):
        refused(hasty, DatabaseUnavailable)
    behind.speak()
    assert one(hasty) == USER


def test_a_tls_door_that_never_answers_is_given_up(connect, environ, cloud_sql):
    hasty = connect(environ | {"DATABASE_POOL": "3"}, SHORT)
    cloud_sql.door_answers.clear()
    waiting = [
        threading.Thread(target=refused, args=(hasty, DatabaseUnavailable))
        for _ in range(3)
    ]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join(ENOUGH)
    assert not any(thread.is_alive() for thread in waiting)

    # Those who came meanwhile are never answered.
    silent, cloud_sql.door_answers = cloud_sql.door_answers, threading.Event()
    cloud_sql.door_answers.set()
    assert one(hasty) == USER
    silent.set()


def test_an_admin_api_that_never_answers_is_given_up(hasty, cloud_sql):
    cloud_sql.api_answers.clear()

    refused(hasty, DatabaseUnavailable)
    cloud_sql.api_answers.set()
    assert one(hasty) == USER


@pytest.mark.parametrize(
    "refusal",
    [
        (429, "Too many requests"),
        (503, "The service is currently unavailable."),
        (403, "Quota exceeded for quota metric 'Queries'"),
    ],
)
def test_an_admin_api_that_is_busy_is_transient(hasty, cloud_sql, refusal):
    cloud_sql.refusal = refusal

    refused(hasty, DatabaseUnavailable)
    cloud_sql.refusal = None
    assert one(hasty) == USER


@pytest.mark.parametrize(
    ("refusal", "remedy"),
    [
        ((403, "boss::NOT_AUTHORIZED"), "roles/cloudsql.client"),
        ((403, "SQL Admin API has not been used"), "enable sqladmin.googleapis.com"),
        ((400, "Invalid request: not running"), "is running"),
        ((404, "The Cloud SQL instance does not exist."), "CLOUD_SQL_INSTANCE"),
    ],
)
def test_an_admin_api_that_refuses_names_the_remedy(engine, cloud_sql, refusal, remedy):
    cloud_sql.refusal = refusal

    reason = refused(engine, DatabaseMisconfigured)
    assert refusal[1] in reason
    assert remedy in reason
    # Once it is put right, the instance needs no restart.
    cloud_sql.refusal = None
    assert one(engine) == USER


def test_a_metadata_server_that_fails_is_transient(engine, credentials):
    credentials.has_metadata_server = False

    refused(engine, DatabaseUnavailable)
    credentials.has_metadata_server = True
    assert one(engine) == USER


@pytest.mark.parametrize(
    ("cloud", "kind", "said"),
    [
        ({}, DatabaseMisconfigured, "gcloud auth application-default login"),
        ({"K_SERVICE": "f"}, DatabaseUnavailable, "DefaultCredentialsError"),
    ],
)
def test_without_credentials_a_machine_needs_a_sign_in_and_the_cloud_needs_time(
    monkeypatch, environ, cloud, kind, said
):
    def make(**_):
        raise DefaultCredentialsError("Your default credentials were not found.")

    monkeypatch.setattr(connector, "Connector", make)
    environ.pop("K_SERVICE")
    way = OurCloudSql(DatabaseSettings.from_env(environ | cloud), {})

    with pytest.raises(kind, match=said):
        way.connect()
    end_loop(way._loop)
    socket.setdefaulttimeout(None)


def test_an_instance_without_a_private_address_is_told(engine, cloud_sql):
    cloud_sql.addresses = [{"type": "PRIMARY", "ipAddress": cloud_sql.address}]

    assert "private address" in refused(engine, DatabaseMisconfigured)


@pytest.mark.parametrize("name", ["pipeline", "demo-proj:europe-west1:pipeline"])
def test_a_wrong_name_of_the_instance_is_told(connect, environ, name):
    engine = connect(environ | {"CLOUD_SQL_INSTANCE": name})

    assert "project:region:instance" in refused(engine, DatabaseMisconfigured)


def test_an_account_that_is_no_user_is_told(connect, environ):
    engine = connect(environ | {"DATABASE_USER": "stranger@demo-proj.iam"})

    assert "IAM user" in refused(engine, DatabaseMisconfigured)


def test_a_value_that_cannot_be_sent_spoils_no_later_answer(engine):
    with pytest.raises(UnicodeError), transaction(engine) as connection:
        connection.execute(text("SELECT cast(:value AS text)"), {"value": "\ud800"})

    for number in range(11, 14):
        with transaction(engine) as connection:
            found = connection.execute(text(f"SELECT {number}")).scalar()
        assert found == number
