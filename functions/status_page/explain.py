"""One series, one session, one candle slot: what is known of it, and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from shared.session_map import NOTHING, Sessions
from shared.sessions import KST, kst_date
from shared.verdicts import SessionFacts, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    from shared.candles import Timeframe
    from shared.reports import (
        BrokenSeal,
        History,
        Mark,
        Seal,
        StockSeries,
        StoredSlots,
        TaskError,
    )
    from shared.verdicts import Judge, Verdict


class Details(Sessions, Protocol):
    """What is stored of one series."""

    def slots(
        self, stock_code: str, timeframe: Timeframe, start: date, last: date
    ) -> StoredSlots:
        """What is stored of each candle slot from ``start`` to ``last``."""

    def history(
        self, stock_code: str, timeframe: Timeframe, start: date, last: date
    ) -> History:
        """Corporate actions of a series, and what happened to its days in a range."""

    def seal(self, stock_code: str, timeframe: Timeframe, day: date) -> Seal | None:
        """The seal that covers a session; None if it is not sealed."""

    def broken_seal(
        self, stock_code: str, timeframe: Timeframe, day: date
    ) -> BrokenSeal | None:
        """The broken seal that covers a session; None if it is not known to be."""

    def last_error(self, stock_code: str, timeframe: Timeframe) -> TaskError | None:
        """The newest task of a series; None if it never had one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotVerdict:
    """A candle slot, and how it stands."""

    opens_at: datetime
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotMap:
    """The candle slots of some sessions of one series, by the time of the day.

    ``times`` are all times at which one of the sessions has a slot; ``letters`` has,
    for each session, a letter for each time: a blank where that session has no slot.
    """

    sessions: Sequence[date]
    times: Sequence[str]
    letters: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesReport:
    """One series: its facts, its sessions by state, and those with a problem."""

    series: StockSeries
    is_late: bool
    sessions: Sequence[date]
    letters: str
    states: Mapping[State, int]
    problems: Sequence[tuple[date, Verdict]]
    last_task: TaskError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReport:
    """One session of one series."""

    series: StockSeries
    session: date
    verdict: Verdict
    slots: Sequence[SlotVerdict]
    mark: Mark | None
    history: History
    seal: Seal | None
    broken: BrokenSeal | None
    last_task: TaskError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotReport:
    """One candle slot of one series."""

    series: StockSeries
    slot: SlotVerdict
    session_verdict: Verdict | None
    history: History
    last_task: TaskError | None


def series_report(
    source: Details, judge: Judge, series: StockSeries, days: Sequence[date]
) -> SeriesReport:
    """Judge the sessions of ``days`` of one series."""
    verdicts = _verdicts(source, judge, series, days)
    code = series.stock.code
    return SeriesReport(
        series=series,
        is_late=judge.is_late(series.facts),
        sessions=days,
        letters="".join(verdict.state.value for verdict in verdicts.values()),
        states=Counter(verdict.state for verdict in verdicts.values()),
        problems=[
            (day, verdict)
            for day, verdict in reversed(verdicts.items())
            if verdict.state.is_problem
        ],
        last_task=source.last_error(code, judge.timeframe),
    )


def session_report(
    source: Details, judge: Judge, series: StockSeries, day: date
) -> SessionReport:
    """Tell all that is known of one session of a series."""
    code = series.stock.code
    stored = source.slots(code, judge.timeframe, day, day)
    marks = source.marks(judge.timeframe, day, day)
    return SessionReport(
        series=series,
        session=day,
        verdict=judge.session(series.facts, day, _facts(judge, day, stored)),
        slots=_slots(judge, series, day, stored, stored.candles),
        mark=marks.get(code, {}).get(day),
        history=_of_session(source.history(code, judge.timeframe, day, day)),
        seal=source.seal(code, judge.timeframe, day),
        broken=source.broken_seal(code, judge.timeframe, day),
        last_task=source.last_error(code, judge.timeframe),
    )


def _of_session(history: History) -> History:
    """Without rows that do not tell when they open: they are of no one session."""
    dated = [row for row in history.quarantine if row.opened_at]
    return replace(history, quarantine=dated)


def slot_report(
    source: Details, judge: Judge, series: StockSeries, opens_at: datetime
) -> SlotReport:
    """Explain one candle slot of a series.

    Raises:
        CalendarUnknown: If the calendar does not know the day.
    """
    day, code = kst_date(opens_at), series.stock.code
    stored = source.slots(code, judge.timeframe, day, day)
    is_session = judge.calendar.has_session(day)
    return SlotReport(
        series=series,
        slot=_slot(judge, series, opens_at, stored, len(stored.candles)),
        session_verdict=judge.session(series.facts, day, _facts(judge, day, stored))
        if is_session and judge.expected(day)
        else None,
        history=source.history(code, judge.timeframe, day, day),
        last_task=source.last_error(code, judge.timeframe),
    )


def slot_map(
    source: Details, judge: Judge, series: StockSeries, days: Sequence[date]
) -> SlotMap:
    """Judge each candle slot of the sessions of ``days``, ascending."""
    if not days:
        return SlotMap(sessions=(), times=(), letters=())
    stored = source.slots(series.stock.code, judge.timeframe, days[0], days[-1])
    by_day: dict[date, set[datetime]] = {day: set() for day in days}
    for at in stored.candles:
        by_day.setdefault(kst_date(at), set()).add(at)
    told = {
        day: {
            _time(each.opens_at): each.verdict.state.value
            for each in _slots(judge, series, day, stored, frozenset(by_day[day]))
        }
        for day in days
    }
    times = sorted({time for letters in told.values() for time in letters})
    return SlotMap(
        sessions=days,
        times=times,
        letters=[
            "".join(letters.get(time, " ") for time in times)
            for letters in told.values()
        ],
    )


def _verdicts(
    source: Details, judge: Judge, series: StockSeries, days: Sequence[date]
) -> dict[date, Verdict]:
    if not days:
        return {}
    code = series.stock.code
    stored = source.sessions(judge.timeframe, days[0], days[-1], [code]).get(code, {})
    idle: frozenset[date] = frozenset()
    if judge.timeframe.minutes:
        idle = source.days_without_trades(days[0], days[-1], [code]).get(code, idle)
    verdicts = {}
    for day in days:
        facts = stored.get(day, NOTHING)
        if day in idle:
            facts = replace(facts, is_without_trades=True)
        verdicts[day] = judge.session(series.facts, day, facts)
    return verdicts


def _facts(judge: Judge, day: date, stored: StoredSlots) -> SessionFacts:
    grid = judge.slots(day)
    absent = [stored.confirmations[at] for at in grid & stored.confirmations.keys()]
    return SessionFacts(
        candles=len(grid & stored.candles),
        absent=len(absent),
        confirmed=sum(confirmations > 1 for confirmations in absent),
        is_without_trades=day in stored.days_without_trades,
    )


def _slots(
    judge: Judge,
    series: StockSeries,
    day: date,
    stored: StoredSlots,
    candles: frozenset[datetime],
) -> list[SlotVerdict]:
    """The slots of the grid, and ``candles`` of the day that are in none of them."""
    return [
        _slot(judge, series, at, stored, len(candles))
        for at in sorted(candles | judge.slots(day))
    ]


def _slot(
    judge: Judge,
    series: StockSeries,
    opens_at: datetime,
    stored: StoredSlots,
    candles_of_day: int,
) -> SlotVerdict:
    verdict = judge.slot(
        series.facts,
        opens_at,
        has_candle=opens_at in stored.candles,
        confirmations=stored.confirmations.get(opens_at, 0),
        is_without_trades=kst_date(opens_at) in stored.days_without_trades,
        candles_of_day=candles_of_day,
    )
    return SlotVerdict(opens_at=opens_at, verdict=verdict)


def _time(opens_at: datetime) -> str:
    return f"{opens_at.astimezone(KST):%H:%M}"
