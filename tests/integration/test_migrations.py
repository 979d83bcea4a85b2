from __future__ import annotations

from sqlalchemy import inspect, text

from shared.database.engine import new_engine
from shared.settings import DatabaseSettings
from tests.support import servers

TABLES = {
    "stocks",
    "market_sessions",
    "candles",
    "series",
    "runs",
    "tasks",
    "rate_slots",
    "quarantine",
    "revisions",
}


def test_an_empty_database_can_be_migrated_up_and_down_again(postgres):
    url = postgres.create("migrations")
    engine = new_engine(DatabaseSettings(url=url))

    servers.migrate(url)
    assert set(inspect(engine).get_table_names()) >= TABLES
    servers.migrate(url)
    servers.migrate(url, "base")
    left = set(inspect(engine).get_table_names()) - {"alembic_version"}

    assert left == set()
    engine.dispose()
    postgres.drop("migrations")


def test_candles_are_partitioned_by_timeframe(engine):
    partitions = text(
        "SELECT inhrelid::regclass::text FROM pg_inherits"
        " WHERE inhparent = 'candles'::regclass ORDER BY 1"
    )
    with engine.connect() as connection:
        names = connection.execute(partitions).scalars().all()

    assert names == [
        "candles_1d",
        "candles_1w",
        "candles_30m",
        "candles_5m",
        "candles_60m",
    ]
