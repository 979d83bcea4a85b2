"""Rows of the tables, written as they are wanted."""

from __future__ import annotations

import json

from sqlalchemy import text

from shared.database.engine import transaction


def execute(engine, statement, **values):
    with transaction(engine) as connection:
        return connection.execute(text(statement), values)


def insert(engine, table, *rows):
    """Each row has the columns of the first one; all others are as by default."""
    names = ", ".join(rows[0])
    execute(
        engine,
        f"INSERT INTO {table} ({names}) SELECT {names}"
        f" FROM jsonb_populate_recordset(NULL::{table}, cast(:rows AS jsonb))",
        rows=json.dumps(rows, default=str),
    )
