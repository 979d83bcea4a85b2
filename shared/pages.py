"""Pages of the broker's charts, as the pipeline sees them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from datetime import date, datetime

    from shared.candles import Candle, CandleSession, RejectedRow, Timeframe
    from shared.sessions import Calendar


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartQuery:
    """What a chain of pages is read for.

    ``anchor`` (a day in Seoul) is the newest day that is read, and the day that
    adjusted prices are relative to: a later corporate action is not in them.
    """

    stock_code: str
    timeframe: Timeframe
    anchor: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One answer of the broker: ``candles`` newest first, and the ``rejected`` rows.

    ``cursor`` is where the next page begins, None where the broker says that there is
    none. ``is_full`` tells that the page has as many rows as a page can have: one that
    is full and says that it is the last is suspect.
    """

    candles: tuple[Candle, ...]
    rejected: tuple[RejectedRow, ...] = ()
    cursor: str | None = None
    is_full: bool = False

    @property
    def is_blank(self) -> bool:
        """Whether the broker served no row at all."""
        return not self.candles and not self.rejected

    @property
    def is_last(self) -> bool:
        """Whether the broker says that it has nothing older."""
        return self.cursor is None

    @property
    def hides_a_candle(self) -> bool:
        """Whether a row is unreadable down to its time: its candle may be anywhere."""
        return any(row.spoilt and row.opened_at is None for row in self.rejected)

    def fits(self, calendar: Calendar, timeframe: Timeframe) -> bool:
        """Whether its rows would be read with ``calendar`` as they were."""
        candles = {candle.opened_at: candle.session for candle in self.candles}
        homeless = {
            row.opened_at
            for row in self.rejected
            if row.opened_at and not row.spoilt and row.opened_at not in candles
        }
        return all(
            _place(calendar, timeframe, at) == session
            for at, session in (candles | dict.fromkeys(homeless)).items()
        )

    @property
    def oldest(self) -> datetime:
        """The instant of the oldest candle; the page must have one."""
        return min(candle.opened_at for candle in self.candles)

    @property
    def newest(self) -> datetime:
        """The instant of the newest candle; the page must have one."""
        return max(candle.opened_at for candle in self.candles)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageChain:
    """Pages read one after another from one anchor, newest first.

    Each page begins where its predecessor ended, so a chain has no hole by
    construction. It ages as a whole, from ``read_at``: the instant before its first
    page was requested.
    """

    anchor: date
    read_at: datetime
    pages: tuple[Page, ...] = ()

    def followed_by(self, page: Page) -> Self:
        """The chain with one page more, which its cursor led to."""
        return replace(self, pages=(*self.pages, page))

    def fits(self, calendar: Calendar, timeframe: Timeframe) -> bool:
        """Whether all of it would be read with ``calendar`` as it was."""
        return all(page.fits(calendar, timeframe) for page in self.pages)

    @property
    def cursor(self) -> str | None:
        """Where the next page begins; None before the first page and after the last."""
        return self.pages[-1].cursor if self.pages else None

    @property
    def is_at_end(self) -> bool:
        """Whether the broker says that it has nothing older."""
        return bool(self.pages) and self.pages[-1].is_last


def _place(
    calendar: Calendar, timeframe: Timeframe, opened_at: datetime
) -> CandleSession | None:
    try:
        return calendar.place(timeframe, opened_at)
    except ValueError:
        return None


class RequestObserver(Protocol):
    """Is told of every request to the broker, retries among them."""

    def before_request(self) -> None:
        """A request is about to wait for its slot; what this raises stops it."""

    def request_sent(self) -> None:
        """A request is on its way."""
