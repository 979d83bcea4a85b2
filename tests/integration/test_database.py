from __future__ import annotations

from datetime import datetime
from socket import IPPROTO_TCP, TCP_NODELAY

import pytest
from sqlalchemy import text

from infra.local.processes import free_port
from shared.database.engine import new_engine, transaction
from shared.database.stock_store import StockStore
from shared.errors import ConfigError, DatabaseUnavailable
from shared.settings import DatabaseSettings


def test_statements_are_sent_at_once(engine):
    with engine.connect() as connection:
        socket = connection.connection.dbapi_connection._usock

        assert socket.getsockopt(IPPROTO_TCP, TCP_NODELAY)


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
