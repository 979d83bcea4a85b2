"""Read one chain of pages from the broker: resume, next, stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from shared.errors import KiwoomUnavailable, UnknownStock

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date, datetime

    from shared.candles import Candle, RejectedRow
    from shared.pages import ChartQuery, Page, PageChain, RequestObserver
    from shared.sessions import Calendar


class CandleSource(Protocol):
    """Where candles come from."""

    def page(
        self,
        query: ChartQuery,
        *,
        cursor: str | None,
        calendar: Calendar,
        observer: RequestObserver | None = None,
    ) -> Page:
        """Request one page: the newest one, or the one that ``cursor`` leads to."""


class PageReader:
    """The pages from one anchor, newest first, as far back as they are wanted.

    An answer is believed as far as it proves something. A blank page is a whole answer
    for a stock without candles and nothing else; a page that does not get older is no
    page; a row that came spoilt is requested once more.
    """

    def __init__(  # noqa: PLR0913 - each is a fact of the reading
        self,
        query: ChartQuery,
        source: CandleSource,
        calendar: Calendar,
        chain: PageChain,
        observer: RequestObserver,
        on_page: Callable[[PageChain], None],
        *,
        may_be_blank: bool,
        may_be_unknown: bool,
    ) -> None:
        """Go on after the pages of ``chain``; tell ``on_page`` of every new one."""
        self._query = query
        self._source = source
        self._calendar = calendar
        self._observer = observer
        self._on_page = on_page
        self._may_be_blank = may_be_blank
        self._may_be_unknown = may_be_unknown
        self.chain = chain
        self.is_blank = False
        # An answer from another day has ended with the same candle.
        self.end_is_confirmed = False
        self.candles: dict[datetime, Candle] = {}
        self.rejected: list[RejectedRow] = []
        for page in chain.pages:
            self._keep(page)

    @property
    def anchor(self) -> date:
        """The newest day that is read."""
        return self._query.anchor

    @property
    def read_at(self) -> datetime:
        """The instant before the first page was requested."""
        return self.chain.read_at

    @property
    def oldest(self) -> datetime:
        """How far back the pages reach so far."""
        return min(self.candles)

    @property
    def newest(self) -> datetime:
        """The instant of the newest candle."""
        return max(self.candles)

    @property
    def unreadable(self) -> frozenset[datetime]:
        """Slots whose row was refused, and that no other row has filled."""
        slots = {row.opened_at for row in self.rejected if row.opened_at}
        return frozenset(slots - self.candles.keys())

    @property
    def saw_the_end(self) -> bool:
        """Whether a last page was seen that may be believed.

        A full page that says it is the last is suspect: there may well be another.
        """
        return self.chain.is_at_end and not self.chain.pages[-1].is_full

    def read_back_to(self, instant: datetime) -> None:
        """Read pages until one reaches ``instant``, or the broker has no more."""
        while not self.candles or self.oldest > instant:
            if self.next() is None:
                return

    def next(self) -> Page | None:
        """Read one more page; None if the broker says that there is none.

        Raises:
            KiwoomUnavailable: If the answer proves nothing, so that a retry may help.
        """
        if self.is_blank or self.chain.is_at_end:
            return None
        page = self._request()
        if page is None or page.is_blank:
            if self.chain.pages or not self._may_be_blank:
                message = (
                    "the broker answered with a blank page although it has candles"
                )
                raise KiwoomUnavailable(message)
            self.is_blank = True
            return None
        if any(row.spoilt for row in page.rejected):
            page = self._less_spoilt(page)
        if not page.candles:
            message = "the broker answered with a page without a single candle"
            raise KiwoomUnavailable(message)
        if self.candles and page.oldest >= self.oldest:
            message = "the broker answered with a page that is no older than the last"
            raise KiwoomUnavailable(message)
        self.chain = self.chain.followed_by(page)
        self._keep(page)
        self._on_page(self.chain)
        return page

    def _request(self) -> Page | None:
        try:
            return self._source.page(
                self._query,
                cursor=self.chain.cursor,
                calendar=self._calendar,
                observer=self._observer,
            )
        except UnknownStock:
            # The broker forgets a delisted stock; of any other it must know.
            if self._may_be_unknown and not self.chain.pages:
                return None
            raise

    def _less_spoilt(self, page: Page) -> Page:
        """Request a page with spoilt rows once more; keep the better answer."""
        again = self._request()
        if again is None or again.is_blank:
            return page
        return min((again, page), key=_spoilt_rows)

    def _keep(self, page: Page) -> None:
        self.rejected.extend(page.rejected)
        for candle in page.candles:
            # Where a page overlaps its predecessor, it is the older answer.
            self.candles.setdefault(candle.opened_at, candle)


def _spoilt_rows(page: Page) -> int:
    return sum(row.spoilt for row in page.rejected)
