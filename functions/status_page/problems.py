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
    Unforeseen,
)
from shared.plain_text import sendable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import date

    from functions.status_page.words import Words

RETRY_SECONDS = 5
LONGEST_VALUE = 80
NEAREST = 3


class RequestError(Exception):
    """A request that cannot be answered: its status, its field, and the fault.

    ``fault`` and ``remedy`` are keys of the page's words, ``values`` what stands in
    them: the API tells them in English, a page in its own language.
    """

    def __init__(
        self,
        status: int,
        field: str,
        fault: str,
        values: Mapping[str, object],
        remedy: str = "",
    ) -> None:
        super().__init__(fault)
        self.status = status
        self.field = field
        self.fault = fault
        self.remedy = remedy or fault
        self.values = values


def bad(field: str, fault: str, **values: object) -> RequestError:
    """A parameter that cannot be accepted (400)."""
    return RequestError(400, field, fault, values)


def unknown(
    field: str, value: str, known: Collection[str], *, nearest: Sequence[str] = ()
) -> RequestError:
    """Something that does not exist (404); the remedy names what is nearest.

    However far that is: without it, who asks would not know what there is.
    """
    found = nearest or get_close_matches(value, list(known), NEAREST, cutoff=0.0)
    return RequestError(
        404,
        field,
        f"unknown_{field}",
        {
            "value": shown(value),
            "nearest": ", ".join(found[:NEAREST]),
        },
        remedy="nearest" if found else "",
    )


def by_distance(day: date, days: Iterable[date]) -> list[str]:
    """Days as they are written, the nearest to ``day`` first."""
    return [str(each) for each in sorted(days, key=lambda each: abs(each - day))]


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
    404: "Not found",
    405: "Only GET and HEAD are allowed",
    406: "There is no answer in that form",
    500: "A bug",
    503: "The page cannot say",
}
CODES = {404: "not_found", 405: "method_not_allowed"}
HTTP_FAULTS = {404: "no_page", 405: "read_only"}


def problem_of(error: Exception, told: Words) -> Problem:
    """What an error means to who asked, in the words of a language."""
    if isinstance(error, RequestError):
        return Problem(
            status=error.status,
            title=TITLES[error.status],
            detail=told(f"fault.{error.fault}", **error.values),
            code=CODES.get(error.status, "bad_request"),
            remedy=told(f"remedy.{error.remedy}", **error.values),
            field=error.field,
        )
    if isinstance(error, CalendarUnknown):
        return Problem(
            status=404,
            title=TITLES[404],
            detail=told("fault.beyond_calendar", day=error.day),
            code=error.error_code,
            remedy=told.remedy(error.error_code, error.remedy),
            field="instant",
        )
    if isinstance(error, PipelineError):
        detail = str(error)
        if not isinstance(error, (CalendarMissing, ConfigError)):
            detail = told("fault.no_database")
        return Problem(
            status=503,
            title=TITLES[503],
            detail=detail,
            code=error.error_code,
            remedy=told.remedy(error.error_code, error.remedy),
        )
    if isinstance(error, HTTPException) and error.code:
        status = error.code
        fault = HTTP_FAULTS.get(status, "http")
        return Problem(
            status=status,
            title=TITLES.get(status, error.name),
            detail=told(f"fault.{fault}", name=error.name),
            code=CODES.get(status, "http"),
            remedy=told(f"remedy.{fault}"),
        )
    return Problem(
        status=500,
        title=TITLES[500],
        detail=type(error).__name__,
        code=Unforeseen.error_code,
        remedy=told.remedy(Unforeseen.error_code, Unforeseen.remedy),
    )
