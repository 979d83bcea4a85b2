"""Cloud SQL: a connection through its connector, within a deadline.

The connector opens sockets and does TLS in the thread of its event loop, where it waits
without a limit of its own, and with it everyone who wants a connection.
"""

from __future__ import annotations

import asyncio
import socket
import time
from http import HTTPStatus
from threading import Thread
from typing import TYPE_CHECKING, Any

import aiohttp
from google.auth import exceptions as auth
from google.cloud.sql import connector
from google.cloud.sql.connector.exceptions import (
    AutoIAMAuthNotSupported,
    CloudSQLIPTypeError,
    IncompatibleDriverError,
)

from shared.errors import DatabaseMisconfigured, DatabaseUnavailable, PipelineError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.settings import DatabaseSettings

# Answers of the Admin API after which waiting helps, beside server errors.
PASSING_STATUSES = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_MANY_REQUESTS,
)
# An older way of the Admin API to say 429.
QUOTA = ("quota", "rate limit")
PASSING = (auth.GoogleAuthError, aiohttp.ClientError, OSError)
LOG_IN = "run gcloud auth application-default login, or set DATABASE_URL"


class CloudSql:
    """Opens connections to one instance, as the account that the process has."""

    def __init__(self, settings: DatabaseSettings, startup: Mapping[str, str]) -> None:
        """Open with the ``startup`` parameters of PostgreSQL; nothing is opened yet."""
        self._instance = settings.instance or ""
        self._seconds = settings.deadlines.connect
        # There, no credentials means no answer of the metadata server.
        self._on_cloud_run = settings.on_cloud_run
        self._arguments = {
            "user": settings.user,
            "db": settings.name,
            "application_name": settings.service,
            "startup_params": dict(startup),
            "enable_iam_auth": True,
            # The connector has done TLS already, hence no context of pg8000's own.
            "ssl_context": False,
        }
        self._connector: Any = None
        # The only way to limit sockets that the connector opens. Everything else that
        # we use sets its own limit.
        socket.setdefaulttimeout(self._seconds)
        self._loop = asyncio.new_event_loop()
        name = "cloud-sql"
        Thread(target=self._loop.run_forever, name=name, daemon=True).start()

    def connect(self) -> Any:  # noqa: ANN401 - pg8000 has no types
        """Open a connection.

        Raises:
            DatabaseUnavailable: If that takes too long, or something on the way is not
                available.
            DatabaseMisconfigured: If the account, the instance or its API is not what
                it has to be; the text names the remedy.
        """
        deadline = time.monotonic() + self._seconds
        opening = asyncio.run_coroutine_threadsafe(self._open(deadline), self._loop)
        try:
            return opening.result(self._seconds)
        except Exception as error:
            foreseen = self._foreseen(error)
            if foreseen is None:
                raise
            raise foreseen from error
        finally:
            opening.cancel()

    async def _open(self, deadline: float) -> Any:  # noqa: ANN401
        # While another attempt held the loop up, the caller has gone.
        if time.monotonic() >= deadline:
            raise TimeoutError
        if self._connector is None:
            self._connector = connector.Connector(
                loop=self._loop, refresh_strategy="lazy", ip_type="private"
            )
        return await self._connector.connect_async(
            self._instance, "pg8000", **self._arguments
        )

    def _foreseen(self, error: Exception) -> PipelineError | None:
        if isinstance(error, aiohttp.ClientResponseError):
            return self._answered(error.status, error.message)
        kind = type(error).__name__
        remedy = self._remedy(error)
        if remedy:
            return DatabaseMisconfigured(f"no way to Cloud SQL: {error}", remedy)
        if isinstance(error, TimeoutError):
            kind = f"after {self._seconds:g} s"
        if isinstance(error, PASSING):
            return DatabaseUnavailable(f"Cloud SQL cannot be reached ({kind})")
        return None

    def _remedy(self, error: Exception) -> str | None:
        """What an operator does about an error; None where waiting helps."""
        match error:
            case auth.DefaultCredentialsError():
                return None if self._on_cloud_run else LOG_IN
            case auth.RefreshError() if "invalid_grant" in str(error):
                return LOG_IN
            case CloudSQLIPTypeError():
                return "give it a private address in the network of the functions"
            case AutoIAMAuthNotSupported() | IncompatibleDriverError():
                return "CLOUD_SQL_INSTANCE must name a PostgreSQL instance"
            case ValueError() if not isinstance(error, UnicodeError):
                return "CLOUD_SQL_INSTANCE must be project:region:instance"
        return None

    def _answered(self, status: int, message: str) -> PipelineError:
        """What an error of the Admin API means."""
        said = f"the Cloud SQL Admin API answered {status}: {message}"
        is_quota = any(word in message.lower() for word in QUOTA)
        is_server_error = status >= HTTPStatus.INTERNAL_SERVER_ERROR
        if is_server_error or is_quota or status in PASSING_STATUSES:
            return DatabaseUnavailable(said)
        if status == HTTPStatus.NOT_FOUND:
            remedy = f"correct CLOUD_SQL_INSTANCE, or create {self._instance}"
        else:
            remedy = (
                "grant the service account roles/cloudsql.client and"
                " roles/cloudsql.instanceUser, enable sqladmin.googleapis.com, and see"
                f" whether {self._instance} is running"
            )
        return DatabaseMisconfigured(said, remedy)
