"""Alembic's entry: migrate in the transaction that is given, or in a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import context

from infra.migrate import finish, prepare
from shared.database.engine import new_engine, transaction
from shared.settings import MIGRATION_DEADLINES, DatabaseSettings

if TYPE_CHECKING:
    from sqlalchemy import Connection


def run(connection: Connection) -> None:
    """Run the wanted migrations."""
    prepare(connection)
    context.configure(connection=connection)
    context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    engine = new_engine(DatabaseSettings.from_env(deadlines=MIGRATION_DEADLINES))
    with transaction(engine) as own:
        run(own)
    finish(engine)
    engine.dispose()
