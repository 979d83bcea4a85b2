"""Cron expressions: when a schedule fires, in Seoul."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Self

from shared.sessions import DAY, KST, kst_date

if TYPE_CHECKING:
    from datetime import date

# What a field may hold, in the order of the fields. Sunday is 0 and 7.
RANGES = {
    "minute": (0, 59),
    "hour": (0, 23),
    "day of month": (1, 31),
    "month": (1, 12),
    "day of week": (0, 7),
}
SUNDAY = 7
# The rarest firing is 29 February on a given weekday: once in 28 years, or in 40 where
# a century without a leap day lies between.
LONGEST_WAIT = timedelta(days=40 * 366)


@dataclass(frozen=True, slots=True)
class Cron:
    """When a schedule fires: five fields of numbers, ``*``, ranges, steps and lists.

    As in every cron, a day must match both of its fields, unless both are restricted:
    then one of them is enough.
    """

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    one_field_is_enough: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``*/5 9-20 * * 1-5``.

        Raises:
            ValueError: If it is not a cron expression; the text names the field.
        """
        fields = text.split()
        if len(fields) != len(RANGES):
            message = f"{text!r} is not a cron expression of {len(RANGES)} fields"
            raise ValueError(message)
        minutes, hours, days, months, weekdays = (
            _values(field, name, *RANGES[name])
            for field, name in zip(fields, RANGES, strict=True)
        )
        return cls(
            text=text,
            minutes=tuple(sorted(minutes)),
            hours=tuple(sorted(hours)),
            days=days,
            months=months,
            # As Python counts ISO weekdays: Sunday is 7.
            weekdays=frozenset(day or SUNDAY for day in weekdays),
            one_field_is_enough=not (
                fields[2].startswith("*") or fields[4].startswith("*")
            ),
        )

    def at_or_after(self, instant: datetime) -> datetime | None:
        """The first firing at or after ``instant``; None if it never fires again."""
        return _first(self, instant)

    def fires_on(self, day: date) -> bool:
        """Whether it fires on ``day``."""
        if day.month not in self.months:
            return False
        both = day.day in self.days, day.isoweekday() in self.weekdays
        return any(both) if self.one_field_is_enough else all(both)


@lru_cache(maxsize=4096)
def _first(cron: Cron, instant: datetime) -> datetime | None:
    local = instant.astimezone(KST)
    day, last = kst_date(instant), kst_date(instant) + LONGEST_WAIT
    while day <= last:
        if cron.fires_on(day):
            for hour in cron.hours:
                for minute in cron.minutes:
                    firing = datetime.combine(day, time(hour, minute), KST)
                    if firing >= local:
                        return firing
        day += DAY
    return None


def _values(field: str, name: str, low: int, high: int) -> frozenset[int]:
    return frozenset(
        value for part in field.split(",") for value in _part(part, name, low, high)
    )


def _part(part: str, name: str, low: int, high: int) -> range:
    span, slash, step = part.partition("/")
    first, dash, last = span.partition("-")
    try:
        if span == "*":
            begin, end = low, high
        else:
            begin = int(first)
            end = int(last) if dash else high if slash else begin
        every = int(step) if slash else 1
    except ValueError:
        begin, end, every = 1, 0, 0
    if not low <= begin <= end <= high or every < 1:
        message = f"{part!r} is not a {name} from {low} to {high}"
        raise ValueError(message)
    return range(begin, end + 1, every)
