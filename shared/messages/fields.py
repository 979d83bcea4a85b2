"""The fields of a message, each taken once and checked: nothing is guessed."""

from __future__ import annotations

import json
import re
import reprlib
from collections import Counter
from datetime import date, time
from fractions import Fraction
from typing import Any, Literal

from shared.candles import Timeframe
from shared.errors import MalformedMessage
from shared.lanes import Lane
from shared.modes import Mode
from shared.periods import LONGEST_PERIOD, Period
from shared.plain_text import sendable
from shared.sessions import EXCHANGE_BEGAN
from shared.stocks import STOCK_CODE

DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# Times of the day are written exactly so: no seconds, no offset, no other form.
HOUR = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
HOURS_STEP = 5
# Far enough for any plan, and far from the last date that Python can count from.
LAST_DAY = date(2100, 1, 1)

# A longer message is not parsed; the longest that can be accepted has a tenth of this.
MOST_BYTES = 2**20
# All listed stocks are about 2,900.
MOST_CODES = 5_000
MOST_SHOWN = 60
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

    def __init__(self, data: bytes, example: str = '{"timeframe":"5m"}') -> None:
        """Read a JSON object; anything else is a ``MalformedMessage``.

        The text of that error shows the ``example``.
        """
        self._fields = _json_object(data, example)
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
            text = f"unknown field; the known ones are {known}"
            raise MalformedMessage(_field_name(name), text)

    def text(self, name: str) -> str:
        """A string that must be there."""
        value = self._take(name)
        if not isinstance(value, str) or not value:
            raise MalformedMessage(name, "must be a non-empty string")
        if value != sendable(value):
            text = "has a NUL or half of a surrogate pair; write it without"
            raise MalformedMessage(name, text)
        return value

    def text_or_none(self, name: str) -> str | None:
        """A string, None if the field is not there."""
        is_there = self._fields.get(name) is not None
        return self.text(name) if is_there else self._take(name)

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
        values = _list(name, several, '["5m","1d"]', len(Timeframe) + len(ALIASES))
        return tuple(dict.fromkeys(_timeframe(name, value) for value in values))

    def mode(self) -> Mode:
        """``mode``, incremental if it is not there."""
        value = self._take("mode")
        if value is None:
            return Mode.INCREMENTAL
        if isinstance(value, str) and value in set(Mode):
            return Mode(value)
        name = "mode"
        raise MalformedMessage(name, f"{_shown(value)} is none of {', '.join(Mode)}")

    def lane(self, default: Lane) -> Lane:
        """``lane``, the ``default`` if it is not there."""
        name = "lane"
        value = self._take(name)
        if value is None:
            return default
        if isinstance(value, str) and value in set(Lane):
            return Lane(value)
        raise MalformedMessage(name, f"{_shown(value)} is none of {', '.join(Lane)}")

    def stocks(self) -> tuple[str, ...] | Literal["all"] | None:
        """``stocks``: codes, all, or None."""
        value = self._take("stocks")
        if value is None:
            return None
        if value == ALL_LISTED:
            return ALL_LISTED
        return _codes("stocks", value, '["005930"], or "all"')

    def codes(self, name: str) -> tuple[str, ...]:
        """Stock codes, each once; none if the field is not there."""
        value = self._take(name)
        return () if value is None else _codes(name, value)

    def flag(self, name: str) -> bool:
        """True or false; false if the field is not there."""
        value = self._take(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise MalformedMessage(name, f"{_shown(value)} is not true or false")
        return value

    def count(self, name: str, most: int) -> int | None:
        """A number from 1 to ``most``, None if the field is not there."""
        value = self._take(name)
        if value is None:
            return None
        # To Python, true is an integer as well.
        if type(value) is not int or not 1 <= value <= most:
            text = f"{_shown(value)} is not a whole number from 1 to {most:,}"
            raise MalformedMessage(name, text)
        return value

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
        """A day in Seoul within reason, None if the field is not there."""
        day = self.any_day(name)
        if day and not EXCHANGE_BEGAN <= day <= LAST_DAY:
            known = f"{EXCHANGE_BEGAN} (the exchange opened) to {LAST_DAY}"
            raise MalformedMessage(name, f"{day} is out of range; give {known}")
        return day

    def any_day(self, name: str) -> date | None:
        """A day in Seoul, whatever the year; None if the field is not there."""
        value = self._take(name)
        if value is None:
            return None
        remedy = f"{_shown(value)} is not a date; write it as 2026-01-31 (Seoul)"
        if not isinstance(value, str) or not DATE.fullmatch(value):
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
            text = f'{_shown(value)} is not a ratio; write it as a string such as "1/5"'
            raise MalformedMessage(name, text)
        return Fraction(value)

    def period(self) -> Period | None:
        """``period``, None if it is not there."""
        value = self._take("period")
        if value is None:
            return None
        try:
            return Period.parse(value if isinstance(value, str) else "")
        except ValueError as error:
            name = "period"
            longest = ", ".join(f"{n}{unit}" for unit, n in LONGEST_PERIOD.items())
            remedy = f"write 30d, 6m or 5y (at most {longest})"
            text = f"{_shown(value)} is not a period; {remedy}"
            raise MalformedMessage(name, text) from error


def _json_object(data: bytes, example: str) -> dict[str, Any]:
    field = "message"
    remedy = f"send a JSON object like {example}"
    if not data:
        raise MalformedMessage(field, f"has no body; {remedy}")
    if len(data) > MOST_BYTES:
        text = f"has {len(data):,} bytes; send at most {MOST_BYTES:,}"
        raise MalformedMessage(field, text)
    try:
        value = _json_value(data.decode())
    except RecursionError as error:
        raise MalformedMessage(field, f"is nested too deeply; {remedy}") from error
    except ValueError as error:
        text = f"is not JSON in UTF-8 ({error}); {remedy}"
        raise MalformedMessage(field, text) from error
    if not isinstance(value, dict):
        raise MalformedMessage(field, f"must be a JSON object like {example}")
    return value


def _json_value(text: str) -> Any:  # noqa: ANN401 - JSON may hold anything
    try:
        return json.loads(text, object_pairs_hook=_once_each)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # Python refuses to read an integer of thousands of digits. Read roughly, it is
        # refused by the field that it was sent for.
        return json.loads(text, object_pairs_hook=_once_each, parse_int=_rough_number)


def _rough_number(digits: str) -> float:
    return int(digits) if len(digits) <= MOST_SHOWN else float(digits)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, unless it has a field twice."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice, _ = counts.most_common(1)[0]
        raise MalformedMessage(_field_name(twice), "is given twice; give it once")
    return fields


def _shown(value: object) -> str:
    """A value as an error quotes it, in at most ``MOST_SHOWN`` characters."""
    text = reprlib.repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 3]}..."


def _field_name(name: str) -> str:
    """The name of a field that may be anything, as an error quotes it."""
    return name if len(name) <= MOST_SHOWN and name.isidentifier() else _shown(name)


def _list(name: str, value: object, example: str, most: int) -> list[object]:
    if not isinstance(value, list) or not value:
        raise MalformedMessage(name, f"must be a list such as {example}")
    if len(value) > most:
        text = f"lists {len(value):,} values; give at most {most:,} in one message"
        raise MalformedMessage(name, text)
    return value


def _codes(name: str, value: object, example: str = '["005930"]') -> tuple[str, ...]:
    codes = _list(name, value, example, MOST_CODES)
    return tuple(dict.fromkeys(_stock_code(name, code) for code in codes))


def _choices() -> str:
    return ", ".join([*Timeframe, *ALIASES])


def _timeframe(name: str, value: object) -> Timeframe:
    if isinstance(value, str) and value in ALIASES:
        return ALIASES[value]
    if isinstance(value, str) and value in set(Timeframe):
        return Timeframe(value)
    text = f"{_shown(value)} is not a timeframe; give one of {_choices()}"
    raise MalformedMessage(name, text)


def _stock_code(name: str, value: object) -> str:
    if isinstance(value, str) and STOCK_CODE.fullmatch(value):
        return value
    text = (
        f"{_shown(value)} is not a stock code; write six digits or capitals as a string"
    )
    raise MalformedMessage(name, f'{text}, such as "005930"')
