"""Extend a series to newer and older days; rebuild it where its price basis moved."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from math import isclose
from typing import TYPE_CHECKING

from functions.collector.overlap import SESSIONS, Verdict
from functions.collector.page_breaks import read_across
from functions.collector.plan import asked_from, last_day, overlap_end, plan
from functions.collector.price_proof import basis_from_days
from functions.collector.price_steps import is_a_step, steps
from shared.coverage import MINUTES_KEPT, candle_begin, candle_end, whole_of
from shared.errors import KiwoomUnavailable, NoCandles
from shared.modes import Mode
from shared.series import CollectedSeries, Period, PriceMove
from shared.sessions import kst_date, midnight

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from functions.collector.overlap import PriceBasis
    from functions.collector.page_reader import PageReader
    from functions.collector.plan import Plan
    from functions.collector.workspace import Workspace
    from shared.series import Series

# A contradiction that has not shown for this time is over.
DOUBTED_FOR = timedelta(days=7)


def extend(work: Workspace) -> CollectedSeries:
    """Read what the plan wants, and prove that it joins the candles we have.

    Raises:
        NoCandles: If the broker has nothing at all of a listed stock.
        PriceBasisUnproven: If nothing proves on which basis our older candles are.
        KiwoomUnavailable: If an answer proves nothing.
    """
    request = work.attempt.request
    if request.force:
        _forget_beliefs(work)
    todo = None
    if request.mode is Mode.VERIFY or not work.attempt.series.ended:
        todo = plan(work.attempt, work.calendar, work.now)
    if todo is None:
        return nothing_to_read(work)
    readers: list[PageReader] = []
    for span in filter(None, (todo.newer, todo.older)):
        reader = work.reader(span.anchor)
        reader.read_back_to(work.first_slot(span.start))
        if reader.is_blank and reader.anchor == work.today:
            return nothing_there(work)
        if reader.is_blank:
            return rebuild(work, todo, readers[0] if readers else reader)
        _refuse_stale(work, reader)
        if not work.follows(reader) or reader.oldest > work.first_slot(span.start):
            _refuse_early_end(work, reader)
        if _must_rebuild(work) or not _is_proven(work, reader):
            return rebuild(work, todo, readers[0] if readers else reader)
        readers.append(reader)
    return _extended(work, todo, readers)


def _extended(
    work: Workspace, todo: Plan, readers: Sequence[PageReader]
) -> CollectedSeries:
    """What was read beside the candles that we have, on their basis."""
    step = _step_without_proof(work, todo.wanted_from, readers)
    if step:
        work.attempt.series = replace(
            work.attempt.series, unproven_on=work.today, unproven_ratio=step
        )
    crossing = read_across(work, readers)
    collected = work.collected(readers, crossing, todo.wanted_from, todo.asked_from)
    if step:
        # It is stored, and nothing of it is settled before a reading shows no step.
        return replace(collected, expected=())
    if work.attempt.request.force and collected.complete:
        return replace(collected, forgotten=whole_of(collected.complete))
    return collected


def _step_without_proof(
    work: Workspace, begin: date, readers: Sequence[PageReader]
) -> float | None:
    """By what prices step where no candle of ours tells on which basis they are.

    What is read for the first time may be on two bases: the broker has adjusted recent
    days only, or one page is an old answer. It is read again until that is over, or has
    lasted so long that the market did it. In its last days a stock has no limit.
    """
    oldest = work.attempt.series.oldest
    if not work.attempt.listed:
        return None
    for reader in readers:
        for older, newer in steps(reader.candles.values()):
            day = kst_date(older.opened_at)
            if day >= begin and (oldest is None or day < oldest):
                return newer.open / older.close
    return None


def _forget_beliefs(work: Workspace) -> None:
    """An operator doubts what is believed of the end of history.

    A doubt about the price basis is no belief: it stays, unless a tick is forced.
    """
    series = replace(
        work.attempt.series, end_seen_on=None, history_exhausted=False, ended=False
    )
    if work.attempt.request.mode is Mode.INCREMENTAL:
        series = replace(series, unproven_on=None, unproven_ratio=None)
    work.attempt.series = series


def _must_rebuild(work: Workspace) -> bool:
    """Whether the whole series is to be read, whatever its newest candles prove."""
    series = work.attempt.series
    is_read_today = series.collected_on == work.today
    is_due = series.unproven_on is not None and not is_read_today
    return work.attempt.request.mode is Mode.REBUILD or is_due


def nothing_to_read(work: Workspace) -> CollectedSeries:
    """Nothing can be new; the task still answers for the days that were requested."""
    request, series = work.attempt.request, work.attempt.series
    expected: tuple[datetime, ...] = ()
    if series.covered_from and not series.ended:
        expected = work.expected(series, asked_from(request, series, work.today))
    return CollectedSeries(
        series=series,
        calendar=work.calendar.version,
        read_at=work.now,
        asked_through=_known_through(work),
        expected=expected,
        no_data=series.ended,
    )


def _known_through(work: Workspace) -> datetime | None:
    """Now, if the newest session that has opened is settled: nothing can be new."""
    settled = work.attempt.series.settled_through
    newest = work.calendar.latest_opened(work.now)
    return work.now if settled and newest and settled >= newest else None


def nothing_there(work: Workspace) -> CollectedSeries:
    """The broker has nothing at all of the stock: it left the exchange, or is wrong.

    A listed stock may have no minutes: the broker keeps them for a year, and it may
    not have traded in that year. Its days tell.

    Raises:
        KiwoomUnavailable: If the stock has traded, so that there must be candles.
        NoCandles: If nothing tells whether it has.
    """
    series = work.attempt.series
    if work.attempt.listed:
        _refuse_blank_if_traded(work)
        # The first day on which nothing was there is remembered.
        series = replace(series, end_seen_on=series.end_seen_on or work.today)
    else:
        series = replace(series, ended=True)
    return CollectedSeries(
        series=series,
        calendar=work.calendar.version,
        read_at=work.now,
        asked_through=work.now,
        no_data=True,
        first_without_trades=work.attempt.listed
        and work.attempt.series.end_seen_on is None,
    )


def _refuse_blank_if_traded(work: Workspace) -> None:
    request = work.attempt.request
    traded = None
    if request.timeframe.minutes:
        kept_from = work.today - MINUTES_KEPT
        traded = work.store.has_traded_since(work.attempt, kept_from)
    if traded:
        message = f"the broker has no {request.timeframe} candles of "
        message += f"{request.stock_code}, although it traded in the last year"
        raise KiwoomUnavailable(message)
    if traded is None and not work.attempt.halted:
        message = f"the broker has no {request.timeframe} candles of "
        message += f"{request.stock_code}, which is listed; see whether it still is"
        raise NoCandles(message)


def rebuild(work: Workspace, todo: Plan, newer: PageReader) -> CollectedSeries:
    """Read the whole series as it stands today, and replace ours with it.

    What the broker no longer serves is moved to the new basis where the basis of the
    rest, another timeframe or the days of the stock prove by which ratio.
    """
    reader = newer if newer.anchor == work.today else work.reader(work.today)
    reader.read_back_to(work.first_slot(todo.wanted_from))
    if reader.is_blank:
        return nothing_there(work)
    _refuse_early_end(work, reader)
    basis = work.price_basis(reader)
    work.attempt.series = _judged(work, reader, basis)
    crossing = read_across(work, [reader])
    asked_from = todo.asked_from
    if basis.verdict is Verdict.MOVED:
        _refuse_two_bases(reader, basis)
        # All is written anew, so the task answers for all that we had.
        asked_from = min(filter(None, (asked_from, work.attempt.series.covered_from)))
    collected = work.collected([reader], crossing, todo.wanted_from, asked_from)
    if basis.verdict is Verdict.MOVED:
        move = PriceMove(
            ratio=basis.ratio,
            after=_unmoved_through(work, basis) or todo.wanted_from,
            effective_by=basis.same_from or work.today,
            evidence=basis.evidence,
        )
        # On the old basis nothing stays: neither what no page tells about, nor what
        # lies under a row that could not be read.
        return replace(
            collected,
            move=move,
            outliers=basis.outliers,
            complete=(_everything_read(work, reader, todo.wanted_from),),
            unreadable=frozenset(),
        )
    if basis.compared and basis.verdict is Verdict.UNPROVEN:
        # Newer candles moved and older ones did not: the broker is still at it. What
        # it serves is stored, and nothing of it is settled before it agrees.
        return replace(collected, expected=())
    return replace(collected, move=_known_move(work, reader, basis))


def _refuse_two_bases(reader: PageReader, basis: PriceBasis) -> None:
    """Refuse an answer whose prices step where it ends to differ from ours.

    Ours were on two bases if the answer is on one. If it steps itself, then an old page
    is among its pages; but if ours step there too, it is the market that did.
    """
    if basis.moved_through is None or basis.same_from is None:
        return
    for older, newer in steps(reader.candles.values()):
        ours = newer.open / older.close * float(basis.ratio)
        is_there = (
            kst_date(older.opened_at) <= basis.moved_through < kst_date(newer.opened_at)
        )
        if is_there and not is_a_step(ours):
            message = "the broker's answer has prices of two bases"
            raise KiwoomUnavailable(message)


def _everything_read(work: Workspace, reader: PageReader, wanted_from: date) -> Period:
    first = max(candle_begin(work.timeframe, reader.oldest), midnight(wanted_from))
    return Period(first, candle_end(work.timeframe, reader.newest))


def _judged(work: Workspace, reader: PageReader, basis: PriceBasis) -> Series:
    """The series with what a reading of all of it says about its basis.

    A contradiction is over once the older candles have moved by the same ratio as the
    newer ones, or those have moved back, or a step as large shows nowhere any more.
    That both sides are the same only says that the broker has not gone on; but if it
    does not for long, it was never at it: ours were read while it was.
    """
    series = work.attempt.series
    known = series.unproven_ratio
    contradicts = bool(basis.compared) and basis.verdict is Verdict.UNPROVEN
    if known is None and not contradicts:
        return series
    ratio = float(basis.ratio)
    if known is not None and series.unproven_on:
        went_on = basis.verdict is Verdict.MOVED and isclose(ratio, known, rel_tol=0.01)
        went_back = contradicts and isclose(ratio * known, 1, rel_tol=0.01)
        was_long_ago = work.today - series.unproven_on >= DOUBTED_FOR
        is_one = is_a_step(known) and not any(steps(reader.candles.values()))
        if went_on or went_back or ((was_long_ago or is_one) and not contradicts):
            return replace(series, unproven_on=None, unproven_ratio=None)
        if not contradicts:
            return series
    return replace(series, unproven_on=work.today, unproven_ratio=known or ratio)


def _unmoved_through(work: Workspace, basis: PriceBasis) -> date | None:
    """The newest day that we have on the old basis: of a settled week, its last."""
    day, settled = basis.moved_through, work.attempt.series.settled_through
    if day is None or settled is None:
        return day
    return max(day, min(last_day(work.timeframe, day), settled))


def _refuse_early_end(work: Workspace, reader: PageReader) -> None:
    """Refuse an answer that ends although we have older candles that it should have.

    Minutes older than the broker keeps contradict nothing, nor do candles from before
    the stock was listed again.
    """
    oldest = work.attempt.series.oldest
    if oldest is None or not reader.chain.is_at_end:
        return
    oldest = max(filter(None, (oldest, work.attempt.listed_on)))
    if work.timeframe.minutes:
        oldest = max(oldest, work.today - MINUTES_KEPT)
    if midnight(oldest) >= reader.oldest:
        return
    if not work.store.candles(work.attempt, Period(midnight(oldest), reader.oldest)):
        return
    reader.end_is_confirmed = _ends_there(work, reader)
    if not reader.end_is_confirmed:
        message = "the broker's answer ends although it had older candles before"
        raise KiwoomUnavailable(message)


def _ends_there(work: Workspace, reader: PageReader) -> bool:
    """Whether an answer from another day ends with the same candle.

    An answer that was cut ends where it was cut, whatever day it begins on. But the
    broker may have withdrawn the oldest candles of a stock, or keep minutes for less
    than a year: then its history really ends there.
    """
    oldest = kst_date(reader.oldest)
    anchor = overlap_end(work.timeframe, oldest, work.calendar, work.today)
    if anchor == reader.anchor:
        return False
    again = work.reader(anchor)
    again.read_back_to(midnight(oldest))
    again.next()
    return again.saw_the_end and again.oldest == reader.oldest


def _is_proven(work: Workspace, reader: PageReader) -> bool:
    """Read further back until the price basis is proven, or nothing is left to read."""
    oldest = work.attempt.series.oldest
    if oldest is None:
        return True
    basis = work.price_basis(reader)
    while basis.sessions < SESSIONS and reader.oldest > midnight(oldest):
        if reader.next() is None:
            break
        basis = work.price_basis(reader)
    return basis.is_proven(from_today=reader.anchor == work.today)


def _known_move(
    work: Workspace, reader: PageReader, basis: PriceBasis
) -> PriceMove | None:
    """By what the candles that the broker no longer serves have moved, if at all.

    Raises:
        PriceBasisUnproven: If nothing can tell.
    """
    series, known = work.attempt.series, work.attempt.request.move
    begin = midnight(series.oldest) if series.oldest else reader.oldest
    if begin >= reader.oldest:
        return None
    if known and (_stands_on(known, reader, basis) or _was_loaded_after(known, series)):
        return None
    if known or basis.compared:
        return known
    period = Period(begin, reader.oldest)
    return basis_from_days(work, work.store.candles(work.attempt, period))


def _stands_on(move: PriceMove, reader: PageReader, basis: PriceBasis) -> bool:
    """Whether candles from before the move are served, and equal ours."""
    served = any(kst_date(at) <= move.after for at in reader.candles)
    return bool(basis.compared) and served


def _was_loaded_after(move: PriceMove, series: Series) -> bool:
    return series.loaded_on is not None and series.loaded_on > move.effective_by


def _refuse_stale(work: Workspace, reader: PageReader) -> None:
    """Refuse an answer that lacks candles of today which an earlier one had."""
    newest = work.attempt.series.newest
    if newest is None or not kst_date(newest) == work.today == reader.anchor:
        return
    # A week is one candle, whatever day of it the broker dates it by.
    served_until = candle_end(work.timeframe, reader.newest)
    if served_until < candle_end(work.timeframe, newest):
        message = "the broker's answer is older than one that it gave before"
        raise KiwoomUnavailable(message)
