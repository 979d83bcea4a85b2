"""The engine: PostgreSQL by URL, or Cloud SQL through its connector."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from shared.database import trust
from shared.database.failures import translated
from shared.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

    from shared.settings import DatabaseSettings

DRIVER = "postgresql+pg8000"
RECYCLE_SECONDS = 1800
# A client that falls silent inside a transaction would hold its locks for hours.
ABANDONED_SECONDS = 30


def new_engine(settings: DatabaseSettings) -> Engine:
    """Build an engine; nothing is connected before the first query.

    Call it once a process, and never before the process is forked: the connector's
    thread does not survive that.

    Raises:
        ConfigError: If the URL is not one of PostgreSQL.
    """
    engine = _by_url(settings) if settings.url else _by_connector(settings)
    trust.watch(engine, settings.deadlines)
    # A connection that the server closed is replaced before it is used; SQLAlchemy
    # logs its harmless end as an error with a traceback.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    return engine


def _pool(settings: DatabaseSettings) -> dict[str, Any]:
    return {
        "pool_size": settings.pool_size,
        "max_overflow": 0,
        "pool_timeout": settings.deadlines.checkout,
        "pool_recycle": RECYCLE_SECONDS,
    }


def _startup(settings: DatabaseSettings) -> dict[str, str]:
    """What PostgreSQL is told as a session begins; times are in milliseconds."""
    deadlines = settings.deadlines
    limits = {
        "statement_timeout": deadlines.statement,
        "lock_timeout": deadlines.lock,
        "idle_in_transaction_session_timeout": ABANDONED_SECONDS,
    }
    told = {
        name: str(round(1000 * seconds))
        for name, seconds in limits.items()
        if seconds is not None
    }
    return told | (
        {"default_transaction_read_only": "on"} if settings.read_only else {}
    )


def _by_url(settings: DatabaseSettings) -> Engine:
    try:
        url = make_url(settings.url or "")
    except SQLAlchemyError:
        message = "DATABASE_URL is not a URL like postgresql://user:pass@host:5432/name"
        raise ConfigError(message) from None
    if url.get_backend_name() not in {"postgresql", "postgres"}:
        message = f"DATABASE_URL must be postgresql://…, not {url.drivername}://…"
        raise ConfigError(message)
    arguments: dict[str, Any] = {"ssl_context": _ssl(url.query.get("sslmode"))}
    arguments["application_name"] = settings.service
    arguments["startup_params"] = _startup(settings)
    arguments["timeout"] = settings.deadlines.connect
    socket = url.query.get("host")
    if isinstance(socket, str) and socket.startswith("/"):
        arguments["unix_sock"] = f"{socket}/.s.PGSQL.{url.port or 5432}"
    url = url.set(drivername=DRIVER, query={})
    return create_engine(url, connect_args=arguments, **_pool(settings))


def _ssl(mode: object) -> bool | Any:  # noqa: ANN401 - pg8000 takes False or a context
    """What pg8000 wants for libpq's ``sslmode``.

    Its own default reads the system's certificates at every connect (25 ms).
    """
    if mode in {None, "disable", "allow", "prefer"}:
        return False
    import ssl  # noqa: PLC0415 - only where a URL asks for it

    context = ssl.create_default_context()
    if mode != "verify-full":
        context.check_hostname = False
    if mode == "require":
        context.verify_mode = ssl.CERT_NONE
    return context


def _by_connector(settings: DatabaseSettings) -> Engine:
    # Imported here: 53 MB that a function given a URL never needs.
    from shared.database.cloud_sql import CloudSql  # noqa: PLC0415

    cloud_sql = CloudSql(settings, _startup(settings))
    return create_engine(f"{DRIVER}://", creator=cloud_sql.connect, **_pool(settings))


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """One transaction, committed at the end.

    Raises:
        DatabaseUnavailable: If PostgreSQL cannot be reached or gave up for a reason
            that passes.
        DatabaseMisconfigured: If it let us in no further than this account may go.
    """
    with translated(), engine.begin() as connection:
        yield connection
