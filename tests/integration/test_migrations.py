from __future__ import annotations

import pytest
from sqlalchemy import inspect, text

from shared.database.engine import new_engine
from shared.settings import DatabaseSettings
from tests.support import ledger, servers

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


@pytest.mark.parametrize(("former", "migration"), [("0004", "0005"), ("0013", "0014")])
def test_the_ledger_is_the_same_before_and_after_its_migrations(
    postgres, former, migration
):
    """Up, down and up again, with runs in it."""
    url = postgres.create(f"ledger{migration}")
    engine = new_engine(DatabaseSettings(url=url))
    states = text("SELECT * FROM run_states ORDER BY run_id")

    def seen():
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(states)]

    servers.migrate(url, former)
    ledger.fill(engine, runs=40, stocks=10, days=1)
    with engine.begin() as connection:
        for change in CHANGES:
            connection.execute(text(change))
    before = seen()
    servers.migrate(url, migration)
    after = seen()
    servers.downgrade(url, former)
    again = seen()
    servers.migrate(url, migration)

    assert {row[8] for row in before} == STATES
    assert before == after == again == seen()
    engine.dispose()
    postgres.drop(f"ledger{migration}")


STATES = {"no session", "superseded", "running", "incomplete", "complete"}
CHANGES = (
    "DELETE FROM tasks WHERE run_id IN (md5('1'), md5('2'))",
    "UPDATE runs SET no_session = true WHERE message_id = '1'",
    "UPDATE runs SET superseded_by = md5('3') WHERE message_id = '2'",
    "UPDATE tasks SET state = 'done' WHERE state = 'dead' AND run_id <> md5('4')",
    "UPDATE tasks SET state = 'dead' WHERE run_id = md5('4')",
    "UPDATE tasks SET state = 'queued' WHERE run_id = md5('5') AND stock_code = '000001'",
    "UPDATE tasks SET state = 'no_data' WHERE run_id = md5('6')",
    "UPDATE tasks SET state = 'incomplete', missing = 2 WHERE run_id = md5('7')",
    "UPDATE tasks SET first_missing = '{2026-11-20}' WHERE run_id = md5('7')",
)


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


def test_a_calendar_that_was_loaded_before_keeps_its_span(postgres):
    url = postgres.create("spans")
    engine = new_engine(DatabaseSettings(url=url))
    servers.migrate(url, "0002")
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO market_sessions SELECT day, day + time '00:00',"
                " day + time '06:30', source FROM (VALUES"
                " (date '2025-01-02', 'repository'), ('2027-12-30', 'repository'),"
                " ('2028-01-03', 'operator')) AS t (day, source)"
            )
        )
    servers.migrate(url)

    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM calendar_state")).all()
    assert [tuple(map(str, row)) for row in rows] == [
        ("True", "2025-01-01", "2027-12-31", "0")
    ]
    engine.dispose()
    postgres.drop("spans")
