"""Lengths of history."""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Self

LONGEST_PERIOD = {"d": 9999, "m": 800, "y": 70}


@dataclass(frozen=True, slots=True)
class Period:
    """A length of history such as ``30d``, ``6m`` or ``5y``."""

    count: int
    unit: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``30d``, ``6m`` or ``5y``.

        Raises:
            ValueError: If the string is none of these.
        """
        match = re.fullmatch(r"([1-9][0-9]{0,3})([dmy])", text)
        if match is None or int(match[1]) > LONGEST_PERIOD[match[2]]:
            message = f"{text!r} is not a period: write 30d, 6m or 5y"
            raise ValueError(message)
        return cls(int(match[1]), match[2])

    def before(self, day: date) -> date:
        """The day this long before ``day``; short months end where they end."""
        if self.unit == "d":
            return day - timedelta(days=self.count)
        months = self.count * (12 if self.unit == "y" else 1)
        index = day.year * 12 + day.month - 1 - months
        year, month = divmod(index, 12)
        month += 1
        return date(year, month, min(day.day, monthrange(year, month)[1]))
