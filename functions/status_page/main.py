"""status_page: people and programs ask whether the data are complete."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import functions_framework
from werkzeug import Response

from functions.status_page.answers import as_json
from functions.status_page.app import new_app
from functions.status_page.background import InBackground
from functions.status_page.problems import PROBLEM_TYPE, problem_of
from functions.status_page.services import Services
from functions.status_page.words import ENGLISH, words
from shared.clock import new_clock
from shared.database.engine import new_engine
from shared.database.report_store import ReportStore
from shared.database.session_store import SessionStore
from shared.errors import ConfigError
from shared.events import Event
from shared.freshness import Tick
from shared.instance import cached, freeze_gc
from shared.logging import configure_logging, log_event
from shared.settings import (
    ClockSettings,
    DatabaseSettings,
    KiwoomSettings,
    LogSettings,
    PriceSettings,
    ScheduleSettings,
    SecretSettings,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from flask import Flask, Request


def token_look_up() -> Callable[[], datetime | None]:
    """When the access token was stored, by the metadata of its versions.

    None where it was disabled or destroyed since.
    """

    def look() -> datetime | None:
        # A quarter of a second that no first answer should wait for.
        from shared.token_vault import Secrets, new_client  # noqa: PLC0415

        settings = SecretSettings.from_env()
        secrets = Secrets(new_client(settings), settings.project)
        return secrets.usable_since(settings.token)

    return look


@cached
def wire() -> Flask:
    """Build everything, at the first request."""
    configure_logging(LogSettings.from_env())
    engine = new_engine(DatabaseSettings.from_env(read_only=True))
    offset = ClockSettings.from_env().offset
    clock = new_clock(offset)
    app = new_app(
        Services(
            reports=ReportStore(engine, offset),
            calendar=SessionStore(engine).calendar,
            ticks=Tick.all_of(ScheduleSettings.from_env().schedules),
            clock=clock,
            token_created_at=InBackground(token_look_up()),
            prices=PriceSettings.from_env().source,
            requests_per_second=KiwoomSettings.from_env().requests_per_second,
        )
    )
    freeze_gc()
    return app


@functions_framework.http
def show_status(request: Request) -> Response:
    """Answer a request; 503 if this instance lacks what it needs."""
    try:
        app = wire()
    except ConfigError as error:
        facts = {"error_code": error.error_code, "reason": str(error)}
        log_event(Event.MISCONFIGURED, severity=logging.ERROR, **facts)
        body, _ = as_json(problem_of(error, words(ENGLISH)).as_dict())
        return Response(body, 503, content_type=PROBLEM_TYPE)
    return Response.from_app(app, request.environ)
