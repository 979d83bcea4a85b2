"""The broker's fields, read: one function a kind of field.

Each takes what JSON may hold there (null, a string, a number or worse) and returns the
value, or raises ValueError with a short reason. Numbers usually come as strings.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from shared.candles import LARGEST_INTEGER
from shared.sessions import KST

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

WHOLE_NUMBER = re.compile(r"([+-]*)([0-9]+)(?:\.0+)?")
INSTANT = re.compile(r"([0-9]{8})([0-9]{6})?")
SPACES = re.compile(r"\s+")
# The longest field is a number that is padded with zeros to 16 digits.
LONGEST = 40
CODE_DIGITS = 6
# The exchange opened in 1956.
FIRST_YEAR = 1956


def price(value: object) -> int:
    """Read a price in KRW; its signs only tell the colour against the previous close.

    ``"+70000"``, ``"-70000"`` and ``"--70000"`` are all 70,000 KRW.

    Raises:
        ValueError: If it is no whole number.
    """
    _, number = _whole_number(value)
    return number


def count(value: object) -> int:
    """Read a number of shares or of KRW, which cannot be negative.

    Volumes stop at 4,294,967,295 (2**32 - 1) where more was traded: the broker counts
    them in 32 bits. Such a number is kept, since nothing tells the true one.

    Raises:
        ValueError: If it is no whole number, or negative.
    """
    signs, number = _whole_number(value)
    if number and "-" in signs:
        message = f"{signs}{number} is negative"
        raise ValueError(message)
    return number


def instant(value: object) -> datetime:
    """Read ``20260815`` or ``20260815090000``, which are times in Seoul.

    Raises:
        ValueError: If it is neither, or before the exchange opened.
    """
    characters = _characters(value)
    match = INSTANT.fullmatch(characters)
    if match is None:
        message = f"{characters!a} is neither YYYYMMDD nor YYYYMMDDHHMMSS"
        raise ValueError(message)
    day, time = match.groups(default="000000")
    try:
        local = datetime.fromisoformat(f"{day}T{time}")
    except ValueError:
        message = f"{characters} is no date and time"
        raise ValueError(message) from None
    if local.year < FIRST_YEAR:
        message = f"{characters} is before {FIRST_YEAR}"
        raise ValueError(message)
    return local.replace(tzinfo=KST)


def text(value: object) -> str:
    """Read a name or a label: spaces are single, other values become ``""``.

    What a database cannot store (NUL, lone surrogates) is left out.
    """
    words = SPACES.sub(" ", _written(value) or "").strip()
    return "".join(character for character in words if character.isprintable())


def code(value: object) -> str:
    """Read a stock code; one that came as a number has lost its leading zeros."""
    return text(value).zfill(CODE_DIGITS) if type(value) is int else text(value)


def optional(read: Callable[[object], T], value: object) -> T | None:
    """Read a field that costs only itself: None if it cannot be read."""
    try:
        return read(value)
    except ValueError:
        return None


def _whole_number(value: object) -> tuple[str, int]:
    """The signs and the magnitude; ``"70000.0"`` is whole, ``"70000.5"`` is not."""
    characters = _characters(value)
    match = WHOLE_NUMBER.fullmatch(characters)
    if match is None:
        message = f"{characters!a} is not a whole number"
        raise ValueError(message)
    signs, digits = match.groups()
    number = int(digits)
    if number > LARGEST_INTEGER:
        message = f"{characters} does not fit 64 bits"
        raise ValueError(message)
    return signs, number


def _characters(value: object) -> str:
    """What a number or an instant is read from: not blank, and no longer than one."""
    characters = _written(value)
    if characters is None:
        message = "is missing" if value is None else f"is a {type(value).__name__}"
        raise ValueError(message)
    characters = characters.strip()
    if not characters:
        message = "is blank"
        raise ValueError(message)
    if len(characters) > LONGEST:
        message = f"has {len(characters)} characters"
        raise ValueError(message)
    return characters


def _written(value: object) -> str | None:
    """A string or a number as the string that the broker would usually send."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)
