"""What goes wrong, in the one form that the API and the page tell it (RFC 9457)."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from http import HTTPStatus
from typing import TYPE_CHECKING

from werkzeug.exceptions import HTTPException

from shared.errors import (
    CalendarMissing,
    CalendarUnknown,
    ConfigError,
    PipelineError,
)
from shared.plain_text import sendable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

RETRY_SECONDS = 5
LONGEST_VALUE = 80
NEAREST = 3


class RequestError(Exception):
    """A request that cannot be answered: its status, its field, and the remedy."""

    def __init__(self, status: int, field: str, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.status = status
        self.field = field
        self.detail = detail
        self.remedy = remedy


def bad(field: str, detail: str, remedy: str) -> RequestError:
    """A parameter that cannot be accepted (400)."""
    return RequestError(400, field, detail, remedy)


def unknown(
    field: str, value: str, known: Collection[str], remedy: str = ""
) -> RequestError:
    """Something that does not exist (404); the remedy names what is nearest."""
    nearest = get_close_matches(value, list(known), NEAREST, cutoff=0.3)
    if nearest:
        remedy = f"did you mean {' or '.join(nearest)}?"
    detail = f"there is no {field} {shown(value)}"
    return RequestError(404, field, detail, remedy or f"give another {field}")


def shown(value: str) -> str:
    """A value as it was given, short enough to be repeated."""
    text = sendable(value)
    return repr(text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "…")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What went wrong, as RFC 9457 has it, with the ``field`` and the ``remedy``."""

    status: int
    title: str
    detail: str
    code: str
    remedy: str
    field: str | None = None

    def as_dict(self) -> dict[str, object]:
        """As the API tells it."""
        told: dict[str, object] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "remedy": self.remedy,
        }
        return told | ({"field": self.field} if self.field else {})

    @property
    def headers(self) -> Mapping[str, str]:
        """When to come back, where that helps."""
        return (
            {"Retry-After": str(RETRY_SECONDS)}
            if self.status == HTTPStatus.SERVICE_UNAVAILABLE
            else {}
        )


PROBLEM_TYPE = "application/problem+json"
TITLES = {
    400: "A parameter cannot be accepted",
    404: "There is no such thing",
    405: "Only GET and HEAD are allowed",
    406: "There is no answer in that form",
    500: "A bug",
    503: "The page cannot say",
}
CODES = {404: "not_found", 405: "method_not_allowed"}


def problem_of(error: Exception) -> Problem:
    """What an error means to who asked."""
    if isinstance(error, RequestError):
        return Problem(
            status=error.status,
            title=TITLES[error.status],
            detail=error.detail,
            code=CODES.get(error.status, "bad_request"),
            remedy=error.remedy,
            field=error.field,
        )
    if isinstance(error, CalendarUnknown):
        return Problem(
            status=404,
            title=TITLES[404],
            detail=f"{error.day} is outside the trading calendar",
            code=error.error_code,
            remedy=error.remedy,
            field="instant",
        )
    if isinstance(error, PipelineError):
        detail = str(error)
        if not isinstance(error, (CalendarMissing, ConfigError)):
            detail = "the database cannot be asked, so nothing is known of the data"
        return Problem(
            status=503,
            title=TITLES[503],
            detail=detail,
            code=error.error_code,
            remedy=error.remedy,
        )
    if isinstance(error, HTTPException) and error.code:
        status = error.code
        remedies = {404: "see / or /openapi.json", 405: "use GET or HEAD"}
        return Problem(
            status=status,
            title=TITLES.get(status, error.name),
            detail=error.name,
            code=CODES.get(status, "http"),
            remedy=remedies.get(status, "correct the request"),
        )
    return Problem(
        status=500,
        title=TITLES[500],
        detail=type(error).__name__,
        code="unforeseen",
        remedy="the log has the traceback",
    )
