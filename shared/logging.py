"""Logs on stdout: JSON lines, which Cloud Logging reads as they are, or plain text.

No API client and no background thread: between requests a function has no CPU to send
what such a thread would hold back.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, TextIO

from shared import tracing
from shared.plain_text import sendable, shortened
from shared.sessions import KST

if TYPE_CHECKING:
    from google.cloud.logging_v2.handlers import StructuredLogHandler

    from shared.events import Event
    from shared.settings import LogSettings

# Cloud Logging refuses entries of more than 256 kB.
LINE_BYTES = 100_000
# Quoted as a JSON string, these grow at most to twice their length.
KEPT_BYTES = 45_000

log = logging.getLogger("pipeline")


class JsonLines(logging.StreamHandler[TextIO]):
    """Writes each record as one line of JSON that Cloud Logging accepts."""

    def __init__(self, stream: TextIO, project: str, labels: dict[str, str]) -> None:
        """Write to a stream; a trace is one of the project's."""
        super().__init__(stream)
        self._project = project
        self._labels = labels

    @cached_property
    def _structured(self) -> StructuredLogHandler:
        # A third of a cold start: a process that logs nothing should not wait for it.
        from google.cloud.logging_v2.handlers import (  # noqa: PLC0415
            StructuredLogHandler,
        )

        return StructuredLogHandler(  # type: ignore[no-untyped-call]  # no types
            project_id=self._project, labels=self._labels
        )

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; of one that is too long, keep the beginning as text."""
        # The library formats what its filter puts on the record.
        self._structured.filter(record)
        trace_id = getattr(record, "trace_id", None)
        if trace_id:
            record._trace_str = f"projects/{self._project}/traces/{trace_id}"  # noqa: SLF001
        line = sendable(
            self._structured.format(record)  # type: ignore[no-untyped-call]  # no types
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
    handler = _text_handler(settings) if settings.is_text else _json_handler(settings)
    root = logging.getLogger()
    # Replaced, not added: the framework has installed one, and lines would double.
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # One line a request of every client library would drown ours.
    for noisy in ("urllib3", "google", "werkzeug"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def log_event(
    event: Event, /, *, severity: int = logging.INFO, **facts: object
) -> None:
    """Write the one canonical line about a message: the event and its facts.

    To the facts belong the ``attempt`` of the delivery and ``duration_ms`` since it
    began; its trace goes where Cloud Logging looks for it.
    """
    fields: dict[str, object] = {"event": event.value, **facts}
    extra: dict[str, object] = {"json_fields": fields}
    delivery = tracing.current()
    if delivery:
        fields |= {"attempt": delivery.attempt, "duration_ms": delivery.duration_ms}
        extra["trace_id"] = delivery.trace_id
    # Its source is where the event happened, not this line.
    log.log(severity, event.value, extra=extra, stacklevel=2)


def _json_handler(settings: LogSettings) -> logging.Handler:
    return JsonLines(sys.stdout, settings.project, {"service": settings.service})


def _text_handler(settings: LogSettings) -> logging.Handler:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(TextFormatter(settings.clock_offset))
    return handler


class TextFormatter(logging.Formatter):
    """One line a record for people: time in Seoul, severity, event, ``fact=value``.

    A value that could be misread, as one with spaces, is quoted as in JSON.
    """

    def __init__(self, clock_offset: timedelta = timedelta()) -> None:
        """Tell the time of a clock that runs ``clock_offset`` ahead."""
        super().__init__()
        self._offset = clock_offset

    def format(self, record: logging.LogRecord) -> str:
        """Write the line; a traceback follows on lines of its own."""
        at = datetime.fromtimestamp(record.created, KST) + self._offset
        facts = dict(getattr(record, "json_fields", {}))
        event = facts.pop("event", None) or record.getMessage()
        told = [f"{k}={_readable(v)}" for k, v in facts.items() if v is not None]
        time = at.isoformat(" ", "milliseconds")[:23]
        line = " ".join([f"{time} {record.levelname:<7} {event}", *told])
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _readable(value: object) -> str:
    text = value if isinstance(value, str) else str(value)
    plain = text and not any(c.isspace() or c in '"=' for c in text)
    return text if plain else json.dumps(text, ensure_ascii=False)
