"""The reader on a database with a small market in it; pandas and Arrow are needed."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import count

import pytest

from shared.database.engine import new_engine, transaction
from shared.settings import DatabaseSettings
from tests.support import seeded_market, servers
from tests.support.builders import kst

# make test runs these in an environment of their own, which has what they need.
collect_ignore_glob = [] if find_spec("adbc_driver_postgresql") else ["test_*.py"]

STOCKS = {"000200": "이백", "000660": "SK하이닉스", "005930": "삼성전자"}
# A Saturday morning, after the tick that settles Friday.
NOW = kst("2026-11-21 10:00")


@pytest.fixture(scope="session")
def postgres():
    with servers.postgres() as server:
        url = server.create("market")
        servers.migrate(url)
        seeded_market.write(url, STOCKS, "5m", "2026-09-01", "2026-11-20")
        seeded_market.write(url, STOCKS, "60m", "2026-11-02", "2026-11-20")
        days = ("2025-11-03", "2026-11-20")
        seeded_market.write(url, STOCKS, "1d", *days, turnover=1_000_000)
        seeded_market.write(url, STOCKS, "1w", "2025-11-03", "2026-11-20", turnover=5)
        yield server


@pytest.fixture(scope="session")
def _names():
    return count()


@pytest.fixture(scope="session")
def market(postgres):
    """The URL of a market that no test changes."""
    return postgres.url("market")


@pytest.fixture
def a_market(postgres, _names):
    """The URL of a market of this test's own, to be spoilt."""
    name = f"market_{next(_names)}"
    yield postgres.create(name, template="market")
    postgres.drop(name)


@pytest.fixture
def execute(a_market):
    """Changes the test's own market behind the pipeline's back."""
    engine = new_engine(DatabaseSettings(url=a_market))

    def execute(statement):
        with transaction(engine) as connection:
            return connection.exec_driver_sql(statement).rowcount

    yield execute
    engine.dispose()


@pytest.fixture
def store(a_market, execute):
    """Changes the test's own market as the pipeline would: seals are those of it."""
    engine = new_engine(DatabaseSettings(url=a_market))

    def store(statement):
        changed = execute(statement)
        with transaction(engine) as connection:
            seeded_market.seal_again(connection)
        return changed

    yield store
    engine.dispose()


@pytest.fixture(autouse=True)
def at(monkeypatch, tmp_path):
    """Sets the clock of the reader; no stack of this machine is found."""
    monkeypatch.delenv("TRADESMART_SOURCE", raising=False)
    monkeypatch.setenv("LOCAL_DIRECTORY", str(tmp_path / "nothing"))

    def at(instant):
        moment = kst(instant) if isinstance(instant, str) else instant
        monkeypatch.setattr("tradesmart.source.clock", lambda: moment)

    at(NOW)
    return at
