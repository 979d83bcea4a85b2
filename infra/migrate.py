"""``make migrate``: bring the database up to date, and say who may do what in it.

It signs in as the functions do: by ``DATABASE_URL``, or through the Cloud SQL
connector with ``CLOUD_SQL_INSTANCE``, ``DATABASE_USER`` and ``DATABASE_NAME``.
``DATABASE_GRANTS`` says which accounts are to have each role, and afterwards no others
have it: ``collector=collector@my-project.iam,reader=me@example.com``. Tables, roles and
grants are one transaction.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from infra.database_rights import (
    FUNCTIONS,
    READER,
    ROLES,
    ROUTINES,
    in_database,
)
from shared.database.engine import new_engine, transaction
from shared.database.failures import MESSAGE, SQLSTATE, server_error
from shared.database.session_seals import seal_what_is_there
from shared.errors import ConfigError, PipelineError
from shared.settings import MIGRATION_DEADLINES, DatabaseSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Engine

INI = Path(__file__).parent / "migrations" / "alembic.ini"
# Two migrations at a time would fight; the number only has to be ours.
MIGRATION_LOCK = 7_305_930
# What the account that migrates is a member of in Cloud SQL. CREATEROLE is an attribute
# of this role, and attributes are not inherited, so a member has to act as it.
ADMINISTRATOR = "cloudsqlsuperuser"

IS_MEMBER = text("""
    SELECT 1 FROM pg_roles AS administrator
    JOIN pg_roles AS me ON me.rolname = session_user
    WHERE administrator.rolname = :administrator AND NOT me.rolsuper
      AND pg_has_role(me.oid, administrator.oid, 'MEMBER')
""")
OWNS_TABLES = text("""
    SELECT 1 FROM pg_class WHERE relnamespace = 'public'::regnamespace
    AND relowner = (SELECT oid FROM pg_roles WHERE rolname = session_user) LIMIT 1
""")
MAY_CREATE_ROLES = text("""
    SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user
""")
EXISTING = text("SELECT rolname FROM pg_roles WHERE rolname = ANY(:names)")
# Of our own tables and views; a candle is reached through its table, not its partition.
RELATIONS = text("""
    SELECT relnamespace::regnamespace || '.' || quote_ident(relname) FROM pg_class
    WHERE relnamespace IN ('public'::regnamespace, 'reader'::regnamespace)
      AND relkind IN ('r', 'p', 'v') AND NOT relispartition
      AND pg_has_role(current_user, relowner, 'USAGE')
    ORDER BY 1
""")
MEMBERS = text("""
    SELECT member.rolname FROM pg_auth_members AS membership
    JOIN pg_roles AS granted ON granted.oid = membership.roleid
    JOIN pg_roles AS member ON member.oid = membership.member
    WHERE granted.rolname = :role AND member.rolname <> current_user
""")
REMEDIES = {
    "28": "check user and password, or the account's IAM user in Cloud SQL",
    "3D": "create the database, or correct its name",
    "42501": (
        f"migrate as a member of {ADMINISTRATOR}, or as the owner of the database and "
        "of all its tables"
    ),
    "42P07": "something that is not of a migration is in the way: rename or drop it",
    "55P03": "a table is in use: pause the schedules, and migrate again",
}


@dataclass(frozen=True, slots=True)
class Grants:
    """The accounts that are to have each role."""

    accounts: Mapping[str, list[str]]

    @classmethod
    def parse(cls, written: str) -> Grants:
        """Read ``role=account`` pairs, separated by commas.

        Raises:
            ConfigError: If a pair is none, or names a role that does not exist.
        """
        accounts: dict[str, list[str]] = {role: [] for role in ROLES}
        for pair in filter(None, (part.strip() for part in written.split(","))):
            role, _, account = pair.partition("=")
            if role not in accounts or not account:
                message = (
                    f"DATABASE_GRANTS: {pair!r} must be role=account, with a role out "
                    f"of {', '.join(ROLES)}"
                )
                raise ConfigError(message)
            accounts[role].append(account)
        return cls(accounts)

    @property
    def is_empty(self) -> bool:
        """Whether no account is named at all: then the owner works alone."""
        return not any(self.accounts.values())


def main() -> int:
    """Migrate, then grant."""
    try:
        settings = DatabaseSettings.from_env(deadlines=MIGRATION_DEADLINES)
        migrate(settings, Grants.parse(os.environ.get("DATABASE_GRANTS", "")))
    except (PipelineError, DBAPIError, CommandError) as error:
        print(f"not migrated: {explained(error)}", file=sys.stderr)
        return 1
    print("the database is up to date")
    return 0


def migrate(settings: DatabaseSettings, grants: Grants) -> None:
    """Bring the database up to date and give each account its role, or do nothing.

    Raises:
        ConfigError: If an account does not exist, or this one may not create roles.
        DatabaseUnavailable: If PostgreSQL cannot be reached.
        DatabaseMisconfigured: If this account may not do it.
        CommandError: If the database is newer than these migrations.
    """
    engine = new_engine(settings)
    try:
        with transaction(engine) as connection:
            config = Config(str(INI))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            if not grants.is_empty:
                _create_roles(connection)
                _set_rights(connection)
                _set_members(connection, grants)
        finish(engine)
    finally:
        engine.dispose()


def prepare(connection: Connection) -> None:
    """Be the only migration, and Cloud SQL's administrator, for one transaction."""
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
    _act_as_administrator(connection)


def finish(engine: Engine) -> None:
    """What takes a transaction for each series; interrupted, it continues next time."""
    if inspect(engine).has_table("session_seals"):
        seal_what_is_there(engine)


def _act_as_administrator(connection: Connection) -> None:
    """Where the role exists, create as it what the account would own otherwise."""
    if not connection.execute(IS_MEMBER, {"administrator": ADMINISTRATOR}).scalar():
        return
    if connection.execute(OWNS_TABLES).scalar():
        # What an earlier version has created as the account itself.
        connection.exec_driver_sql(f"REASSIGN OWNED BY SESSION_USER TO {ADMINISTRATOR}")
    connection.exec_driver_sql(f"SET LOCAL ROLE {ADMINISTRATOR}")


def _create_roles(connection: Connection) -> None:
    names = [in_database(role) for role in ROLES]
    existing = set(connection.execute(EXISTING, {"names": names}).scalars())
    missing = [name for name in names if name not in existing]
    if missing and not connection.execute(MAY_CREATE_ROLES).scalar():
        message = (
            f"this account may not create the roles {', '.join(missing)}: migrate as a "
            f"member of {ADMINISTRATOR}, or as an account with CREATEROLE"
        )
        raise ConfigError(message)
    for name in missing:
        connection.exec_driver_sql(f"CREATE ROLE {name} NOLOGIN")


def _set_rights(connection: Connection) -> None:
    """Give each role exactly what the table says, whatever it had before."""
    everyone = ", ".join(in_database(role) for role in ROLES)
    relations = list(connection.execute(RELATIONS).scalars())
    ours = ", ".join(relations)
    quote = connection.dialect.identifier_preparer.quote_identifier
    database = quote(
        connection.exec_driver_sql("SELECT current_database()").scalar_one()
    )
    statements = [
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC",
        f"GRANT USAGE ON SCHEMA public TO {everyone}",
        f"GRANT USAGE ON SCHEMA reader TO {in_database(READER)}",
        f"REVOKE ALL ON {ours} FROM {everyone}",
        f"GRANT SELECT ON {ours} TO {in_database(READER)}",
    ]
    statements += [
        f"GRANT {rights} ON {table} TO {in_database(role)}"
        for role, tables in FUNCTIONS.items()
        for table, rights in tables.items()
    ]
    for routine, callers in ROUTINES.items():
        roles = ", ".join(in_database(role) for role in callers)
        statements += [
            f"REVOKE ALL ON FUNCTION {routine} FROM PUBLIC, {everyone}",
            f"GRANT EXECUTE ON FUNCTION {routine} TO {roles}",
        ]
    for statement in statements:
        connection.exec_driver_sql(statement)


def _set_members(connection: Connection, grants: Grants) -> None:
    """Let exactly the accounts that are named have each role."""
    named = sorted({each for accounts in grants.accounts.values() for each in accounts})
    existing = set(connection.execute(EXISTING, {"names": named}).scalars())
    if missing := [account for account in named if account not in existing]:
        message = (
            f"the database knows no account {', '.join(missing)}: create its IAM user "
            "with terraform apply, or correct DATABASE_GRANTS"
        )
        raise ConfigError(message)
    quote = connection.dialect.identifier_preparer.quote_identifier
    for role, accounts in grants.accounts.items():
        name = in_database(role)
        members = set(connection.execute(MEMBERS, {"role": name}).scalars())
        for account in sorted(members.difference(accounts)):
            connection.exec_driver_sql(f"REVOKE {name} FROM {quote(account)}")
        for account in accounts:
            connection.exec_driver_sql(f"GRANT {name} TO {quote(account)}")


def explained(error: Exception) -> str:
    """What went wrong and what to do about it, in a sentence."""
    if isinstance(error, CommandError):
        return (
            f"{error}: the database may have been migrated by a newer version; check "
            "that version out, and migrate from there"
        )
    cause = error if isinstance(error, DBAPIError) else error.__cause__
    fields = server_error(cause.orig) if isinstance(cause, DBAPIError) else None
    if fields is None:
        return str(error)
    state, said = fields.get(SQLSTATE, ""), fields.get(MESSAGE, "")
    for beginning, remedy in REMEDIES.items():
        if state.startswith(beginning):
            return f"PostgreSQL refused: {said}; {remedy}"
    return f"PostgreSQL refused: {said} (SQLSTATE {state}); nothing was changed"


if __name__ == "__main__":
    sys.exit(main())
