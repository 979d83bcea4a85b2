"""Collect one stock in one timeframe: plan, ask page by page, store all or nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from functions.collector.plan import Plan, Span, plan
from shared.errors import KiwoomUnavailable, NoCandles, UnknownStock
from shared.series import Attempt, Counts, Harvest, Series
from shared.sessions import DAY, kst_date, midnight

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from datetime import date, datetime

    from shared.candles import Candle, RejectedRow, Timeframe
    from shared.clock import Clock
    from shared.messages import CollectRequest
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
        oldest: datetime,
        calendar: Calendar,
        meter: Meter,
    ) -> Iterator[Page]:
        """Yield pages, newest first, from ``anchor`` back to ``oldest``."""


class TaskLedger(Protocol):
    """Who is at which task."""

    def attempt(
        self, request: CollectRequest
    ) -> AbstractContextManager[Attempt | None]:
        """Begin a try at the task; None when the task is finished already."""

    def keep(self, attempt: Attempt) -> None:
        """Say that the attempt goes on."""


class CandleStore(Protocol):
    """Where candles go to."""

    def calendar(self) -> Calendar:
        """The sessions of the exchange."""

    def store(self, attempt: Attempt, harvest: Harvest) -> Counts:
        """Store candles, series and task in one transaction."""


NOTHING_STORED = Counts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one message did; ``requests`` were sent to the broker."""

    state: str
    requests: int = 0
    counts: Counts = NOTHING_STORED


def collect(
    request: CollectRequest,
    source: CandleSource,
    ledger: TaskLedger,
    store: CandleStore,
    clock: Clock,
) -> Outcome:
    """Do the task of ``request`` unless it is done.

    Raises:
        Busy: If somebody else is at the same series, or too many wait for a slot.
        PermanentError: If the task can never be done, or has failed too often.
        TransientError: If it may be done later; nothing was stored.
    """
    with ledger.attempt(request) as attempt:
        if attempt is None:
            return Outcome(state="finished_before")
        now = clock()
        calendar = store.calendar()
        harvest = _harvest(attempt, source, ledger, calendar, now)
        counts = store.store(attempt, harvest)
    state = "no_data" if harvest.no_data else "done"
    return Outcome(state=state, requests=attempt.requests, counts=counts)


def _harvest(
    attempt: Attempt,
    source: CandleSource,
    ledger: TaskLedger,
    calendar: Calendar,
    now: datetime,
) -> Harvest:
    """Read what the plan wants; what the broker lacks is remembered, not retried."""
    request, series = attempt.request, attempt.series
    todo = None if series.ended else plan(request, series, calendar, now)
    if todo is None:
        return Harvest(candles=(), rejected=(), series=series, no_data=series.ended)
    reading = _Reading(attempt, source, ledger, calendar)
    if todo.newer and not reading.read(todo.newer):
        if attempt.listed:
            message = f"the broker has no {request.timeframe} candles of "
            message += f"{request.stock_code}, which is listed; see whether it still is"
            raise NoCandles(message)
        return reading.harvest(replace(series, ended=True), no_data=True)
    if todo.older:
        reading.read(todo.older)
    return reading.harvest(_covered(series, todo, reading))


def _covered(series: Series, todo: Plan, reading: _Reading) -> Series:
    days = [kst_date(candle.opened_at) for candle in reading.candles.values()]
    return replace(
        series,
        covered_from=todo.covered_from,
        settled_through=todo.settled_through,
        oldest=min(filter(None, (series.oldest, *days)), default=None),
        history_exhausted=series.history_exhausted or reading.exhausted,
    )


class _Reading:
    """The pages of one attempt, gathered."""

    def __init__(
        self,
        attempt: Attempt,
        source: CandleSource,
        ledger: TaskLedger,
        calendar: Calendar,
    ) -> None:
        self._attempt = attempt
        self._source = source
        self._ledger = ledger
        self._calendar = calendar
        self.candles: dict[datetime, Candle] = {}
        self.rejected: list[RejectedRow] = []
        self.exhausted = False

    def read(self, span: Span) -> bool:
        """Read one span; tell whether the broker has anything for the stock at all."""
        request = self._attempt.request
        first, beyond = midnight(span.start), midnight(span.anchor + DAY)
        pages = self._source.pages(
            request.stock_code,
            request.timeframe,
            anchor=span.anchor,
            oldest=self._calendar.first_slot(request.timeframe, span.start),
            calendar=self._calendar,
            meter=self,
        )
        something = False
        for page in self._known(pages):
            if not page.candles and not page.blank:
                message = "the broker answered a page without a single candle"
                raise KiwoomUnavailable(message)
            something = something or not page.blank
            for candle in page.candles:
                if first <= candle.opened_at < beyond:
                    # A page that overlaps its predecessor is the older answer.
                    self.candles.setdefault(candle.opened_at, candle)
            self.rejected.extend(page.rejected)
            self.exhausted = self.exhausted or page.last
        return something

    def _known(self, pages: Iterator[Page]) -> Iterator[Page]:
        """The pages; none if the broker has forgotten a stock that is delisted."""
        try:
            yield from pages
        except UnknownStock:
            if self._attempt.listed:
                raise

    def harvest(self, series: Series, *, no_data: bool = False) -> Harvest:
        return Harvest(
            candles=tuple(candle for _, candle in sorted(self.candles.items())),
            rejected=tuple(self.rejected),
            series=series,
            no_data=no_data,
        )

    def waiting(self) -> None:
        """Keep the series while the request waits."""
        self._ledger.keep(self._attempt)

    def sent(self) -> None:
        """Count the request, also if the attempt fails later."""
        self._attempt.requests += 1
