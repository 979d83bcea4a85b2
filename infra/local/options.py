"""The options of a local stack, from the environment and ``.env``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values

from infra.local.broker.server import APP_KEY, SECRET_KEY
from infra.local.pubsub.push_request import CLOUD, STEADY
from infra.local.pubsub_server import CHOICES
from shared.errors import ConfigError
from shared.sessions import KST
from shared.settings import MARKET, MOCK_URL, REAL_URL

if TYPE_CHECKING:
    from collections.abc import Mapping

MODES = ("real", "mock")
PUSHES = (CLOUD, STEADY)
KEYS = ("KIWOOM_APP_KEY", "KIWOOM_SECRET_KEY", "KIWOOM_MODE", "KIWOOM_BASE_URL")
SWITCHES = {"": True, "on": True, "off": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a local stack runs; the defaults need no account.

    ``pubsub`` None means the best Pub/Sub that can run here; see ``pubsub_server``.
    ``push`` is how the embedded one pushes; see ``push_request``.
    ``base_url`` None means the simulated broker, ``database_url`` and ``pubsub_host``
    None mean servers of our own. ``moment`` is the market instant to live at.
    """

    once: bool = False
    limited: bool = True
    moment: datetime | None = None
    clock_offset: timedelta = timedelta()
    mode: str = "real"
    base_url: str | None = None
    app_key: str = field(default=APP_KEY, repr=False)
    secret_key: str = field(default=SECRET_KEY, repr=False)
    database_url: str | None = field(default=None, repr=False)
    pubsub_host: str | None = None
    pubsub: str | None = None
    push: str = CLOUD
    data: Path | None = None

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str], now: datetime, env_file: Path
    ) -> Self:
        """Read the variables; those of ``environ`` win over those of ``env_file``.

        Raises:
            ConfigError: If a variable is wrong; the text names it and the remedy.
        """
        values = _read(env_file) | dict(environ)

        def text(name: str) -> str | None:
            return values.get(name, "").strip() or None

        mode = text("KIWOOM_MODE") or "real"
        if mode not in MODES:
            message = f"KIWOOM_MODE must be real or mock, not {mode!r}"
            raise ConfigError(message)
        rate = (text("RATE") or "").lower()
        if rate not in SWITCHES:
            message = f"RATE must be on or off, not {rate!r}"
            raise ConfigError(message)
        pubsub = text("PUBSUB")
        if pubsub not in {None, *CHOICES}:
            message = f"PUBSUB must be {' or '.join(CHOICES)}, not {pubsub!r}"
            raise ConfigError(message)
        push = text("PUSH") or CLOUD
        if push not in PUSHES:
            message = f"PUSH must be {' or '.join(PUSHES)}, not {push!r}"
            raise ConfigError(message)
        moment = _moment(text("NOW"))
        keys = _keys(text("KIWOOM_APP_KEY"), text("KIWOOM_SECRET_KEY"))
        base_url = text("KIWOOM_BASE_URL")
        if base_url and not keys:
            message = "KIWOOM_BASE_URL needs KIWOOM_APP_KEY and KIWOOM_SECRET_KEY too"
            raise ConfigError(message)
        if keys and not base_url:
            base_url = REAL_URL if mode == "real" else MOCK_URL
        data = text("DATA")
        if data and not Path(data).is_dir():
            message = f"DATA must be a folder with krx_*.csv.gz, and {data} is none"
            raise ConfigError(message)
        app_key, secret_key = keys or (APP_KEY, SECRET_KEY)
        return cls(
            once=text("ONCE") not in {None, "0"},
            limited=SWITCHES[rate],
            moment=moment,
            clock_offset=moment - now if moment else timedelta(),
            mode=mode,
            base_url=base_url,
            app_key=app_key,
            secret_key=secret_key,
            database_url=text("DATABASE_URL"),
            pubsub_host=text("PUBSUB_EMULATOR_HOST"),
            pubsub=pubsub,
            push=push,
            data=Path(data).resolve() if data else None,
        )

    @property
    def prices(self) -> str:
        """Whose prices are collected, as functions are told by ``PRICES``."""
        if self.base_url:
            return MARKET
        return "recorded" if self.data else "simulated"

    @property
    def database_name(self) -> str:
        """A database of its own for each broker and each made-up moment.

        Candles of a simulated market must never mix with real ones, nor those of a
        market that lives elsewhere in time.
        """
        source = "simulated"
        if self.base_url:
            parts = urlsplit(self.base_url)
            source = f"{parts.hostname}_{parts.port or ''}".strip("_")
        elif self.data:
            source = f"recorded_{self.data.name}"
        moment = f"_at_{self.moment.astimezone(KST):%Y%m%dt%H%M}" if self.moment else ""
        name = f"{source}{moment}".lower()
        return re.sub(r"[^a-z0-9]+", "_", name).strip("_")[:60]


def _read(env_file: Path) -> dict[str, str]:
    """The variables of the file, none if it does not exist.

    A misspelt key would simulate the broker where real candles are expected.
    """
    try:
        # A file from Windows may begin with a byte order mark.
        found = dotenv_values(env_file, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        message = f"{env_file} cannot be read: {reason}"
        raise ConfigError(message) from error
    for name in found:
        if name.upper().startswith("KIWOOM") and name not in KEYS:
            nearest = get_close_matches(name.upper(), KEYS, n=1)
            remedy = f"did you mean {' or '.join(nearest or KEYS)}?"
            message = f"{name} in {env_file.name} is unknown: {remedy}"
            raise ConfigError(message)
    return {name: value or "" for name, value in found.items()}


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        message = f"NOW must be a time in Seoul such as 2026-11-20T10:30, not {text!r}"
        raise ConfigError(message) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=KST)).astimezone(UTC)


def _keys(app_key: str | None, secret_key: str | None) -> tuple[str, str] | None:
    if app_key and secret_key:
        return app_key, secret_key
    if app_key or secret_key:
        missing = "KIWOOM_SECRET_KEY" if app_key else "KIWOOM_APP_KEY"
        message = f"{missing} is missing; set both keys, or none to simulate the broker"
        raise ConfigError(message)
    return None
