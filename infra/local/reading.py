"""The database of the running stack, for commands that only look at it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dotenv import dotenv_values

from infra.local.announcement import ROOT, NotRunning, running
from shared.database.engine import new_engine
from shared.settings import DatabaseSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from infra.local.announcement import Announcement


@contextmanager
def open_stack() -> Iterator[tuple[Announcement, Engine]]:
    """The running stack, and its database.

    Raises:
        NotRunning: If there is none, or its database is not known here.
    """
    stack = running()
    url = stack.database_url or os.environ.get("DATABASE_URL")
    url = url or dotenv_values(ROOT / ".env").get("DATABASE_URL")
    if not url:
        message = "the stack uses your own database: give its DATABASE_URL here too"
        raise NotRunning(message)
    engine = new_engine(DatabaseSettings(url=url))
    try:
        yield stack, engine
    finally:
        engine.dispose()
