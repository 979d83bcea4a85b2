"""Logs as JSON lines on stdout, which Cloud Logging reads as they are.

No API client and no background thread: between requests a function has no CPU to send
what such a thread would hold back.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from google.cloud.logging_v2.handlers import StructuredLogHandler

if TYPE_CHECKING:
    from shared.settings import LogSettings

log = logging.getLogger("pipeline")


def set_up(settings: LogSettings) -> None:
    """Send every record of this process to stdout, from INFO on."""
    handler = StructuredLogHandler(  # type: ignore[no-untyped-call]  # no types
        stream=sys.stdout,
        project_id=settings.project,
        labels={"service": settings.service},
    )
    root = logging.getLogger()
    # Replaced, not added: the framework has installed one, and lines would double.
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # One line a request of every client library would drown ours.
    for noisy in ("urllib3", "google", "werkzeug"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def say(event: str, /, *, severity: int = logging.INFO, **facts: object) -> None:
    """Write the one canonical line about a message: the event and its facts."""
    log.log(severity, event, extra={"json_fields": {"event": event, **facts}})
