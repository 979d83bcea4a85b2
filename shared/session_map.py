"""The map: how each session of each stock stands, in one timeframe."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from shared.sessions import DAY, kst_date
from shared.verdicts import SessionFacts, State, settled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    from shared.candles import Timeframe
    from shared.reports import Account, Mark, StockName, StockSeries
    from shared.verdicts import Judge, SeriesFacts, Verdict

NOTHING = SessionFacts()
NOTHING_STORED: Mapping[date, SessionFacts] = {}
# With more series than this, seals are read instead of the candles that they are of;
# `make verify` compares them.
MANY_SERIES = 300
# So many sessions of a whole market are held in memory at a time.
AT_ONCE = 250


class Detail(StrEnum):
    """How much is wanted of what is stored of sessions."""

    # Every session, with how many candles it has.
    COUNTS = "counts"
    # What a letter needs: of a whole market, no session that is not settled.
    LETTERS = "letters"
    # The same, with settled minutes told by their seals, of some stocks as well.
    SEALED_LETTERS = "sealed_letters"


class Sessions(Protocol):
    """What is stored of series and their sessions."""

    def accounts(
        self, timeframe: Timeframe, last: date | None, over_at: datetime | None
    ) -> list[Account]:
        """All series of a timeframe that were ever loaded, grouped by their proofs."""

    def altered(self, timeframe: Timeframe) -> set[str]:
        """Stocks with more settled candles, or fewer, than were sealed."""

    def series(
        self,
        timeframes: Sequence[Timeframe],
        behind: date,
        codes: Sequence[str] | None = None,
    ) -> list[StockSeries]:
        """The series of all targets, and of what else was ever loaded."""

    def sessions(
        self,
        timeframe: Timeframe,
        start: date,
        last: date,
        codes: Sequence[str] | None = None,
        detail: Detail = Detail.COUNTS,
    ) -> dict[str, dict[date, SessionFacts]]:
        """What is stored of each session from ``start`` to ``last``, by stock."""

    def days_without_trades(
        self, start: date, last: date, codes: Sequence[str]
    ) -> dict[str, frozenset[date]]:
        """Days on which a stock did not trade, by its daily candles."""

    def marks(
        self, timeframe: Timeframe, start: date, last: date
    ) -> dict[str, dict[date, Mark]]:
        """What else happened to sessions from ``start`` to ``last``, by stock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One stock: a letter for each session, and what else happened on some of them."""

    stock: StockName
    facts: SeriesFacts
    letters: str
    marks: Mapping[int, Mark] = field(default_factory=dict)

    @property
    def problems(self) -> int:
        """How many of its sessions are late or missing."""
        return self.letters.count(State.LATE) + self.letters.count(State.MISSING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How the ``sessions`` of each stock stand."""

    timeframe: Timeframe
    sessions: Sequence[date]
    expected: Sequence[int]
    rows: Sequence[Row]
    stored: Mapping[str, Mapping[date, SessionFacts]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One session of one stock that is late or missing."""

    stock: StockName
    session: date
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """The sessions of one stock that are missing candles."""

    stock: StockName
    timeframe: Timeframe
    sessions: int
    candles: int
    newest: date
    verdict: Verdict


def newest_sessions(judge: Judge, count: int) -> list[date]:
    """The last ``count`` sessions on which a candle opens, oldest first."""
    newest = judge.calendar.latest_opened(judge.now)
    if newest is None:
        return []
    found: list[date] = []
    last = newest
    while len(found) < count and last > judge.calendar.first:
        first = max(judge.calendar.first, last - DAY * 7 * (count - len(found)))
        found = judge.sessions(first, last) + found
        last = first - DAY
    return found[-count:]


def coverage(
    source: Sessions,
    judge: Judge,
    days: Sequence[date],
    codes: Sequence[str] | None = None,
    detail: Detail = Detail.LETTERS,
) -> Coverage:
    """Judge the sessions of ``days`` (ascending) of all stocks, or of some."""
    expected = [judge.expected(day) for day in days]
    if not days:
        return Coverage(timeframe=judge.timeframe, sessions=(), expected=(), rows=())
    series = source.series([judge.timeframe], _behind(judge, days), codes)
    stored: Mapping[str, Mapping[date, SessionFacts]] = source.sessions(
        judge.timeframe, days[0], days[-1], codes, detail
    )
    marks = source.marks(judge.timeframe, days[0], days[-1])
    letters = _Letters(judge, days, expected)
    found = {
        each.stock.code: letters.of(
            each.facts, stored.get(each.stock.code, NOTHING_STORED)
        )
        for each in series
    }
    suspects = [code for code, told in found.items() if State.MISSING in told]
    if suspects and judge.timeframe.minutes:
        explained = _explained(source, days, stored, suspects)
        for each in series:
            if each.stock.code in explained:
                found[each.stock.code] = letters.of(
                    each.facts, explained[each.stock.code]
                )
    places = {day: place for place, day in enumerate(days)}
    return Coverage(
        timeframe=judge.timeframe,
        sessions=days,
        expected=expected,
        rows=[
            Row(
                stock=each.stock,
                facts=each.facts,
                letters=found[each.stock.code],
                marks={
                    places[day]: mark
                    for day, mark in sorted(marks.get(each.stock.code, {}).items())
                    if day in places
                },
            )
            for each in series
        ],
        stored=stored,
    )


def problem_cells(
    source: Sessions, judge: Judge, coverage: Coverage, limit: int
) -> list[Cell]:
    """The newest cells of a map that are late or missing, with their verdicts."""
    found = [
        (day, row)
        for place, day in enumerate(coverage.sessions)
        for row in coverage.rows
        if row.letters[place] in {State.LATE, State.MISSING}
    ]
    newest = sorted(found, key=lambda cell: cell[0], reverse=True)[:limit]
    if not newest:
        return []
    days = sorted({day for day, _ in newest})
    codes = sorted({row.stock.code for _, row in newest})
    stored = source.sessions(judge.timeframe, days[0], days[-1], codes)
    return [
        Cell(
            stock=row.stock,
            session=day,
            verdict=judge.session(
                row.facts, day, stored.get(row.stock.code, {}).get(day, NOTHING)
            ),
        )
        for day, row in newest
    ]


def gaps_of(
    source: Sessions,
    judge: Judge,
    days: Sequence[date],
    codes: Sequence[str] | None = None,
    detail: Detail = Detail.LETTERS,
) -> list[Gaps]:
    """The series with missing candles in these sessions, of all stocks or of some."""
    return _gaps_in(source, judge, coverage(source, judge, days, codes, detail))


@dataclass(slots=True, kw_only=True)
class Census:
    """How many sessions were ever asked for, by state; and how many candles miss."""

    sessions: Counter[str] = field(default_factory=Counter)
    missing: int = 0


def census(source: Sessions, judge: Judge) -> Census:
    """Count all sessions that were ever asked for, some of them at a time."""
    counted = Census()
    days = _ever_asked(source, judge)
    for place in range(0, len(days), AT_ONCE):
        found = coverage(source, judge, days[place : place + AT_ONCE])
        counted.sessions.update("".join(row.letters for row in found.rows))
        counted.missing += sum(gap.candles for gap in _gaps_in(source, judge, found))
    return counted


def _ever_asked(source: Sessions, judge: Judge) -> list[date]:
    """The sessions from the first that any series begins with to the newest."""
    newest = judge.calendar.latest_opened(judge.now)
    if newest is None:
        return []
    series = source.series([judge.timeframe], newest)
    begins = [begin[0] for each in series if (begin := judge.begins(each.facts))]
    return judge.sessions(min(begins), newest) if begins else []


def _gaps_in(source: Sessions, judge: Judge, found: Coverage) -> list[Gaps]:
    """The gaps of the rows with missing candles, which are counted one by one."""
    short = [row for row in found.rows if State.MISSING in row.letters]
    if not short:
        return []
    days, codes = found.sessions, [row.stock.code for row in short]
    stored = source.sessions(judge.timeframe, days[0], days[-1], codes)
    return [_gaps(judge, row, days, stored.get(row.stock.code, {})) for row in short]


def _gaps(
    judge: Judge, row: Row, days: Sequence[date], stored: Mapping[date, SessionFacts]
) -> Gaps:
    verdicts = {
        day: judge.session(row.facts, day, stored.get(day, NOTHING))
        for day, letter in zip(days, row.letters, strict=True)
        if letter == State.MISSING
    }
    newest = max(verdicts)
    return Gaps(
        stock=row.stock,
        timeframe=judge.timeframe,
        sessions=len(verdicts),
        candles=sum(verdict.missing for verdict in verdicts.values()),
        newest=newest,
        verdict=verdicts[newest],
    )


def _behind(judge: Judge, days: Sequence[date]) -> date:
    """What is settled through this day needs no look at its newest candle.

    The sessions of the map that are later cannot be settled yet.
    """
    today = kst_date(judge.now)
    last = judge.calendar.settled_through(judge.timeframe, judge.now, today)
    return min(days[-1], last or days[-1])


def _explained(
    source: Sessions,
    days: Sequence[date],
    stored: Mapping[str, Mapping[date, SessionFacts]],
    codes: Sequence[str],
) -> dict[str, dict[date, SessionFacts]]:
    """What is stored of some stocks, knowing on which days they did not trade."""
    without = source.days_without_trades(days[0], days[-1], codes)
    return {
        code: {
            **stored.get(code, {}),
            **{
                day: replace(
                    stored.get(code, {}).get(day, NOTHING), is_without_trades=True
                )
                for day in idle
            },
        }
        for code, idle in without.items()
    }


class _Letters:
    """Turns what is stored into letters.

    Settled sessions that are alike are judged once, and so are stocks of which the same
    is stored: equal facts are mostly one object, which lives as long as this does.
    """

    def __init__(
        self, judge: Judge, days: Sequence[date], expected: Sequence[int]
    ) -> None:
        self._judge = judge
        self._days = days
        self._expected = expected
        self._same: dict[tuple[int, int], str] = {}
        self._same_stocks: dict[tuple[int, int, int], str] = {}

    def of(self, known: SeriesFacts, stored: Mapping[date, SessionFacts]) -> str:
        """A letter for each day."""
        days, judge = self._days, self._judge
        begins = judge.begins(known)
        if begins is None:
            return "".join(
                judge.session(known, day, NOTHING).state.value for day in days
            )
        first = bisect_left(days, begins[0])
        through = known.series.settled_through
        beyond = max(first, bisect_right(days, through)) if through else first
        key = id(stored), first, beyond
        if key not in self._same_stocks:
            self._same_stocks[key] = self._settled(stored, first, beyond)
        return (
            State.NOT_ASKED.value * first
            + self._same_stocks[key]
            + "".join(
                judge.session(known, day, stored.get(day, NOTHING)).state.value
                for day in days[beyond:]
            )
        )

    def _settled(
        self, stored: Mapping[date, SessionFacts], first: int, beyond: int
    ) -> str:
        days, same, get = self._days, self._same, stored.get
        letters = []
        for place in range(first, beyond):
            facts = get(days[place], NOTHING)
            key = self._expected[place], id(facts)
            letter = same.get(key)
            if letter is None:
                letter = settled(key[0], facts).state.value
                same[key] = letter
            letters.append(letter)
        return "".join(letters)
