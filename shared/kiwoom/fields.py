"""The broker's texts, read: signed prices, counts, dates and instants."""

from __future__ import annotations

from datetime import datetime

from shared.sessions import KST


def price(text: str) -> int:
    """Read a price; its signs only tell the colour against the previous close.

    ``"+70000"``, ``"-70000"`` and ``"--70000"`` are all 70,000 KRW.

    Raises:
        ValueError: If it is no whole number.
    """
    return count(text.lstrip("+-"))


def count(text: str) -> int:
    """Read a number of shares or of KRW; a sign would be a mistake here.

    Raises:
        ValueError: If it is no whole number.
    """
    if not (text.isascii() and text.isdigit()):
        message = f"{text!r} is not a whole number"
        raise ValueError(message)
    return int(text)


def instant(text: str) -> datetime:
    """Read ``20260815`` or ``20260815090000``, which are times in Seoul.

    Raises:
        ValueError: If it is neither.
    """
    if not (text.isascii() and text.isdigit() and len(text) in {8, 14}):
        message = f"{text!r} is neither YYYYMMDD nor YYYYMMDDHHMMSS"
        raise ValueError(message)
    local = datetime.fromisoformat(f"{text[:8]}T{text[8:] or '000000'}")
    return local.replace(tzinfo=KST)
