"""Collect one stock in one timeframe: plan, ask page by page, store all or nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from functions.collector.joint import SAME, Basis, compare
from functions.collector.plan import Plan, Span, last_day, plan
from functions.collector.reading import Reading
from shared.errors import Busy, NoCandles
from shared.modes import Mode
from shared.series import Attempt, Counts, Harvest, Rebase, Series, StagedPage
from shared.sessions import DAY, kst_date, midnight

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from datetime import date, datetime

    from functions.collector.reading import CandleSource, Page
    from shared.candles import Candle, RejectedRow
    from shared.clock import Clock
    from shared.messages import CollectRequest
    from shared.sessions import Calendar


class TaskLedger(Protocol):
    """Who is at which task."""

    def attempt(
        self, request: CollectRequest
    ) -> AbstractContextManager[Attempt | None]:
        """Begin a try at the task; None when the task is finished already."""

    def keep(self, attempt: Attempt, pages: Sequence[StagedPage]) -> None:
        """Say that the attempt goes on, and leave its pages for the next one."""


class CandleStore(Protocol):
    """Where candles go to."""

    def calendar(self) -> Calendar:
        """The sessions of the exchange."""

    def settled(self, attempt: Attempt, first: datetime) -> dict[datetime, Candle]:
        """The settled candles of the series from ``first`` on."""

    def known_slots(
        self, attempt: Attempt, first: datetime, beyond: datetime
    ) -> set[datetime]:
        """Slots with a candle, and those where the broker is known to have none."""

    def store(self, attempt: Attempt, harvest: Harvest) -> Counts:
        """Store candles, series and task in one transaction."""


NOTHING_STORED = Counts()
# The broker's keys of pages are not meant to be kept, and a forming candle grows old.
STAGED_FOR = timedelta(minutes=10)
# A message is given back after so long, while there is time for one more request.
BUDGET = timedelta(minutes=6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one message did; ``requests`` were sent to the broker.

    ``ratio`` is that of a corporate action which was found.
    """

    state: str
    requests: int = 0
    counts: Counts = NOTHING_STORED
    ratio: float | None = None


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
        work = _Work(attempt, source, ledger, store, clock)
        harvest = work.harvest()
        counts = store.store(attempt, harvest)
    return Outcome(
        state="no_data" if harvest.no_data else "done",
        requests=attempt.requests,
        counts=counts,
        ratio=harvest.rebase.ratio if harvest.rebase else None,
    )


class _Work:
    """One attempt: what is read, and what comes of it."""

    def __init__(
        self,
        attempt: Attempt,
        source: CandleSource,
        ledger: TaskLedger,
        store: CandleStore,
        clock: Clock,
    ) -> None:
        now = clock()
        self._clock = clock
        self._time_is_up = now + BUDGET
        self._attempt = attempt
        self._source = source
        self._ledger = ledger
        self._store = store
        # What an earlier attempt has left is used as long as it is young.
        self._staged = [
            page for page in attempt.staged if now - page.read_at < STAGED_FOR
        ]
        self._now = min([now, *(page.read_at for page in self._staged)])
        self._unstaged: list[StagedPage] = []
        self._calendar = store.calendar()
        self._candles: dict[datetime, Candle] = {}
        self._rejected: list[RejectedRow] = []
        # The oldest row that the broker has at all, once its last page was read.
        self._bottom: datetime | None = None

    def harvest(self) -> Harvest:
        """Read what the plan wants; what the broker lacks is remembered."""
        request, series = self._attempt.request, self._attempt.series
        if request.mode is Mode.REPAIR:
            return self._repaired()
        todo = None
        if not series.ended:
            todo = plan(request, series, self._calendar, self._now)
        if todo is None:
            return Harvest(candles=(), rejected=(), series=series, no_data=series.ended)
        newer, older = self._span(todo.newer), self._span(todo.older)
        if newer:
            newer.read()
            if not newer.found:
                return self._nothing()
        for reading in filter(None, (newer, older)):
            reading.read()
            if self._basis(reading).moved:
                return self._rebuilt(todo, newer)
            self._candles.update(reading.candles)
        return self._harvest(self._covered(todo))

    def _span(self, span: Span | None) -> Reading | None:
        if span is None:
            return None
        staged = [page for page in self._staged if page.anchor == span.anchor]
        pages = self._source.pages(
            self._attempt.request.stock_code,
            self._attempt.request.timeframe,
            anchor=span.anchor,
            calendar=self._calendar,
            meter=self,
            cursor=staged[-1].cursor if staged else None,
        )
        return Reading(span, pages, self, staged)

    def _basis(self, reading: Reading) -> Basis:
        """How the prices that were read relate to the settled ones we have."""
        if self._attempt.series.settled_through is None or not reading.candles:
            return SAME
        ours = self._store.settled(self._attempt, min(reading.candles))
        return compare(ours, reading.candles)

    def _rebuilt(self, todo: Plan, newer: Reading | None) -> Harvest:
        """Read the whole series on its new basis: a corporate action has moved it."""
        whole = Span(kst_date(self._now), todo.covered_from)
        reading = newer
        if reading is None or reading.span.anchor != whole.anchor:
            reading = self._span(whole)
        assert reading is not None
        reading.read(whole.start)
        self._candles = dict(reading.candles)
        series = self._attempt.series
        last_settled = series.joint or todo.covered_from
        settled = self._calendar.settled_through(
            self._attempt.request.timeframe, self._now, whole.anchor
        )
        basis = self._basis(reading)
        known = replace(todo, settled_through=settled or todo.settled_through)
        harvest = self._harvest(self._covered(known))
        if not basis.moved:
            return harvest
        rebase = Rebase(
            ratio=basis.ratio,
            after=last_settled,
            effective_by=self._calendar.latest_opened(self._now) or last_settled,
            evidence=basis.evidence,
            found_at=self._now,
        )
        return replace(harvest, rebase=rebase)

    def _repaired(self) -> Harvest:
        """Ask again for the settled candles that are missing, with the fewest pages.

        A page is asked for by the newest candle that is missing; then by the newest
        that it did not reach, or, on the day where it was cut, by going on.
        """
        request, series = self._attempt.request, self._attempt.series
        missing = self._missing()
        absent: list[datetime] = []
        reading: Reading | None = None
        while missing and not series.ended:
            newest = kst_date(max(missing))
            cut = reading and reading.reached and kst_date(reading.reached)
            if reading is None or cut != newest:
                anchor = last_day(request.timeframe, newest)
                span = Span(min(anchor, kst_date(self._now)), series_start(series))
                reading = self._span(span)
                assert reading is not None
            page = reading.next()
            reached = page.oldest if page else None
            resolved = {at for at in missing if reached is None or at >= reached}
            if reached is not None and not self._proven(reading):
                return self._reread(missing)
            found = {at for at in resolved if at in reading.candles}
            self._candles.update(reading.candles)
            absent += resolved - found
            missing -= resolved
        return replace(self._harvest(series), absent=tuple(sorted(absent)))

    def _missing(self) -> set[datetime]:
        """Slots of settled sessions for which there is neither candle nor knowledge."""
        request, series = self._attempt.request, self._attempt.series
        if series.covered_from is None or series.settled_through is None:
            return set()
        # Before its oldest candle an exhausted series has nothing to miss.
        begins = series.oldest if series.history_exhausted else None
        first = max(filter(None, (series.covered_from, begins, request.start)))
        last = series.settled_through
        if request.end:
            last = min(last, request.end - DAY)
        expected = {
            slot
            for day in self._calendar.session_dates(first, last)
            for slot in self._calendar.slots(request.timeframe, day)
        }
        period = (midnight(first), midnight(last + DAY))
        return expected - self._store.known_slots(self._attempt, *period)

    def _proven(self, reading: Reading) -> bool:
        """Whether what was read stands on the basis of the candles we have."""
        if not reading.candles:
            return True
        ours = self._store.settled(self._attempt, min(reading.candles))
        common = ours.keys() & reading.candles.keys()
        return bool(common) and not compare(ours, reading.candles).moved

    def _reread(self, missing: set[datetime]) -> Harvest:
        """Read the series from today: its days of old stand on another basis."""
        series = self._attempt.series
        start = series_start(series)
        todo = Plan(
            newer=None, covered_from=start, settled_through=series.settled_through
        )
        harvest = self._rebuilt(todo, None)
        absent = missing - {candle.opened_at for candle in harvest.candles}
        return replace(harvest, absent=tuple(sorted(absent)))

    def _nothing(self) -> Harvest:
        """The broker has nothing at all for the stock."""
        request = self._attempt.request
        if self._attempt.listed:
            message = f"the broker has no {request.timeframe} candles of "
            message += f"{request.stock_code}, which is listed; see whether it still is"
            raise NoCandles(message)
        ended = replace(self._attempt.series, ended=True)
        return replace(self._harvest(ended), no_data=True)

    def _covered(self, todo: Plan) -> Series:
        series = self._attempt.series
        days = [kst_date(instant) for instant in self._candles]
        # A last page that reaches behind the start has more than was asked for.
        bottom, start = self._bottom, midnight(todo.covered_from)
        ended = bottom is not None and bottom >= start
        return replace(
            series,
            covered_from=todo.covered_from,
            settled_through=todo.settled_through,
            oldest=min(filter(None, (series.oldest, *days)), default=None),
            history_exhausted=series.history_exhausted or ended,
        )

    def _harvest(self, series: Series) -> Harvest:
        return Harvest(
            candles=tuple(candle for _, candle in sorted(self._candles.items())),
            rejected=tuple(self._rejected),
            series=series,
        )

    def first_slot(self, day: date) -> datetime:
        """The first instant on or after ``day`` at which a candle can open."""
        return self._calendar.first_slot(self._attempt.request.timeframe, day)

    def note(self, span: Span, page: Page) -> None:
        """Keep what a page tells besides its candles, and the page for a next time."""
        self._rejected.extend(page.rejected)
        if page.last:
            self._bottom = page.oldest or midnight(span.anchor)
        if page.cursor is not None and page.oldest is not None:
            staged = StagedPage(
                anchor=span.anchor,
                cursor=page.cursor,
                oldest=page.oldest,
                read_at=self._now,
                candles=page.candles,
                rejected=page.rejected,
            )
            self._unstaged.append(staged)

    def recall(self, page: StagedPage) -> None:
        """Keep what a page told when it was read."""
        self._rejected.extend(page.rejected)

    def is_forgotten(self) -> bool:
        """Whether the broker may have forgotten the stock: it is delisted."""
        return not self._attempt.listed

    def waiting(self) -> None:
        """Keep the series while the request waits, and the pages that came before.

        Raises:
            Busy: If the message has taken its time.
        """
        pages, self._unstaged = self._unstaged, []
        self._ledger.keep(self._attempt, pages)
        if self._clock() > self._time_is_up:
            message = "the time of this message is up; its next delivery goes on here"
            raise Busy(message)

    def sent(self) -> None:
        """Count the request, also if the attempt fails later."""
        self._attempt.requests += 1


def series_start(series: Series) -> date:
    """The first day that the series covers."""
    assert series.covered_from is not None
    return series.covered_from
