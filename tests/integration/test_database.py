from __future__ import annotations

import gc
import socket
import time
from datetime import datetime
from threading import Thread

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from infra.local.processes import free_port
from shared.database.engine import new_engine, transaction
from shared.database.stock_store import StockStore
from shared.errors import ConfigError, DatabaseMisconfigured, DatabaseUnavailable
from shared.sessions import KST
from shared.settings import (
    MIGRATION_DEADLINES,
    DatabaseDeadlines,
    DatabaseSettings,
)
from tests.support.silent_proxy import SilentProxy

# Like those of production, but for a test that waits.
SHORT = DatabaseDeadlines(
    checkout=0.5, connect=0.5, ping=0.3, statement=0.6, lock=0.3, silence=1.6
)
ENOUGH = 3.0


@pytest.fixture
def proxy(postgres):
    proxy = SilentProxy(postgres.port)
    yield proxy
    proxy.stop()


@pytest.fixture
def through(proxy, database_url, postgres):
    """An engine with one connection, whose way to PostgreSQL may fall silent."""
    url = database_url.replace(f":{postgres.port}/", f":{proxy.port}/")
    engine = new_engine(DatabaseSettings(url=url, deadlines=SHORT))
    yield engine
    engine.dispose()


def one(engine, statement="SELECT 1"):
    with transaction(engine) as connection:
        return connection.execute(text(statement)).scalar()


def unavailable(engine, statement="SELECT 1"):
    """The reason, which comes soon."""
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable) as caught:
        one(engine, statement)
    assert time.monotonic() - began < ENOUGH
    return str(caught.value)


def test_statements_are_sent_at_once(engine):
    with engine.connect() as connection:
        usock = connection.connection.dbapi_connection._usock

        assert usock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_network_that_is_gone_is_noticed_by_the_kernel_too(engine):
    with engine.connect() as connection:
        usock = connection.connection.dbapi_connection._usock

        assert usock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            tcp = socket.IPPROTO_TCP
            assert usock.getsockopt(tcp, socket.TCP_USER_TIMEOUT) == 30_000


def test_a_frozen_database_ends_work_within_fifteen_seconds():
    known = DatabaseDeadlines()

    # Work that is cut off is recorded, which takes another connection.
    assert known.silence + known.checkout + known.connect <= 15
    assert known.checkout + known.ping + known.connect <= 15
    # PostgreSQL itself is the first to give up, and says which statement it was.
    assert known.lock < known.statement < known.silence


def test_a_statement_on_a_silent_connection_is_given_up(through, proxy):
    with pytest.raises(DatabaseUnavailable), transaction(through) as connection:
        connection.execute(text("SELECT 1"))
        proxy.silence_existing()
        connection.execute(text("SELECT 1"))

    assert one(through) == 1


def test_a_large_statement_that_no_one_takes_is_given_up(through, proxy):
    large = "SELECT length('" + "x" * 20_000_000 + "')"
    one(through)
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable), transaction(through) as connection:
        connection.execute(text("SELECT 1"))
        proxy.silence_existing()
        connection.exec_driver_sql(large)

    # A farewell would have waited as long again.
    assert time.monotonic() - began < ENOUGH
    assert one(through) == 1


def test_a_connection_that_fell_silent_while_idle_is_replaced(through, proxy):
    one(through)
    proxy.silence_existing()

    assert one(through) == 1
    assert proxy.opened == 2


def test_a_database_that_is_silent_altogether_is_unavailable(through, proxy):
    one(through)
    proxy.silence_all()

    for _ in range(2):
        unavailable(through)
    proxy.speak()
    assert one(through) == 1


# pg8000 leaves a socket without TLS to the collector.
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)
def test_tls_that_is_never_answered_is_given_up(postgres, proxy):
    proxy.silence_all()
    url = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres?sslmode=require"
    engine = new_engine(DatabaseSettings(url=url, deadlines=SHORT))

    unavailable(engine)
    engine.dispose()
    gc.collect()


def test_a_place_is_free_again_after_a_connection_fell_silent(through, proxy):
    """The only place of the pool, while other threads wait for it."""
    one(through)
    proxy.silence_all()
    threads = [Thread(target=unavailable, args=[through]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    proxy.speak()

    assert one(through) == 1


def test_a_statement_that_takes_too_long_is_cancelled_by_the_server(through):
    assert "statement timeout" in unavailable(through, "SELECT pg_sleep(5)")
    assert one(through) == 1


def test_a_lock_that_is_not_granted_is_no_long_wait(engine, through):
    with transaction(engine) as connection:
        connection.execute(text("LOCK TABLE rate_slots"))

        assert "lock timeout" in unavailable(through, "SELECT count(*) FROM rate_slots")
    assert one(through, "SELECT count(*) FROM rate_slots") == 0


def test_a_client_that_falls_silent_does_not_keep_its_locks(engine):
    found = one(engine, "SHOW idle_in_transaction_session_timeout")

    assert found == "30s"


def test_a_migration_may_take_its_time(database_url):
    settings = DatabaseSettings.from_env(
        {"DATABASE_URL": database_url}, deadlines=MIGRATION_DEADLINES
    )
    engine = new_engine(settings)

    assert one(engine, "SHOW statement_timeout") == "0"
    assert one(engine, "SHOW lock_timeout") == "30s"
    with engine.connect() as connection:
        usock = connection.connection.dbapi_connection._usock
        assert usock.gettimeout() is None
    engine.dispose()


UNSENDABLE = ["\ud800", datetime.min.replace(tzinfo=KST)]


@pytest.mark.parametrize("value", UNSENDABLE)
def test_a_value_that_cannot_be_sent_spoils_no_later_answer(database_url, value):
    """pg8000 leaves answers unread that later statements would take for theirs."""
    engine = new_engine(DatabaseSettings(url=database_url))
    with (
        pytest.raises((UnicodeError, OverflowError)),
        transaction(engine) as connection,
    ):
        connection.execute(text("SELECT cast(:value AS text)"), {"value": value})

    assert [one(engine, f"SELECT {n}") for n in range(11, 16)] == [11, 12, 13, 14, 15]
    engine.dispose()


def test_a_value_that_cannot_be_sent_ends_its_transaction(engine):
    """Even where the error is caught, the connection answers nothing any more."""
    with pytest.raises(PendingRollbackError), transaction(engine) as connection:
        with pytest.raises(UnicodeError):
            connection.execute(text("SELECT cast(:v AS text)"), {"v": "\ud800"})
        connection.execute(text("SELECT 11"))


def test_the_ping_believes_no_answer_but_its_own(database_url):
    engine = new_engine(DatabaseSettings(url=database_url))
    with transaction(engine) as connection:
        driver = connection.connection.dbapi_connection
    # An answer that is left unread, as nothing of ours leaves it.
    driver.send_QUERY("SELECT 1")
    driver._sock.flush()

    assert [one(engine, f"SELECT {n}") for n in (11, 12)] == [11, 12]
    engine.dispose()


def test_an_error_of_the_servers_keeps_the_connection(engine):
    pids = set()
    for _ in range(2):
        pids.add(one(engine, "SELECT pg_backend_pid()"))
        with pytest.raises(DBAPIError):
            one(engine, "SELECT 1/0")
    assert len(pids) == 1


@pytest.mark.parametrize(
    ("user", "name", "remedy"),
    [
        ("no_one", "postgres", "check user and password"),
        ("postgres", "no_such_database", "create the database, or correct its name"),
    ],
)
def test_a_sign_in_that_is_refused_names_its_remedy(postgres, user, name, remedy):
    owner = postgres.url("postgres").partition("//")[2].partition("@")[0]
    user = owner if user == "postgres" else user
    url = f"postgresql://{user}@127.0.0.1:{postgres.port}/{name}"
    engine = new_engine(DatabaseSettings(url=url))

    with pytest.raises(DatabaseMisconfigured, match=remedy) as caught:
        one(engine)
    assert caught.value.remedy in str(caught.value)
    engine.dispose()


def test_a_single_statement_is_kept(engine):
    """The pool's ping must not leave a transaction open that is then thrown away."""
    for _ in range(2):
        with transaction(engine) as connection:
            connection.execute(
                text(
                    "INSERT INTO rate_slots VALUES ('k', gen_random_uuid()::text, now())"
                )
            )

    with transaction(engine) as connection:
        count = connection.execute(text("SELECT count(*) FROM rate_slots")).scalar()
    assert count == 2


def test_the_pool_has_no_more_connections_than_it_was_given(database_url):
    engine = new_engine(DatabaseSettings(url=database_url, pool_size=3))

    assert (engine.pool.size(), engine.pool._max_overflow) == (3, 0)
    engine.dispose()


def test_a_server_that_is_away_is_transient():
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    engine = new_engine(DatabaseSettings(url=url))

    with pytest.raises(DatabaseUnavailable), transaction(engine):
        pytest.fail("connected to nothing")


def test_a_connection_that_the_server_closed_is_replaced(engine, postgres):
    with transaction(engine) as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar()
    other = new_engine(DatabaseSettings(url=postgres.url("postgres")))
    with transaction(other) as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    other.dispose()

    with transaction(engine) as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1


def test_a_mistake_in_a_statement_is_not_transient(engine):
    with (
        pytest.raises(Exception, match="nothing_there"),
        transaction(engine) as connection,
    ):
        connection.execute(text("SELECT * FROM nothing_there"))


@pytest.mark.parametrize(
    "url",
    ["postgres://{}", "postgresql://{}", "postgresql+pg8000://{}?sslmode=disable"],
)
def test_every_spelling_of_a_url_is_understood(database_url, url):
    rest = database_url.partition("://")[2]
    engine = new_engine(DatabaseSettings(url=url.format(rest)))

    with transaction(engine) as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    engine.dispose()


@pytest.mark.parametrize("url", ["mysql://u@h/d", "nonsense"])
def test_a_wrong_url_is_named_and_not_repeated(url):
    with pytest.raises(ConfigError, match="DATABASE_URL"):
        new_engine(DatabaseSettings(url=url))


def test_the_targets_are_thirty_and_one_is_delisted(engine, reference_data):
    stocks = StockStore(engine)

    assert len(stocks.targets()) == 30
    assert set(stocks.targets()) - set(stocks.listed()) == {"091990"}


def test_the_queries_that_users_know_work(engine, reference_data):
    with transaction(engine) as connection:
        count = connection.execute(text("SELECT COUNT(*) FROM stocks")).scalar()
        markets = connection.execute(
            text("SELECT market_name, COUNT(*) FROM stocks GROUP BY market_name")
        ).all()
        row = connection.execute(
            text(
                "SELECT stock_code, stock_name, market_code, market_name"
                " FROM stocks WHERE stock_code = '005930'"
            )
        ).one()

    assert count == 30
    assert dict(map(tuple, markets)) == {"거래소": 20, "코스닥": 10}
    assert tuple(row) == ("005930", "삼성전자", "0", "거래소")


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-20 10:30:00+09",
        "2026-11-20 10:30:00.5+00",
        "2026-11-20 10:30:00.123456-03:30",
        "0044-03-15 12:00:00+00",
    ],
)
def test_instants_and_dates_come_back_as_they_were(engine, written):
    with transaction(engine) as connection:
        instant, day = connection.execute(
            text("SELECT cast(:w AS timestamptz), cast(:w AS timestamptz)::date"),
            {"w": written},
        ).one()

    assert instant == datetime.fromisoformat(written)
    assert day == instant.date()
