"""The fields of a message, each taken once and checked: nothing is guessed."""

from __future__ import annotations

import json
import re
from datetime import date, time
from fractions import Fraction
from typing import Any, Literal

from shared.candles import Timeframe
from shared.errors import MalformedMessage
from shared.modes import Mode
from shared.periods import Period
from shared.stocks import STOCK_CODE

# Times of the day are written exactly so: no seconds, no offset, no other form.
HOUR = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
HOURS_STEP = 5
ALL_LISTED: Literal["all"] = "all"

# Other spellings that operators know from charts and from the broker's tools.
ALIASES = {
    "1h": Timeframe.MINUTE_60,
    "d": Timeframe.DAY_1,
    "w": Timeframe.WEEK_1,
    "M5": Timeframe.MINUTE_5,
    "M30": Timeframe.MINUTE_30,
    "H1": Timeframe.MINUTE_60,
    "D": Timeframe.DAY_1,
    "W": Timeframe.WEEK_1,
}


class Fields:
    """The fields of one JSON object; each is taken once, what is left is unknown."""

    def __init__(self, data: bytes) -> None:
        """Read a JSON object; anything else is a ``MalformedMessage``."""
        field = "message"
        if not data:
            text = 'has no body; send a JSON object like {"timeframe":"5m"}'
            raise MalformedMessage(field, text)
        try:
            fields = json.loads(data.decode(), object_pairs_hook=_once_each)
        except (ValueError, RecursionError) as error:
            text = f'is not JSON ({error}); send an object like {{"timeframe":"5m"}}'
            raise MalformedMessage(field, text) from error
        if not isinstance(fields, dict):
            text = 'must be a JSON object like {"timeframe":"5m"}'
            raise MalformedMessage(field, text)
        self._fields: dict[str, Any] = fields
        self._known: list[str] = []

    def nested(self, name: str) -> Fields | None:
        """The fields of an object inside this one, None if it is not there."""
        value = self._take(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise MalformedMessage(name, "must be a JSON object")
        return Fields(json.dumps(value).encode())

    def _take(self, name: str) -> Any:  # noqa: ANN401 - JSON may hold anything
        self._known.append(name)
        return self._fields.pop(name, None)

    def refuse_the_rest(self) -> None:
        """Refuse a message with fields that were not taken."""
        for name in self._fields:
            known = ", ".join(self._known)
            raise MalformedMessage(name, f"unknown field; the known ones are {known}")

    def text(self, name: str) -> str:
        """A string that must be there."""
        value = self._take(name)
        if not isinstance(value, str) or not value:
            raise MalformedMessage(name, "must be a non-empty string")
        return value

    def text_or_none(self, name: str) -> str | None:
        """A string, None if the field is not there."""
        return self.text(name) if name in self._fields else self._take(name)

    def timeframe(self, name: str) -> Timeframe:
        """A timeframe or one of its aliases."""
        return _timeframe(name, self._take(name))

    def timeframes(self) -> tuple[Timeframe, ...]:
        """``timeframe``, or else ``timeframes``, each once."""
        one, several = self._take("timeframe"), self._take("timeframes")
        if one is None and several is None:
            name = "timeframe"
            raise MalformedMessage(name, f"is missing; give one of {_choices()}")
        if several is None:
            return (_timeframe("timeframe", one),)
        name = "timeframes"
        if one is not None:
            raise MalformedMessage(name, "give either timeframe or timeframes")
        if not isinstance(several, list) or not several:
            raise MalformedMessage(name, 'must be a list such as ["5m","1d"]')
        return tuple(dict.fromkeys(_timeframe(name, value) for value in several))

    def mode(self) -> Mode:
        """``mode``, incremental if it is not there."""
        value = self._take("mode")
        if value is None:
            return Mode.INCREMENTAL
        try:
            return Mode(value)
        except ValueError as error:
            name = "mode"
            choices = ", ".join(Mode)
            text = f"{value!r} is none of {choices}"
            raise MalformedMessage(name, text) from error

    def stocks(self) -> tuple[str, ...] | Literal["all"] | None:
        """``stocks``: codes, all, or None."""
        value = self._take("stocks")
        if value is None:
            return None
        if value == ALL_LISTED:
            return ALL_LISTED
        name = "stocks"
        if not isinstance(value, list) or not value:
            text = 'must be a list of codes such as ["005930"], or "all"'
            raise MalformedMessage(name, text)
        return tuple(dict.fromkeys(_stock_code(name, code) for code in value))

    def codes(self, name: str) -> tuple[str, ...]:
        """Stock codes, each once; none if the field is not there."""
        value = self._take(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not value:
            raise MalformedMessage(name, 'must be a list of codes such as ["005930"]')
        return tuple(dict.fromkeys(_stock_code(name, code) for code in value))

    def flag(self, name: str) -> bool:
        """True or false; false if the field is not there."""
        value = self._take(name)
        if value not in {None, True, False}:
            raise MalformedMessage(name, f"{value!r} is not true or false")
        return bool(value)

    def parts(self, name: str, choices: tuple[str, ...]) -> tuple[str, ...]:
        """Some of the ``choices``."""
        value = self._take(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(
            isinstance(part, str) and part in choices for part in value
        ):
            raise MalformedMessage(name, f"must be a list of {' and '.join(choices)}")
        return tuple(dict.fromkeys(value))

    def hours(self, name: str) -> tuple[time, time] | None:
        """Opening and closing in Seoul, None if the field is not there."""
        value = self._take(name)
        if value is None:
            return None
        if (
            not isinstance(value, list)
            or len(value) != len(("opening", "closing"))
            or not all(isinstance(at, str) and HOUR.fullmatch(at) for at in value)
        ):
            text = 'must be two times of the day in Seoul such as ["10:00","15:30"]'
            raise MalformedMessage(name, text)
        opens, closes = map(time.fromisoformat, value)
        if opens >= closes:
            raise MalformedMessage(name, "must open before they close")
        if opens.minute % HOURS_STEP or closes.minute % HOURS_STEP:
            text = f"must be multiples of {HOURS_STEP} minutes, as candles are"
            raise MalformedMessage(name, text)
        return opens, closes

    def stock_code(self, name: str) -> str:
        """A stock code that is there."""
        return _stock_code(name, self._take(name))

    def day(self, name: str) -> date | None:
        """A day in Seoul, None if the field is not there."""
        value = self._take(name)
        if value is None:
            return None
        remedy = f"{value!r} is not a date; write it as 2026-01-31 (Seoul)"
        if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
            raise MalformedMessage(name, remedy)
        try:
            return date.fromisoformat(value)
        except ValueError as error:
            raise MalformedMessage(name, remedy) from error

    def required_day(self, name: str) -> date:
        """A day in Seoul that is there."""
        day = self.day(name)
        if day is None:
            raise MalformedMessage(name, "is missing; write it as 2026-01-31 (Seoul)")
        return day

    def ratio(self, name: str) -> Fraction:
        """A positive ratio such as ``"1/5"``."""
        value = self.text(name)
        if not re.fullmatch(r"[1-9]\d{0,11}(/[1-9]\d{0,11})?", value, re.ASCII):
            text = f'{value!r} is not a ratio; write it as a string such as "1/5"'
            raise MalformedMessage(name, text)
        return Fraction(value)

    def period(self) -> Period | None:
        """``period``, None if it is not there."""
        value = self._take("period")
        if value is None:
            return None
        name = "period"
        try:
            return Period.parse(value if isinstance(value, str) else repr(value))
        except ValueError as error:
            raise MalformedMessage(name, str(error)) from error


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, unless it has a field twice."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise MalformedMessage(twice, "is given twice")
    return fields


def _choices() -> str:
    return ", ".join([*Timeframe, *ALIASES])


def _timeframe(name: str, value: object) -> Timeframe:
    if isinstance(value, str) and value in ALIASES:
        return ALIASES[value]
    try:
        return Timeframe(value)  # type: ignore[arg-type]  # any value is tried
    except ValueError as error:
        text = f"{value!r} is not a timeframe; give one of {_choices()}"
        raise MalformedMessage(name, text) from error


def _stock_code(name: str, value: object) -> str:
    if isinstance(value, str) and STOCK_CODE.fullmatch(value):
        return value
    text = f"{value!r} is not a stock code; write six digits or capitals as a string"
    raise MalformedMessage(name, f'{text}, such as "005930"')
