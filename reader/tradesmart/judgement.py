"""Is all of it there? Counts candles in slots, and takes the verdict from the core.

Nothing here decides what complete means: ``shared.verdicts`` does, for the page as for
us. This module only counts fast, for many stocks and sessions.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from shared.candles import CandleSession, Timeframe
from shared.coverage import MINUTES_KEPT
from shared.freshness import PATIENCE, DueTimes
from shared.sessions import AFTER_MARKET_SINCE, DAY, kst_date, midnight
from shared.verdicts import (
    Judge,
    Reason,
    SeriesFacts,
    SessionFacts,
    State,
    Verdict,
    settled,
)
from tradesmart.request import EPOCH
from tradesmart.schedules import TICKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shared.sessions import Calendar
    from tradesmart.request import Request

MICROSECOND = timedelta(microseconds=1)
NAMES = {
    State.COMPLETE: "complete",
    State.THIN: "thin",
    State.NO_TRADES: "no trades",
    State.PROVISIONAL: "provisional",
    State.LATE: "late",
    State.MISSING: "missing",
    State.NOT_ASKED: "not asked for",
}
# Before it was listed, before the broker's history and after its end there is nothing
# that could be fetched, so nothing is lacking.
NOTHING_TO_FETCH = {
    Reason.BEFORE_LISTING,
    Reason.BEFORE_HISTORY,
    Reason.LEFT_THE_EXCHANGE,
}
# Microseconds since 1970.
Instants = np.ndarray[Any, np.dtype[np.int64]]
# So many codes are written out in a message; the rest is in ``gaps``.
MOST_NAMED = 30
NONE = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a source knows of one series, beside its candles.

    ``absences`` are slots where the broker has no candle, in microseconds since 1970,
    ``confirmed`` says of each whether a later repair found that again.
    ``without_trades`` are days on which no one traded.
    """

    stock_code: str
    facts: SeriesFacts
    absences: Instants
    confirmed: np.ndarray[Any, np.dtype[np.bool_]]
    without_trades: frozenset[date] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Sessions in a row that one or more series lack, for one reason."""

    stock_codes: tuple[str, ...]
    timeframe: Timeframe
    first: date
    last: date
    sessions: int
    state: State
    reason: Reason
    missing: int
    remedy: str

    @property
    def alike(self) -> tuple[object, ...]:
        """What gaps that are told as one have in common."""
        return self.timeframe, self.first, self.last, self.state, self.reason

    def with_stocks_of(self, other: Gap) -> Gap:
        """Both as one."""
        return replace(
            self,
            stock_codes=self.stock_codes + other.stock_codes,
            missing=self.missing + other.missing,
        )

    @property
    def told(self) -> str:
        """One line for people."""
        codes = self.stock_codes
        named = ", ".join(codes[:3])
        named += f" and {len(codes) - 3} more" if len(codes) > 3 else ""  # noqa: PLR2004
        days = (
            f"{self.first}"
            if self.first == self.last
            else (f"{self.first} to {self.last} ({self.sessions} sessions)")
        )
        lacks = f", {self.missing} candles" if self.missing else ""
        remedy = remedy_of(
            self.state, self.reason, codes, self.timeframe, self.first, self.last
        )
        return f"{named} {self.timeframe} {days}: {NAMES[self.state]}{lacks}; {remedy}"

    def row(self) -> dict[str, object]:
        """A row of ``IncompleteData.gaps``."""
        return {
            "stock_code": self.stock_codes[0],
            "timeframe": self.timeframe.value,
            "first": f"{self.first}",
            "last": f"{self.last}",
            "sessions": self.sessions,
            "state": NAMES[self.state],
            "reason": self.reason.value,
            "missing": self.missing,
            "remedy": self.remedy,
        }


class Grid:
    """The candle slots that are wanted, of all sessions, in ascending order."""

    def __init__(self, judge: Judge, days: Iterable[date], request: Request) -> None:
        """Lay out the ``days``; slots out of the request are left out."""
        self.days: list[date] = []
        chunks, sessions = [], []
        first = -(2**62) if request.first is None else microseconds(request.first)
        end = 2**62 if request.beyond is None else microseconds(request.beyond)
        patterns: dict[object, Instants] = {}
        for day in days:
            slots = _pattern(judge, day, request, patterns) + microseconds(
                midnight(day)
            )
            slots = slots[(slots >= first) & (slots < end)]
            if not len(slots):
                continue
            chunks.append(slots)
            sessions.append(np.full(len(slots), len(self.days), dtype=np.int64))
            self.days.append(day)
        self.slots = np.concatenate(chunks) if chunks else NONE
        self.session_of = np.concatenate(sessions) if sessions else NONE
        self.expected = np.bincount(self.session_of, minlength=len(self.days))

    def places(self, instants: Instants) -> Instants:
        """Which slots these ``instants`` are; others are left out."""
        if not len(self.slots) or not len(instants):
            return NONE
        found = np.searchsorted(self.slots, instants)
        found[found == len(self.slots)] = 0
        places: Instants = found[self.slots[found] == instants]
        return places

    def count(self, places: Instants) -> Instants:
        """How many of these slots each session has."""
        counts: Instants = np.bincount(
            self.session_of[places], minlength=len(self.days)
        )
        return counts


def _pattern(
    judge: Judge, day: date, request: Request, known: dict[object, Instants]
) -> Instants:
    """The slots of a session that are wanted, in microseconds since midnight.

    Sessions of the same hours have the same slots, but for the after-market.
    """
    hours = judge.calendar.sessions.get(day)
    key = hours, day >= AFTER_MARKET_SINCE
    if not request.timeframe.minutes or key not in known:
        slots = judge.calendar.slots(request.timeframe, day)
        wanted = [slot for slot in slots if _is_wanted(judge.calendar, request, slot)]
        since = [(slot - midnight(day)) // MICROSECOND for slot in wanted]
        known[key] = np.array(since, dtype=np.int64)
    return known[key]


def _is_wanted(calendar: Calendar, request: Request, slot: datetime) -> bool:
    if request.session == "all" or not request.timeframe.minutes:
        return True
    return calendar.place(request.timeframe, slot) is CandleSession(request.session)


def microseconds(instant: datetime) -> int:
    """An instant in microseconds since 1970, as candles have it."""
    return (instant - EPOCH) // MICROSECOND


class Judgement:
    """Judges series, one after another, and remembers what they lack."""

    def __init__(self, calendar: Calendar, request: Request, now: datetime) -> None:
        """Judge at the instant ``now``, by one calendar, what a request wants."""
        self._request = request
        self._due = DueTimes(calendar, TICKS)
        self._judge = Judge(self._due, request.timeframe, now)
        self._grids: dict[date, Grid] = {}
        self.read_at = now
        self.states: Counter[State] = Counter()
        self.gaps: list[Gap] = []

    def add(self, known: Known, instants: Instants) -> None:
        """Judge one series by the ``instants`` of the candles that were read of it."""
        grid = self._grid(known)
        lacking = [
            cell
            for cell in self._cells(known, grid, instants)
            if self._is_gap(known, cell)
        ]
        self.gaps += [self._gap(known, run) for run in _runs(lacking)]

    def _grid(self, known: Known) -> Grid:
        """The slots wanted of a series: where no start is given, of what it covers."""
        calendar = self._judge.calendar
        first = kst_date(self._request.first) if self._request.first else None
        if first is None:
            # A series that was never loaded lacks its newest session.
            first = known.facts.series.covered_from or kst_date(self.read_at) - DAY * 30
        first = max(first, calendar.first)
        if first not in self._grids:
            beyond = self._request.beyond
            last = kst_date(beyond - MICROSECOND) if beyond else calendar.last
            last = min(last, calendar.last)
            days = self._judge.sessions(first, last) if first <= last else []
            self._grids[first] = Grid(self._judge, days, self._request)
        return self._grids[first]

    def _cells(self, known: Known, grid: Grid, instants: Instants) -> Iterator[_Cell]:
        """The verdicts on all sessions that are not complete; all are counted."""
        judge, facts, days = self._judge, known.facts, grid.days
        over = bisect_left(days, 1, key=lambda day: not judge.is_settled(facts, day))
        # Among settled sessions, those that were not asked for come first.
        inside = bisect_left(
            days, 1, hi=over, key=lambda day: judge.outside(facts, day) is None
        )
        for place in range(inside):
            verdict = judge.outside(facts, days[place])
            assert verdict is not None
            yield self._counted(days[place], place, verdict)
        present = grid.places(instants)
        candles = grid.count(present)
        is_whole = candles >= grid.expected
        self.states[State.COMPLETE] += int(is_whole[inside:over].sum())
        others = (inside + np.flatnonzero(~is_whole[inside:over])).tolist()
        others += range(over, len(days))
        if not others:
            return
        absent, confirmed = (
            grid.count(places[~np.isin(places, present)])
            for places in (
                grid.places(known.absences),
                grid.places(known.absences[known.confirmed]),
            )
        )
        for place in others:
            day = days[place]
            stored = SessionFacts(
                int(candles[place]),
                int(absent[place]),
                int(confirmed[place]),
                day in known.without_trades,
            )
            verdict = (
                self._settled(facts, day, int(grid.expected[place]), stored)
                if place < over
                else judge.session(facts, day, stored)
            )
            yield self._counted(day, place, verdict)

    def _settled(
        self, facts: SeriesFacts, day: date, expected: int, stored: SessionFacts
    ) -> Verdict:
        """Judge the part of a settled session that is wanted."""
        verdict = settled(expected, stored)
        if verdict.state is not State.MISSING:
            return verdict
        # Only the core knows whether it can be had again. What is not wanted of the
        # session is taken as present.
        beyond = self._judge.expected(day) - expected
        whole = replace(stored, candles=stored.candles + beyond)
        return self._judge.session(facts, day, whole)

    def _counted(self, day: date, place: int, verdict: Verdict) -> _Cell:
        self.states[verdict.state] += 1
        return _Cell(day, place, verdict.state, verdict.reason, verdict.missing)

    def _is_gap(self, known: Known, cell: _Cell) -> bool:
        request, series = self._request, known.facts.series
        if cell.state is State.NOT_ASKED:
            has_none = cell.reason in NOTHING_TO_FETCH or series.history_exhausted
            has_none = has_none or series.ended
            return not has_none and request.require != "asked"
        if request.settled and request.beyond is None and not self._is_final(cell.day):
            # Without an end, it is what should be settled by now that is wanted.
            return False
        if cell.state is State.PROVISIONAL:
            return request.settled and request.beyond is not None
        return cell.state.is_problem

    def _is_final(self, day: date) -> bool:
        """Whether the reading that settles a session has been due."""
        final = self._due.final(self._request.timeframe, day)
        return final is not None and final.at + PATIENCE <= self.read_at

    def _gap(self, known: Known, run: list[_Cell]) -> Gap:
        first, last = run[0], run[-1]
        state, reason = first.state, first.reason
        timeframe = self._request.timeframe
        if state is State.NOT_ASKED and timeframe.minutes:
            kept_from = kst_date(self.read_at) - MINUTES_KEPT
            reason = Reason.LOST if last.day < kept_from else reason
        codes = (known.stock_code,)
        return Gap(
            stock_codes=codes,
            timeframe=timeframe,
            first=first.day,
            last=last.day,
            sessions=len(run),
            state=state,
            reason=reason,
            missing=sum(cell.missing for cell in run),
            remedy=remedy_of(state, reason, codes, timeframe, first.day, last.day),
        )


@dataclass(frozen=True, slots=True)
class _Cell:
    """The verdict on one session, and its place in the grid."""

    day: date
    place: int
    state: State
    reason: Reason
    missing: int


def _runs(cells: Iterable[_Cell]) -> Iterator[list[_Cell]]:
    """Sessions one after another, in one state for one reason."""
    run: list[_Cell] = []
    for cell in cells:
        follows = run and cell.place == run[-1].place + 1
        if not (
            follows and cell.state is run[0].state and cell.reason is run[0].reason
        ):
            if run:
                yield run
            run = []
        run.append(cell)
    if run:
        yield run


def remedy_of(  # noqa: PLR0913 - a gap, before it is one
    state: State,
    reason: Reason,
    codes: tuple[str, ...],
    timeframe: Timeframe,
    first: date,
    last: date,
) -> str:
    """What fetches what is lacking: the message for the topic ``triggers``."""
    if reason is Reason.LOST:
        return "the broker no longer keeps minutes of that time; start later"
    if state is State.PROVISIONAL:
        return (
            f"final on a later day, so end at {first} or pass settled=False to have "
            "what there is"
        )
    if len(codes) > MOST_NAMED:
        codes = (*codes[:MOST_NAMED], "…")
    message: dict[str, object] = {"timeframe": timeframe.value}
    if state is not State.LATE:
        message["mode"] = "backfill" if state is State.NOT_ASKED else "repair"
    message["stocks"] = list(codes)
    if state is not State.LATE:
        message |= {"start": f"{first}", "end": f"{last + DAY}"}
    told = json.dumps(message, separators=(",", ":"), ensure_ascii=False)
    return f"fetch with: {told}"
