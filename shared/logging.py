"""Logs as JSON lines on stdout, which Cloud Logging reads as they are.

No API client and no background thread: between requests a function has no CPU to send
what such a thread would hold back.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING

from google.cloud.logging_v2.handlers import StructuredLogHandler

from shared.plain_text import sendable, shortened

if TYPE_CHECKING:
    from shared.settings import LogSettings

# Cloud Logging refuses entries of more than 256 kB.
LINE_BYTES = 100_000
# Quoted as a JSON string, these grow at most to twice their length.
KEPT_BYTES = 45_000

log = logging.getLogger("pipeline")


class JsonLines(StructuredLogHandler):
    """Writes each record as one line of JSON that Cloud Logging accepts."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; of one that is too long, keep the beginning as text."""
        line = sendable(
            super().format(record)  # type: ignore[no-untyped-call]  # no types
        )
        if len(line.encode()) <= LINE_BYTES:
            return line
        short = {
            "severity": record.levelname,
            "event": getattr(record, "json_fields", {}).get("event"),
            "message": shortened(line, KEPT_BYTES),
            "truncated": True,
        }
        return json.dumps(short, ensure_ascii=False)


def configure_logging(settings: LogSettings) -> None:
    """Send every record of this process to stdout, from INFO on."""
    handler = JsonLines(  # type: ignore[no-untyped-call]  # no types
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


def log_event(event: str, /, *, severity: int = logging.INFO, **facts: object) -> None:
    """Write the one canonical line about a message: the event and its facts."""
    log.log(severity, event, extra={"json_fields": {"event": event, **facts}})
