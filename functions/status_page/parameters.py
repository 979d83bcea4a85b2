"""The parameters of a request, each checked once."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import TYPE_CHECKING

from flask import request

from functions.status_page.problems import (
    LONGEST_VALUE,
    NEAREST,
    RequestError,
    bad,
    shown,
    unknown,
)
from shared.candles import Timeframe
from shared.messages.fields import ALIASES, DATE
from shared.plain_text import sendable
from shared.sessions import KST
from shared.stocks import STOCK_CODE

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from shared.reports import StockName


class Parameters:
    """The parameters of a query, each taken once; what is left is refused."""

    def __init__(self, values: dict[str, list[str]] | None = None) -> None:
        """Take those of the current request, or other ``values``."""
        self._values = dict(request.args.lists()) if values is None else values
        self._known: list[str] = []

    def refuse_the_rest(self) -> None:
        """Refuse a parameter that was not taken."""
        for name in self._values:
            known = ", ".join(self._known) or "none"
            raise bad(name[:LONGEST_VALUE], "unknown parameter", f"known are: {known}")

    def text(self, name: str) -> str | None:
        """A string, None if it is not there."""
        self._known.append(name)
        values = self._values.pop(name, None)
        if values is None:
            return None
        if len(values) > 1:
            raise bad(name, "is given more than once", "give it once")
        if values[0] != sendable(values[0]):
            raise bad(name, "has characters that cannot be stored", "leave them out")
        return values[0]

    def day(self, name: str) -> date | None:
        """A day in Seoul."""
        value = self.text(name)
        if value is None:
            return None
        try:
            if DATE.fullmatch(value):
                return date.fromisoformat(value)
        except ValueError:
            pass
        raise bad(name, f"{shown(value)} is not a date", "write it as 2026-01-31")

    def count(self, name: str, default: int, most: int) -> int:
        """A whole number from 1 to ``most``."""
        value = self.text(name)
        if value is None:
            return default
        if not re.fullmatch(r"[1-9][0-9]{0,5}", value) or int(value) > most:
            detail = f"{shown(value)} is not a whole number from 1 to {most:,}"
            raise bad(name, detail, f"give at most {most:,}")
        return int(value)

    def flag(self, name: str) -> bool:
        """True or false; false if it is not there."""
        return self.choice(name, ("true", "false")) == "true"

    def choice(self, name: str, choices: Sequence[str]) -> str | None:
        """One of the ``choices``, None if it is not there."""
        value = self.text(name)
        if value is not None and value not in choices:
            remedy = f"give {' or '.join(choices)}"
            raise bad(name, f"{shown(value)} is none of them", remedy)
        return value

    def codes(self, name: str, known: Collection[str], most: int) -> list[str] | None:
        """Stock codes with commas between them, each once."""
        value = self.text(name)
        if value is None:
            return None
        codes = list(dict.fromkeys(value.split(",")))
        if len(codes) > most:
            raise bad(name, f"{len(codes)} codes", f"give at most {most:,}")
        for code in codes:
            if not STOCK_CODE.fullmatch(code):
                detail = f"{shown(code)} is not a stock code"
                raise bad(name, detail, "write six digits or capital letters")
            if code not in known:
                raise unknown("stock", code, known)
        return codes


def timeframe_of(value: str) -> Timeframe:
    """A timeframe by its name or one of its aliases, as in messages."""
    if value in ALIASES:
        return ALIASES[value]
    try:
        return Timeframe(value)
    except ValueError:
        choices = [timeframe.value for timeframe in Timeframe]
        remedy = f"give one of {', '.join(choices)}"
        raise unknown("timeframe", value, [*choices, *ALIASES], remedy) from None


def stock_of(code: str, stocks: Sequence[StockName]) -> StockName:
    """The stock with a code; the error names stocks with a code or a name like it."""
    for stock in stocks:
        if stock.code == code:
            return stock
    by_name = {stock.name: stock.code for stock in stocks}
    like = [by_name[name] for name in by_name if code and code in name]
    known = like or [stock.code for stock in stocks]
    if like:
        remedy = f"did you mean {' or '.join(like[:NEAREST])}?"
        detail = f"there is no stock {shown(code)}"
        raise RequestError(404, "stock", detail, remedy)
    raise unknown("stock", code, known, "load the stocks first")


def instant_of(value: str, name: str = "instant") -> datetime:
    """An instant; one without an offset is a time in Seoul."""
    try:
        at = datetime.fromisoformat(value.replace(" ", "+"))
    except ValueError:
        detail = f"{shown(value)} is not an instant"
        remedy = "write it as 2026-01-31T09:00 (Seoul) or 2026-01-31T00:00Z"
        raise bad(name, detail, remedy) from None
    return at if at.tzinfo else at.replace(tzinfo=KST)
