"""Alembic's entry: migrate the database that the functions' own settings name."""

from __future__ import annotations

from alembic import context
from sqlalchemy import inspect

from infra.seals import seal_what_is_there
from shared.database.engine import new_engine, transaction
from shared.settings import MIGRATION_DEADLINES, DatabaseSettings

# Two migrations at a time would fight; the number only has to be ours.
MIGRATION_LOCK = 7_305_930


def run() -> None:
    """Run the wanted migrations in one transaction, one process at a time."""
    engine = new_engine(DatabaseSettings.from_env(deadlines=MIGRATION_DEADLINES))
    with transaction(engine) as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
        context.configure(connection=connection)
        context.run_migrations()
    # Outside of that transaction: interrupted, it continues with the next migration.
    if inspect(engine).has_table("session_seals"):
        seal_what_is_there(engine)
    engine.dispose()


run()
