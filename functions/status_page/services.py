"""What an answer is made of: the stores, the clock, and how to judge."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from functions.status_page.answers import AnswerCache
from functions.status_page.explain import Details
from functions.status_page.parameters import stock_of
from functions.status_page.problems import RequestError, by_distance, unknown
from functions.status_page.status import Counts, GapFinder, Overview, overview
from shared.daily_reports import Since, span
from shared.freshness import DueTimes
from shared.settings import MARKET
from shared.stocks import STOCK_CODE
from shared.verdicts import Judge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date, datetime

    from shared.candles import CandleSession, Timeframe
    from shared.clock import Clock
    from shared.daily_reports import Sealed, StoredReport
    from shared.freshness import Tick
    from shared.reports import CandlePage, RunDetail, RunRow, StockName, StockSeries
    from shared.sessions import Calendar

# An answer holds for this long at most: what is late depends on the time.
STEP_SECONDS = 30
# Among so many is the one that was meant, where a day has none.
NEWEST_REPORTS = 60


class Daily(Protocol):
    """The reports of days."""

    def newest(self, limit: int, before: date | None = None) -> list[StoredReport]:
        """The newest reports, or the newest before a day."""

    def of(self, day: date) -> StoredReport | None:
        """The report of a day; None if there is none."""

    def sealed(self, since: datetime, until: datetime) -> Sealed:
        """What was sealed from ``since`` to before ``until``, and not since."""


class Runs(Protocol):
    """What came of runs."""

    def newest(self, limit: int, before: datetime | None = None) -> list[RunRow]:
        """The newest runs, or the newest that were recorded before an instant."""

    def of(self, run_id: str) -> RunDetail | None:
        """A run with its tasks in groups; None if there is none of that id."""


class Reports(Counts, Details, Protocol):
    """All that is reported."""

    @property
    def daily(self) -> Daily:
        """The reports of days."""

    @property
    def runs(self) -> Runs:
        """What came of runs."""

    def snapshot(self) -> str:
        """A string that changes with everything that is committed."""

    def stocks(self) -> list[StockName]:
        """All stocks, by their codes."""

    def candles(  # noqa: PLR0913 - a series, a range and three conditions
        self,
        stock_code: str,
        timeframe: Timeframe,
        first: datetime,
        beyond: datetime,
        *,
        session: CandleSession | None = None,
        settled: bool = False,
        limit: int,
    ) -> CandlePage:
        """Up to ``limit`` candles that open from ``first`` to before ``beyond``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What every route is given.

    ``token_created_at`` tells when the access token was issued, None while that is
    not known. ``requests_per_second`` is the broker's limit of each call for an app
    key, None without one. ``prices`` are the market's or made-up ones, as
    ``PRICES`` has it.
    """

    reports: Reports
    calendar: Callable[[], Calendar]
    ticks: Sequence[Tick]
    clock: Clock
    token_created_at: Callable[[], datetime | None] = lambda: None
    prices: str = MARKET
    requests_per_second: float | None = None
    answers: AnswerCache = field(default_factory=AnswerCache)
    gaps: GapFinder = field(init=False)

    def __post_init__(self) -> None:
        """Share one finder of gaps: it counts the slots of a session once."""
        object.__setattr__(self, "gaps", GapFinder(self.reports))

    def state(self) -> str:
        """What an answer depends on, beside its URL: one short query."""
        steps = int(self.clock().timestamp() // STEP_SECONDS)
        return f"{self.reports.snapshot()} {steps} {self.token_created_at()}"

    def due(self) -> DueTimes:
        """When candles are due, by the calendar as it is now."""
        return DueTimes(self.calendar(), self.ticks)

    def judge(self, timeframe: Timeframe) -> Judge:
        """A judge of one timeframe, now."""
        return Judge(self.due(), timeframe, self.clock())

    def overview(self) -> Overview:
        """How everything stands."""
        return overview(self.reports, self.gaps, self.due(), self.clock())

    def daily_report(self, day: date) -> tuple[StoredReport, Since]:
        """The report of a day, and what has become of its seals.

        Raises:
            RequestError: If there is none.
        """
        found = self.reports.daily.of(day)
        if found is None:
            days = [one.report.day for one in self.reports.daily.newest(NEWEST_REPORTS)]
            raise unknown("report", str(day), [], nearest=by_distance(day, days))
        sealed = self.reports.daily.sealed(*span(day))
        return found, Since.of(found.report.sealed, sealed)

    def one_series(self, judge: Judge, code: str) -> StockSeries:
        """One series of a stock that exists.

        Raises:
            RequestError: If there is no such stock, or nothing of it was ever loaded.
        """
        newest = judge.calendar.latest_opened(judge.now) or judge.calendar.first
        if STOCK_CODE.fullmatch(code):
            for found in self.reports.series([judge.timeframe], newest, [code]):
                return found
        stock = stock_of(code, self.reports.stocks())
        told = {"stock": f"{stock.code} {stock.name}"}
        raise RequestError(404, "stock", "never_loaded", told)
