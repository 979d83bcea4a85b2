"""The parameters of a request, each checked once."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import TYPE_CHECKING

from flask import request

from functions.status_page.problems import (
    LONGEST_VALUE,
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


# Whatever is computed with an instant of these years is one, too.
FIRST_YEAR, LAST_YEAR = 2, 9998


class Parameters:
    """The parameters of a query, each taken once; what is left is refused."""

    def __init__(self, values: dict[str, list[str]] | None = None) -> None:
        """Take those of the current request, or other ``values``."""
        self._values = dict(request.args.lists()) if values is None else values
        self._known: list[str] = []

    def refuse_the_rest(self) -> None:
        """Refuse a parameter that was not taken."""
        for name in self._values:
            raise RequestError(
                400,
                name[:LONGEST_VALUE],
                "unknown_parameter",
                {"known": ", ".join(self._known)},
                remedy="" if self._known else "no_parameter",
            )

    def text(self, name: str) -> str | None:
        """A string, None if it is not there."""
        self._known.append(name)
        values = self._values.pop(name, None)
        if values is None:
            return None
        if len(values) > 1:
            raise bad(name, "repeated")
        if values[0] != sendable(values[0]):
            raise bad(name, "not_storable")
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
        raise bad(name, "not_a_date", value=shown(value))

    def count(self, name: str, default: int, most: int) -> int:
        """A whole number from 1 to ``most``."""
        value = self.text(name)
        if value is None:
            return default
        if not re.fullmatch(r"[1-9][0-9]{0,5}", value) or int(value) > most:
            raise bad(name, "not_a_number", value=shown(value), most=f"{most:,}")
        return int(value)

    def flag(self, name: str) -> bool:
        """True or false; false if it is not there."""
        return self.choice(name, ("true", "false")) == "true"

    def choice(self, name: str, choices: Collection[str]) -> str | None:
        """One of the ``choices``, None if it is not there."""
        value = self.text(name)
        if value is not None and value not in choices:
            choices_told = ", ".join(choices)
            raise bad(name, "not_a_choice", value=shown(value), choices=choices_told)
        return value

    def codes(self, name: str, known: Collection[str], most: int) -> list[str] | None:
        """Stock codes with commas between them, each once."""
        value = self.text(name)
        if value is None:
            return None
        codes = list(dict.fromkeys(value.split(",")))
        if len(codes) > most:
            raise bad(name, "too_many", count=len(codes), most=f"{most:,}")
        for code in codes:
            if not STOCK_CODE.fullmatch(code):
                raise bad(name, "not_a_code", value=shown(code))
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
        raise unknown("timeframe", value, [*choices, *ALIASES]) from None


def stock_of(code: str, stocks: Sequence[StockName]) -> StockName:
    """The stock with a code; the error names stocks with a code or a name like it."""
    for stock in stocks:
        if stock.code == code:
            return stock
    by_name = {stock.name: stock.code for stock in stocks}
    like = [by_name[name] for name in by_name if code and code in name]
    raise unknown("stock", code, [stock.code for stock in stocks], nearest=like)


def day_of(value: str, name: str) -> date:
    """A day in Seoul, from the part of a path that has this name."""
    day = Parameters({name: [value]}).day(name)
    assert day is not None
    return day


def instant_of(value: str, name: str = "instant") -> datetime:
    """An instant; one without an offset is a time in Seoul.

    Of the first and the last year that there are, the year beside them is meant:
    nothing is known of either.
    """
    try:
        at = datetime.fromisoformat(value.replace(" ", "+"))
    except ValueError:
        raise bad(name, "not_an_instant", value=shown(value)) from None
    at = at.replace(year=min(max(at.year, FIRST_YEAR), LAST_YEAR))
    return at if at.tzinfo else at.replace(tzinfo=KST)
