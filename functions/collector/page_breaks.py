"""Read across the breaks between pages, where rows may have been lost unnoticed.

A page proves what lies between its own candles, but not what lies between its oldest
and the newest of the next page. A page that begins on a later day has both sides in
one answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from functions.collector.overlap import compare
from functions.collector.plan import last_day
from shared.coverage import (
    absent_slots,
    candle_begin,
    candle_end,
    expected_slots,
)
from shared.series import Period
from shared.sessions import kst_date

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from functions.collector.page_reader import PageReader
    from functions.collector.workspace import Workspace
    from shared.candles import Candle, RejectedRow, Timeframe
    from shared.pages import Page


@dataclass(slots=True)
class Crossing:
    """What was found between pages; of ``unproven`` slots, nothing is known."""

    candles: dict[datetime, Candle] = field(default_factory=dict)
    rejected: list[RejectedRow] = field(default_factory=list)
    absent: set[datetime] = field(default_factory=set)
    unproven: set[datetime] = field(default_factory=set)


def read_across(work: Workspace, readers: Sequence[PageReader]) -> Crossing:
    """Prove what lies between the pages that were read.

    A request is spent only where a candle may be missing: not where two pages join
    without a slot in between, or all slots in between are known to be absent.
    """
    crossing = Crossing()
    for reader in readers:
        for newer, older in pairwise(reader.chain.pages):
            between = _between(work.timeframe, newer, older)
            slots = _slots_in_doubt(work, reader, between)
            if slots:
                across = _reader_across(work, reader, newer, older)
                _cross(reader, across, between, slots, crossing)
    return crossing


def _between(timeframe: Timeframe, newer: Page, older: Page) -> Period:
    """From the end of the older page's newest candle to the newer page's oldest."""
    return Period(
        candle_end(timeframe, older.newest), candle_begin(timeframe, newer.oldest)
    )


def _slots_in_doubt(
    work: Workspace, reader: PageReader, between: Period
) -> set[datetime]:
    if between.first >= between.beyond:
        return set()
    days = kst_date(between.first), kst_date(between.beyond)
    slots = {
        slot
        for slot in expected_slots(work.calendar, work.timeframe, *days)
        if slot in between and slot not in reader.unreadable
    }
    if not slots or work.attempt.request.force:
        return slots
    known = work.store.known_slots(work.attempt, between)
    return slots - (known - work.store.candles(work.attempt, between).keys())


def _reader_across(
    work: Workspace, reader: PageReader, newer: Page, older: Page
) -> PageReader | None:
    """Read from the day on which the newer page ends back to the older page.

    From the chain's own anchor, the pages would break at the same place again.
    """
    anchor = min(last_day(work.timeframe, kst_date(newer.oldest)), work.today)
    if anchor == reader.anchor:
        return None
    across = work.reader(anchor)
    across.read_back_to(older.newest)
    return None if across.is_blank else across


def _cross(
    reader: PageReader,
    across: PageReader | None,
    between: Period,
    slots: set[datetime],
    crossing: Crossing,
) -> None:
    if across is None:
        crossing.unproven |= slots
        return
    candles = {at: c for at, c in across.candles.items() if at in between}
    basis = compare(reader.candles, across.candles) if candles else None
    if basis and not basis.is_proven(from_today=False):
        # From a day in the past, prices stand on the basis of that day.
        candles = {}
    pages, in_order = across.chain.pages, sorted(slots)
    absent = {
        slot
        for page in pages
        for slot in absent_slots(page, in_order, across.unreadable)
    }
    crossing.candles |= candles
    crossing.rejected += [
        row for row in across.rejected if row.opened_at and row.opened_at in between
    ]
    crossing.absent |= absent
    crossing.unproven |= slots - absent - candles.keys()
