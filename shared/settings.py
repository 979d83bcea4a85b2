"""Settings: what each part of a function reads from its environment.

Every class reads only what its part needs, names every missing or wrong variable at
once, and never shows a secret. No other module reads the environment.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from shared.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

REAL_URL = "https://api.kiwoom.com"
MOCK_URL = "https://mockapi.kiwoom.com"
# The broker allows 5 requests/s for each app key and call, 1/s on the mock host; we
# stay below, since a request may arrive a little earlier than it was meant to.
REQUESTS_PER_SECOND = {"real": 4.0, "mock": 0.9}
MARKET = "market"
PRICES = (MARKET, "simulated", "recorded")


class _Reader:
    """Reads variables and remembers what was wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._problems: list[str] = []

    def text(self, name: str, default: str | None = None) -> str:
        value = self._environ.get(name) or default
        if value is None:
            self._problems.append(f"{name} is missing")
        return value or ""

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        value = self.text(name, default)
        if value not in choices:
            self._problems.append(f"{name} must be {' or '.join(choices)}")
        return value

    def number(self, name: str, default: float) -> float:
        value = self.text(name, str(default))
        try:
            return float(value)
        except ValueError:
            self._problems.append(f"{name} must be a number, not {value!r}")
            return default

    def check(self) -> None:
        if self._problems:
            raise ConfigError("; ".join(self._problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSettings:
    """How far ahead of the system's clock the pipeline lives."""

    offset: timedelta = timedelta()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read ``CLOCK_OFFSET_SECONDS``; on Cloud Run it is ignored."""
        if "K_SERVICE" in environ:
            return cls()
        read = _Reader(environ)
        offset = read.number("CLOCK_OFFSET_SECONDS", 0)
        read.check()
        return cls(offset=timedelta(seconds=offset))


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSettings:
    """Whose prices are collected: the market's, or made-up ones."""

    source: str = MARKET

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read ``PRICES``: ``market``, ``simulated`` or ``recorded``."""
        read = _Reader(environ)
        source = read.choice("PRICES", PRICES, MARKET)
        read.check()
        return cls(source=source)


@dataclass(frozen=True, slots=True)
class ScheduledTrigger:
    """A schedule that publishes ``payload`` to the topic of triggers."""

    cron: str
    payload: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSettings:
    """The schedules that fire triggers; none while they are paused."""

    schedules: tuple[ScheduledTrigger, ...] = ()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read ``SCHEDULES``: a JSON list of objects with ``cron`` and ``payload``."""
        try:
            found = json.loads(environ.get("SCHEDULES") or "[]")
            schedules = tuple(
                ScheduledTrigger(str(each["cron"]), dict(each["payload"]))
                for each in found
            )
        except (ValueError, TypeError, KeyError):
            message = "SCHEDULES must be a JSON list of objects with cron and payload"
            raise ConfigError(message) from None
        return cls(schedules=schedules)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """Where log lines belong, and whether they are text for people.

    The times in text are those of a clock that runs ``clock_offset`` ahead.
    """

    project: str
    service: str
    is_text: bool = False
    clock_offset: timedelta = timedelta()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read ``GOOGLE_CLOUD_PROJECT``, the service's name and ``LOG_FORMAT``."""
        read = _Reader(environ)
        project = read.text("GOOGLE_CLOUD_PROJECT")
        service = read.text("K_SERVICE", environ.get("FUNCTION_NAME") or "function")
        log_format = read.choice("LOG_FORMAT", ("json", "text"), "json")
        read.check()
        return cls(
            project=project,
            service=service,
            is_text=log_format == "text",
            clock_offset=ClockSettings.from_env(environ).offset,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KiwoomSettings:
    """Which of the broker's hosts to use, and how fast."""

    base_url: str
    requests_per_second: float | None
    # As many requests are sent at a time as messages are served.
    at_once: int = 1

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read ``KIWOOM_MODE``, ``KIWOOM_BASE_URL``, ``KIWOOM_RATE``, ``THREADS``."""
        read = _Reader(environ)
        mode = read.choice("KIWOOM_MODE", ("real", "mock"), "real")
        base_url = read.text(
            "KIWOOM_BASE_URL", MOCK_URL if mode == "mock" else REAL_URL
        )
        rate = read.choice("KIWOOM_RATE", ("on", "off"), "on")
        at_once = max(1, int(read.number("THREADS", 1)))
        read.check()
        limited = rate == "on"
        return cls(
            base_url=base_url.rstrip("/"),
            requests_per_second=REQUESTS_PER_SECOND[mode] if limited else None,
            at_once=at_once,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSettings:
    """Where secrets are stored and under which names."""

    project: str
    emulator_host: str | None
    app_key: str = "kiwoom-app-key"
    secret_key: str = "kiwoom-secret-key"  # noqa: S105 - the secret's name
    token: str = "kiwoom-token"  # noqa: S105 - the secret's name

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the project, and ``SECRET_MANAGER_EMULATOR_HOST`` when it is local."""
        read = _Reader(environ)
        project = read.text("GOOGLE_CLOUD_PROJECT")
        read.check()
        host = environ.get("SECRET_MANAGER_EMULATOR_HOST") or None
        return cls(project=project, emulator_host=host)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSettings:
    """How long the refresher waits at most before it replaces a contested token."""

    longest_turn: timedelta

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read ``TOKEN_TURN_SECONDS``."""
        read = _Reader(environ)
        seconds = read.number("TOKEN_TURN_SECONDS", 300)
        read.check()
        return cls(longest_turn=timedelta(seconds=seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class PubSubSettings:
    """Where messages are published, and how tasks are attempted.

    A task may fail ``max_attempts`` times; an attempt that does not renew its lease for
    ``lease_seconds`` is taken for dead.
    """

    project: str
    dead_letter_topic: str
    token_topic: str
    max_attempts: int = 5
    lease_seconds: float = 120.0
    # Pub/Sub never uses an id twice; an emulator does, whenever it is restarted.
    message_id_scope: str = ""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the project and the names of the topics."""
        read = _Reader(environ)
        settings = cls(
            project=read.text("GOOGLE_CLOUD_PROJECT"),
            dead_letter_topic=read.text("DEAD_LETTER_TOPIC", "dead-letters"),
            token_topic=read.text("TOKEN_TOPIC", "tokens"),
            max_attempts=int(read.number("MAX_ATTEMPTS", 5)),
            # Longer than the longest wait for a slot and the request after it.
            lease_seconds=read.number("LEASE_SECONDS", 120),
            message_id_scope=environ.get("MESSAGE_ID_SCOPE", ""),
        )
        read.check()
        return settings


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorSettings:
    """How many tasks an instance works on; the others that it was given wait."""

    most_active: int

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read ``MOST_ACTIVE``; without it, all of ``THREADS``."""
        read = _Reader(environ)
        most = read.number("MOST_ACTIVE", read.number("THREADS", 1))
        read.check()
        return cls(most_active=max(1, int(most)))


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseDeadlines:
    """How many seconds everything at the database may take; None is no limit.

    A frozen database ends work after ``silence``, and recording that after ``checkout``
    and ``connect``: 15 s together. docs/decisions/0018 tells how they were chosen.

    Attributes:
        checkout: Waiting for a connection of the pool.
        connect: Opening one: the Cloud SQL Admin API, TLS and sign-in.
        ping: The answer that shows that a connection is still good.
        statement: One statement; PostgreSQL cancels it.
        lock: Waiting for one lock; PostgreSQL cancels the statement.
        silence: Waiting for the next bytes; longer than a statement.
    """

    checkout: float = 4.0
    connect: float = 4.0
    ping: float = 2.0
    statement: float | None = 6.0
    lock: float | None = 3.0
    silence: float | None = 7.0


# A migration may rewrite a table, and an operator is watching it.
MIGRATION_DEADLINES = DatabaseDeadlines(
    connect=15.0, statement=None, lock=30.0, silence=None
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """How to reach PostgreSQL: by URL, or through the Cloud SQL connector."""

    url: str | None = field(default=None, repr=False)
    instance: str | None = None
    user: str | None = None
    name: str | None = None
    pool_size: int = 1
    # Who it is, as pg_stat_activity tells it.
    service: str = "operator"
    on_cloud_run: bool = False
    # What only reads says so to PostgreSQL, which then refuses anything else.
    read_only: bool = False
    deadlines: DatabaseDeadlines = DatabaseDeadlines()

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str] = os.environ,
        deadlines: DatabaseDeadlines | None = None,
        *,
        read_only: bool = False,
    ) -> Self:
        """Read ``DATABASE_URL``, or else ``CLOUD_SQL_INSTANCE``, its user and name.

        ``DATABASE_POOL`` is how many connections an instance may open; without it, one
        for each message that it serves at a time (``THREADS``).
        """
        read = _Reader(environ)
        threads = read.number("THREADS", 1)
        pool_size = max(1, int(read.number("DATABASE_POOL", threads)))
        service = read.text("K_SERVICE", environ.get("FUNCTION_NAME") or "operator")
        deadlines = deadlines or DatabaseDeadlines()
        url = environ.get("DATABASE_URL")
        if url:
            read.check()
            return cls(
                url=url,
                pool_size=pool_size,
                service=service,
                read_only=read_only,
                deadlines=deadlines,
            )
        settings = cls(
            instance=read.text("CLOUD_SQL_INSTANCE"),
            user=read.text("DATABASE_USER"),
            name=read.text("DATABASE_NAME"),
            pool_size=pool_size,
            service=service,
            on_cloud_run="K_SERVICE" in environ,
            read_only=read_only,
            deadlines=deadlines,
        )
        read.check()
        return settings
