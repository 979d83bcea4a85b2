"""Bars: the candles of the simulated market, column by column."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Bars:
    """Candles in ascending order; the market's own prices are in its oldest shares.

    ``opened`` is in seconds since 1970. ``total`` is the day's volume up to and with
    the bar, ``reference`` the price against which it is coloured.
    """

    opened: Array
    open: Array
    high: Array
    low: Array
    close: Array
    volume: Array
    turnover: Array
    total: Array
    reference: Array

    def __len__(self) -> int:
        """How many there are."""
        return len(self.opened)

    def __getitem__(self, which: slice | np.ndarray[Any, Any]) -> Bars:
        """Some of them."""
        return Bars(*(column[which] for column in self.columns()))

    def columns(self) -> Iterator[Array]:
        """The columns, in the order of the fields."""
        return (getattr(self, field.name) for field in fields(self))

    def before(self, instant: datetime) -> Bars:
        """Those that opened before ``instant``."""
        end = int(np.searchsorted(self.opened, int(instant.timestamp())))
        return self[:end]

    def grouped(self, keys: Array) -> Bars:
        """Joined where ``keys`` are the same; a group opens with its first bar."""
        if not len(self):
            return self
        starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
        ends = np.r_[starts[1:], len(self)] - 1
        return Bars(
            self.opened[starts],
            self.open[starts],
            np.maximum.reduceat(self.high, starts),
            np.minimum.reduceat(self.low, starts),
            self.close[ends],
            np.add.reduceat(self.volume, starts),
            np.add.reduceat(self.turnover, starts),
            self.total[ends],
            self.reference[starts],
        )


def joined(parts: Sequence[Bars]) -> Bars:
    """Parts in ascending order as one."""
    columns = zip(*(part.columns() for part in parts), strict=True)
    return Bars(*(np.concatenate(column) for column in columns))


NOTHING = Bars(*(np.empty(0, dtype=np.int64) for _ in fields(Bars)))
