"""Request settled candles that are missing, with the fewest pages."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from functions.collector.extend import nothing_there, rebuild
from functions.collector.plan import Plan, Span, last_day, on_our_basis
from shared.coverage import (
    absent_slots,
    complete_periods,
    requests_needed,
    whole_of,
)
from shared.series import CollectedSeries, Period
from shared.sessions import DAY, kst_date, midnight

if TYPE_CHECKING:
    from datetime import date, datetime

    from functions.collector.page_reader import PageReader
    from functions.collector.workspace import Workspace
    from shared.candles import Candle, RejectedRow
    from shared.pages import Page


@dataclass(slots=True)
class _Findings:
    """What the pages of a repair have shown so far."""

    candles: dict[datetime, Candle] = field(default_factory=dict)
    rejected: list[RejectedRow] = field(default_factory=list)
    complete: list[Period] = field(default_factory=list)
    absent: set[datetime] = field(default_factory=set)


def repair(work: Workspace) -> CollectedSeries:
    """Request what is missing; where the broker has nothing, that is recorded.

    A page is requested for the newest missing candle, then for the newest one that the
    pages so far did not account for. What no page accounts for stays missing; no page
    is requested twice for it.
    """
    series = work.attempt.series
    missing = set() if series.ended else _missing(work)
    findings = _Findings()
    unresolved: set[datetime] = set()
    reader: PageReader | None = None
    while missing:
        newest = max(missing)
        anchor = _anchor(work, newest)
        if reader is None or not _goes_on_to(work, reader, newest, anchor):
            reader = work.reader(anchor)
        page = reader.next()
        if reader.is_blank and not work.attempt.listed:
            return nothing_there(work)
        if reader.is_blank:
            # Nothing at that day: the whole series tells where the broker ends.
            return _rebuilt(work, reader)
        if page is None:
            unresolved.add(newest)
            missing.discard(newest)
            # From its own day, the answer may reach further.
            reader = reader if reader.anchor == anchor else None
            continue
        if not _stands_on_our_basis(work, reader):
            return _rebuilt(work, reader)
        missing -= _take(work, page, missing, findings)
        untold = _untold(work, reader, missing)
        unresolved |= untold
        missing -= untold
    due = unresolved - _after_the_last(work, unresolved, findings)
    return _repaired(work, findings, due)


def _missing(work: Workspace) -> set[datetime]:
    """Slots of settled sessions for which there is neither candle nor knowledge."""
    request, series = work.attempt.request, work.attempt.series
    if series.covered_from is None:
        return set()
    begin = max(filter(None, (series.covered_from, request.start)))
    expected = set(work.expected(series, begin))
    if not expected:
        return set()
    period = Period(min(expected), max(expected) + DAY)
    known = work.store.known_slots(work.attempt, period)
    if request.force:
        known = known & work.store.candles(work.attempt, period).keys()
    return expected - known


def _anchor(work: Workspace, slot: datetime) -> date:
    """A day from which a page has candles on both sides of ``slot``, if any has."""
    day = last_day(work.timeframe, kst_date(slot))
    following = work.calendar.next_session(day)
    if following:
        day = last_day(work.timeframe, following)
    return on_our_basis(work.attempt, day, work.today)


def _goes_on_to(
    work: Workspace, reader: PageReader, slot: datetime, anchor: date
) -> bool:
    """Whether the next page of the reader leads to ``slot`` as soon as any."""
    if reader.candles and slot >= reader.oldest:
        return False
    if reader.anchor == anchor or not reader.candles:
        return True
    days = kst_date(slot), kst_date(reader.oldest)
    return requests_needed(work.calendar, work.timeframe, *days) == 1


def _untold(
    work: Workspace, reader: PageReader, missing: set[datetime]
) -> set[datetime]:
    """Slots of which the pages so far do not tell, although they are from their anchor.

    They lie at the very ends of a page, which proves nothing there; or are spoilt.
    """
    return {
        slot
        for slot in missing
        if slot >= reader.oldest and _anchor(work, slot) == reader.anchor
    }


def _after_the_last(
    work: Workspace, unresolved: set[datetime], findings: _Findings
) -> set[datetime]:
    """Slots after the newest candle, on its day: the stock may not have traded on."""
    newest = max(
        filter(None, (work.attempt.series.newest, *findings.candles)), default=None
    )
    if newest is None:
        return set()
    day = kst_date(newest)
    return {slot for slot in unresolved if slot > newest and kst_date(slot) == day}


def _stands_on_our_basis(work: Workspace, reader: PageReader) -> bool:
    """Whether what was read stands on the basis of our candles beyond doubt.

    What is lost may be all that an answer has in common with us: that is no proof.
    """
    basis = work.price_basis(reader)
    return basis.is_proven(from_today=reader.anchor == work.today)


def _take(
    work: Workspace, page: Page, missing: set[datetime], findings: _Findings
) -> set[datetime]:
    """Keep what a page tells; return the missing slots that it tells about."""
    begin = midnight(_covered_from(work))
    served = {c.opened_at: c for c in page.candles if c.opened_at >= begin}
    findings.candles |= {
        at: c for at, c in served.items() if at not in findings.candles
    }
    findings.rejected += page.rejected
    findings.complete += [
        replace(period, first=max(period.first, begin))
        for period in complete_periods(work.timeframe, [page])
        if period.beyond > begin
    ]
    unreadable = {row.opened_at for row in page.rejected if row.opened_at}
    absent = absent_slots(page, sorted(missing), unreadable)
    findings.absent |= absent
    return absent | (missing & served.keys())


def _repaired(
    work: Workspace, findings: _Findings, unresolved: set[datetime]
) -> CollectedSeries:
    unreadable = {row.opened_at for row in findings.rejected if row.opened_at}
    forgotten = None
    if work.attempt.request.force and findings.complete:
        forgotten = whole_of(findings.complete)
    return CollectedSeries(
        series=work.attempt.series,
        calendar=work.calendar.version,
        read_at=work.now,
        candles=tuple(candle for _, candle in sorted(findings.candles.items())),
        rejected=tuple(findings.rejected),
        complete=tuple(findings.complete),
        unreadable=frozenset(unreadable - findings.candles.keys()),
        absent=tuple(sorted(findings.absent)),
        forgotten=forgotten,
        expected=tuple(sorted(unresolved)),
        no_data=work.attempt.series.ended,
    )


def _rebuilt(work: Workspace, reader: PageReader) -> CollectedSeries:
    """Read the whole series from today: its old days stand on another basis there."""
    covered_from = _covered_from(work)
    whole = Plan(
        newer=Span(work.today, covered_from),
        wanted_from=min(filter(None, (work.attempt.series.wanted_from, covered_from))),
        asked_from=covered_from,
    )
    return rebuild(work, whole, reader)


def _covered_from(work: Workspace) -> date:
    covered_from = work.attempt.series.covered_from
    assert covered_from is not None
    return covered_from
