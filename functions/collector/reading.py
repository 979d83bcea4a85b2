"""Read pages from the broker, newest first, as far back as they are wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from shared.errors import KiwoomUnavailable, UnknownStock
from shared.sessions import DAY, midnight

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import date, datetime

    from functions.collector.plan import Span
    from shared.candles import Candle, RejectedRow, Timeframe
    from shared.series import StagedPage
    from shared.sessions import Calendar


class Page(Protocol):
    """One answer of the broker."""

    @property
    def candles(self) -> tuple[Candle, ...]:
        """The page's candles."""

    @property
    def rejected(self) -> tuple[RejectedRow, ...]:
        """The rows that are no candles."""

    @property
    def blank(self) -> bool:
        """Whether the broker says that it has nothing for the stock."""

    @property
    def last(self) -> bool:
        """Whether the broker has nothing older."""

    @property
    def oldest(self) -> datetime | None:
        """The instant of the oldest row."""

    @property
    def cursor(self) -> str | None:
        """Where the next page begins."""


class Meter(Protocol):
    """Who wants to know about every request to the broker."""

    def waiting(self) -> None:
        """A request is about to wait for its turn."""

    def sent(self) -> None:
        """A request is on its way."""


class CandleSource(Protocol):
    """Where candles come from."""

    def pages(  # noqa: PLR0913 - each is a fact of the request
        self,
        stock_code: str,
        timeframe: Timeframe,
        *,
        anchor: date,
        calendar: Calendar,
        meter: Meter,
        cursor: str | None = None,
    ) -> Iterator[Page]:
        """Yield pages, newest first, from ``anchor`` on, or after an earlier page."""


class Worker(Protocol):
    """Whose attempt it is."""

    def first_slot(self, day: date) -> datetime:
        """The first instant on or after ``day`` at which a candle can open."""

    def note(self, span: Span, page: Page) -> None:
        """Keep what a page tells besides its candles."""

    def recall(self, page: StagedPage) -> None:
        """Keep what a page told when it was read."""

    def is_forgotten(self) -> bool:
        """Whether the broker may have forgotten the stock: it is delisted."""


class Reading:
    """The pages from one anchor, as far back as they are wanted."""

    def __init__(
        self,
        span: Span,
        pages: Iterator[Page],
        work: Worker,
        staged: Sequence[StagedPage],
    ) -> None:
        """Begin with what an earlier attempt has ``staged`` of the same pages."""
        self.span = span
        self.candles: dict[datetime, Candle] = {}
        self.found = False
        self._beyond = midnight(span.anchor + DAY)
        self._pages = pages
        self._work = work
        self._read: dict[datetime, Candle] = {}
        self.reached: datetime | None = None
        for page in staged:
            self.found = True
            self.reached = page.oldest
            work.recall(page)
            self._add(page.candles)

    def read(self, start: date | None = None) -> None:
        """Read back to ``start``; going on later goes on with the next page."""
        first = start or self.span.start
        slot = self._work.first_slot(first)
        while self.reached is None or self.reached > slot:
            if self.next() is None:
                break
        self._take(first)

    def next(self) -> Page | None:
        """Read one page more, None when there is none."""
        page = self._next()
        if page is not None:
            self.reached = page.oldest or self.reached
            self._take(self.span.start)
        return page

    def _take(self, first: date) -> None:
        begin = midnight(first)
        self.candles = {at: c for at, c in self._read.items() if at >= begin}

    def _next(self) -> Page | None:
        try:
            page = next(self._pages, None)
        except UnknownStock:
            if self._work.is_forgotten():
                return None
            raise
        if page is None:
            return None
        if not page.candles and not page.blank:
            message = "the broker answered a page without a single candle"
            raise KiwoomUnavailable(message)
        self.found = self.found or not page.blank
        self._work.note(self.span, page)
        self._add(page.candles)
        return page

    def _add(self, candles: Iterable[Candle]) -> None:
        for candle in candles:
            if candle.opened_at < self._beyond:
                # A page that overlaps its predecessor is the older answer.
                self._read.setdefault(candle.opened_at, candle)
