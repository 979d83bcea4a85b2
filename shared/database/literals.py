"""Values as parameters of PostgreSQL; arrays are joined here, which is faster."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from shared.series import Period


def instants(values: Iterable[datetime | None]) -> str:
    """Instants as one array literal; None is NULL."""
    return literal("NULL" if at is None else at.isoformat() for at in values)


def literal(elements: Iterable[str]) -> str:
    """Elements that need no quoting as one array literal."""
    return "{" + ",".join(elements) + "}"


def bounds(period: Period) -> dict[str, datetime]:
    """The parameters ``first`` and ``beyond`` of a period."""
    return {"first": period.first, "beyond": period.beyond}
