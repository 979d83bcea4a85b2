"""``make migrate``: bring the database up to date, and say who may do what in it.

It signs in as the functions do: by ``DATABASE_URL``, or through the Cloud SQL
connector with ``CLOUD_SQL_INSTANCE``, ``DATABASE_USER`` and ``DATABASE_NAME``.
``DATABASE_WRITERS`` and ``DATABASE_READERS`` are accounts, separated by commas, that
are given a role.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config

from shared.database.engine import new_engine, transaction
from shared.errors import PipelineError
from shared.settings import MIGRATION_DEADLINES, DatabaseSettings

if TYPE_CHECKING:
    from sqlalchemy import Connection

INI = Path(__file__).parent / "migrations" / "alembic.ini"
READER, WRITER = "pipeline_reader", "pipeline_writer"
CREATE_ROLE = """
    DO $$ BEGIN CREATE ROLE {role} NOLOGIN;
    EXCEPTION WHEN duplicate_object THEN NULL; END $$
"""
# Only the migrator creates tables; what a later migration adds is granted by it.
RIGHTS = (
    "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    f"GRANT USAGE ON SCHEMA public TO {READER}, {WRITER}",
    f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER}, {WRITER}",
    f"GRANT USAGE ON SCHEMA reader TO {READER}",
    f"GRANT SELECT ON ALL TABLES IN SCHEMA reader TO {READER}",
    f"GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {WRITER}",
    f"REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM {WRITER}",
)


def main() -> int:
    """Migrate, then grant."""
    try:
        command.upgrade(Config(str(INI)), "head")
        grant(_accounts("DATABASE_WRITERS"), _accounts("DATABASE_READERS"))
    except PipelineError as error:
        print(f"not migrated: {error}", file=sys.stderr)
        return 1
    print("the database is up to date")
    return 0


def grant(writers: list[str], readers: list[str]) -> None:
    """Give each account its role; without accounts, the owner works alone.

    Raises:
        DatabaseUnavailable: If PostgreSQL cannot be reached.
    """
    if not writers and not readers:
        return
    engine = new_engine(DatabaseSettings.from_env(deadlines=MIGRATION_DEADLINES))
    with transaction(engine) as connection:
        for role in (READER, WRITER):
            connection.exec_driver_sql(CREATE_ROLE.format(role=role))
        for right in RIGHTS:
            connection.exec_driver_sql(right)
        _give(connection, WRITER, writers)
        _give(connection, READER, readers)
    engine.dispose()


def _give(connection: Connection, role: str, accounts: list[str]) -> None:
    quote = connection.dialect.identifier_preparer.quote_identifier
    for account in accounts:
        connection.exec_driver_sql(f"GRANT {role} TO {quote(account)}")


def _accounts(name: str) -> list[str]:
    listed = os.environ.get(name, "").split(",")
    return [account.strip() for account in listed if account.strip()]


if __name__ == "__main__":
    sys.exit(main())
