"""What one attempt works with, and how what it read becomes a collected series."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from functions.collector.overlap import PriceBasis, compare
from functions.collector.page_reader import PageReader
from functions.collector.plan import CONTRADICTED_END, is_contradicted, last_day
from shared.candles import Timeframe
from shared.coverage import (
    MINUTES_KEPT,
    absent_slots,
    complete_periods,
    expected_slots,
    first_day,
    proven_through,
)
from shared.pages import ChartQuery, PageChain
from shared.series import CollectedSeries, Period
from shared.sessions import DAY, kst_date, midnight, week_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import date, datetime

    from functions.collector.page_breaks import Crossing
    from functions.collector.page_reader import CandleSource
    from shared.candles import Candle
    from shared.series import Attempt, Series, Stored
    from shared.sessions import Calendar


class CandleStore(Protocol):
    """Where candles are stored."""

    def calendar(self) -> Calendar:
        """The sessions of the exchange."""

    def candles(self, attempt: Attempt, period: Period) -> dict[datetime, Candle]:
        """The candles of the series that open in ``period``."""

    def known_slots(self, attempt: Attempt, period: Period) -> set[datetime]:
        """Slots with a candle, and those where the broker is known to have none."""

    def has_traded_since(self, attempt: Attempt, day: date) -> bool | None:
        """Whether the stock has traded since, by its days; None if we have no days."""

    def store(self, attempt: Attempt, collected: CollectedSeries) -> Stored:
        """Store candles, series and task in one transaction."""


class AttemptObserver(Protocol):
    """Is told of every request and of every page of an attempt."""

    def before_request(self) -> None:
        """A request is about to wait for its slot; what this raises stops it."""

    def request_sent(self) -> None:
        """A request is on its way."""

    def page_read(self, chain: PageChain) -> None:
        """A chain has become one page longer."""


@dataclass(slots=True, kw_only=True)
class Workspace:
    """One attempt at ``now``, with what earlier attempts have read in ``chains``."""

    attempt: Attempt
    source: CandleSource
    store: CandleStore
    calendar: Calendar
    observer: AttemptObserver
    now: datetime
    chains: dict[date, PageChain] = field(default_factory=dict)

    @property
    def today(self) -> date:
        """The day in Seoul."""
        return kst_date(self.now)

    @property
    def timeframe(self) -> Timeframe:
        """The timeframe of the series."""
        return self.attempt.request.timeframe

    def reader(self, anchor: date) -> PageReader:
        """Read from ``anchor`` on, after the pages that were read before."""
        request, series = self.attempt.request, self.attempt.series
        query = ChartQuery(
            stock_code=request.stock_code, timeframe=request.timeframe, anchor=anchor
        )
        chain = self.chains.get(anchor) or PageChain(anchor=anchor, read_at=self.now)
        return PageReader(
            query,
            self.source,
            self.calendar,
            chain,
            self.observer,
            self.observer.page_read,
            # Nothing newer is read from a day in the past: there, the broker may have
            # nothing although it has newer candles.
            may_be_blank=series.oldest is None
            or not self.attempt.listed
            or anchor != self.today
            or self._all_are_lost(series),
            may_be_unknown=not self.attempt.listed,
        )

    def _all_are_lost(self, series: Series) -> bool:
        """Whether the broker keeps none of our candles any more: they are too old."""
        kept_from = midnight(self.today - MINUTES_KEPT)
        is_old = series.newest is not None and series.newest < kept_from
        return bool(self.timeframe.minutes) and is_old

    def first_slot(self, day: date) -> datetime:
        """The first instant on or after ``day`` at which a candle can open."""
        return self.calendar.first_slot(self.timeframe, day)

    def price_basis(self, reader: PageReader) -> PriceBasis:
        """How the prices that were read relate to ours, over all they have in common.

        The candle that is still forming today says nothing.
        """
        monday, _ = week_of(self.today)
        forming = monday if self.timeframe is Timeframe.WEEK_1 else self.today
        period = Period(reader.oldest, midnight(forming))
        return compare(self.store.candles(self.attempt, period), reader.candles)

    def collected(
        self,
        readers: Sequence[PageReader],
        crossing: Crossing,
        wanted_from: date,
        asked_from: date,
    ) -> CollectedSeries:
        """What the readers have found, newest reader first, and between their pages."""
        begin = midnight(wanted_from)
        candles: dict[datetime, Candle] = {}
        for found in (
            *(reader.candles for reader in reversed(readers)),
            crossing.candles,
        ):
            candles |= {at: c for at, c in found.items() if at >= begin}
        series = self._covered(readers, wanted_from)
        series = replace(
            series,
            settled_through=self._settled_through(readers[0]),
            oldest=min(
                filter(None, (series.oldest, *map(kst_date, candles))), default=None
            ),
            loaded_on=series.loaded_on or self.today,
            ended=False,
        )
        unreadable = frozenset().union(*(reader.unreadable for reader in readers))
        periods = self.complete(readers, begin, crossing.unproven)
        return CollectedSeries(
            series=series,
            calendar=self.calendar.version,
            read_at=self.now,
            asked_through=self._asked_through(readers[0]),
            candles=tuple(candle for _, candle in sorted(candles.items())),
            rejected=(
                *(row for reader in readers for row in reader.rejected),
                *crossing.rejected,
            ),
            complete=periods,
            unreadable=unreadable,
            absent=self._absent(readers, crossing, series, begin, unreadable),
            expected=self.expected(
                series,
                asked_from,
                complete=periods,
                unreadable=unreadable,
                newest=readers[0].newest,
            )
            + self._due_and_not_served(readers[0]),
        )

    def complete(
        self,
        readers: Sequence[PageReader],
        begin: datetime,
        unproven: Collection[datetime],
    ) -> tuple[Period, ...]:
        """What the readers tell all about, from ``begin`` on."""
        return tuple(
            replace(period, first=max(period.first, begin))
            for reader in readers
            for period in complete_periods(self.timeframe, reader.chain.pages, unproven)
            if period.beyond > begin
        )

    def expected(
        self,
        series: Series,
        asked_from: date,
        *,
        complete: Sequence[Period] = (),
        unreadable: frozenset[datetime] = frozenset(),
        newest: datetime | None = None,
    ) -> tuple[datetime, ...]:
        """The slots that the task answers for and that no answer has accounted for.

        Nothing can be told yet of what follows the ``newest`` candle on its day: the
        stock may not have traded any more.
        """
        end = self.attempt.request.end
        last = series.settled_through
        if last is None:
            return ()
        if end:
            last = min(last, end - DAY)
        first = max(filter(None, (asked_from, self._exists_from(series))))
        slots = expected_slots(self.calendar, self.timeframe, first, last)
        if newest:
            day = kst_date(newest)
            slots = {at for at in slots if at <= newest or kst_date(at) > day}
        return tuple(
            slot
            for slot in slots
            if slot in unreadable or not any(slot in period for period in complete)
        )

    def _exists_from(self, series: Series) -> date | None:
        """Before this day no candle can be expected: it is known why."""
        listed = self.attempt.listed_on
        bounds = [first_day(self.timeframe, listed)] if listed else []
        if series.oldest and (series.history_exhausted or series.end_seen_on):
            contradicted = is_contradicted(self.attempt, series.oldest, self.today)
            if series.history_exhausted or not contradicted:
                bounds.append(series.oldest)
        if self.timeframe.minutes:
            bounds.append(self.today - MINUTES_KEPT)
        return max(filter(None, bounds), default=None)

    def _asked_through(self, reader: PageReader) -> datetime | None:
        """How far the newest answer tells all that there is.

        What was read as of a day in the past tells nothing of what came after it.
        """
        if not self.follows(reader):
            return None
        return min(reader.read_at, midnight(reader.anchor + DAY))

    def _settled_through(self, reader: PageReader) -> date | None:
        """The newest session that was read on a later day, and to its end."""
        if self.attempt.series.unproven_on:
            return None
        before = self.attempt.series.settled_through
        over = self.calendar.settled_through(
            self.timeframe, reader.read_at, reader.anchor
        )
        proven = proven_through(self.calendar, self.timeframe, reader.newest)
        if over is None or proven is None:
            return before
        found = min(over, proven)
        # What lies between the last settled session and the answer was not read again.
        if found < kst_date(reader.oldest) or not self.follows(reader):
            return before
        return max(filter(None, (before, found)))

    def follows(self, reader: PageReader) -> bool:
        """Whether the answer reaches back to the last settled session."""
        before = self.attempt.series.settled_through
        return before is None or reader.oldest <= self.first_slot(before + DAY)

    def _covered(self, readers: Sequence[PageReader], wanted_from: date) -> Series:
        """How far back the answers reach, and whether they saw the end of history."""
        series, reader = self.attempt.series, readers[-1]
        known = series.covered_from
        series = replace(series, wanted_from=wanted_from)
        if series.oldest is None or kst_date(reader.oldest) < series.oldest:
            # Whatever end was seen before, there are older candles than that.
            series = replace(series, end_seen_on=None, history_exhausted=False)
        beyond = known is None or reader.oldest < self.first_slot(known)
        if not beyond and not reader.saw_the_end:
            # An ordinary tick does not look that far back.
            return series
        if reader.oldest <= self.first_slot(wanted_from):
            covered = min(filter(None, (known, wanted_from)))
            return replace(series, covered_from=covered)
        reached = kst_date(reader.oldest)
        covered = min(filter(None, (known, reached)))
        series = replace(series, covered_from=covered)
        return self._with_end(series, reader) if reader.saw_the_end else series

    def _with_end(self, series: Series, reader: PageReader) -> Series:
        """The broker says that its history ends here: once, or once more."""
        read_on, end = kst_date(reader.read_at), kst_date(reader.oldest)
        if series.oldest and end > series.oldest and not reader.end_is_confirmed:
            # Candles of ours contradict it.
            return series
        # The end moves on: by a night in minutes, or where candles were taken back.
        is_the_same = reader.end_is_confirmed or end == series.oldest
        seen = series.end_seen_on if is_the_same else None
        if seen is None:
            return replace(series, end_seen_on=read_on, history_exhausted=False)
        wait = CONTRADICTED_END if is_contradicted(self.attempt, end, read_on) else DAY
        if read_on < seen + wait:
            return series
        return replace(
            series,
            covered_from=series.wanted_from,
            end_seen_on=read_on,
            history_exhausted=True,
        )

    def _absent(
        self,
        readers: Sequence[PageReader],
        crossing: Crossing,
        series: Series,
        begin: datetime,
        unreadable: frozenset[datetime],
    ) -> tuple[datetime, ...]:
        """Slots of settled sessions for which a page proves that there is nothing."""
        if series.settled_through is None:
            return ()
        first = min(reader.oldest for reader in readers)
        settled = expected_slots(
            self.calendar,
            self.timeframe,
            kst_date(max(first, begin)),
            series.settled_through,
        )
        slots = sorted(slot for slot in settled if slot >= begin)
        found = crossing.absent.intersection(slots)
        for reader in readers:
            for page in reader.chain.pages:
                found |= absent_slots(page, slots, unreadable)
        return tuple(sorted(found))

    def _due_and_not_served(self, reader: PageReader) -> tuple[datetime, ...]:
        """Sessions that are over and that the answer tells nothing about.

        That is a failure, unless the stock is halted: then it is no surprise.
        """
        if self.attempt.halted or not self.attempt.listed:
            return ()
        over = self.calendar.settled_through(
            self.timeframe, reader.read_at, reader.anchor
        )
        newest = last_day(self.timeframe, kst_date(reader.newest))
        if over is None:
            return ()
        due = expected_slots(self.calendar, self.timeframe, newest + DAY, over)
        settled = self.attempt.series.settled_through
        if settled and not self.follows(reader):
            oldest = kst_date(reader.oldest)
            due |= expected_slots(self.calendar, self.timeframe, settled + DAY, oldest)
        return tuple(
            slot for slot in due if slot < reader.oldest or slot > reader.newest
        )
