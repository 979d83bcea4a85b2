"""The JSON API; ``openapi.yaml`` is its contract."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from flask import Blueprint, Response, request

from functions.status_page import views
from functions.status_page.answers import as_json, conditional
from functions.status_page.candles import answer as candles_answer
from functions.status_page.explain import (
    series_report,
    session_report,
    slot_map,
    slot_report,
)
from functions.status_page.parameters import (
    Parameters,
    day_of,
    instant_of,
    timeframe_of,
)
from functions.status_page.problems import bad, by_distance, unknown
from shared.errors import remedy_of
from shared.plain_text import sendable
from shared.reports import History
from shared.session_map import Detail, coverage, newest_sessions
from shared.sessions import DAY

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date, datetime

    from functions.status_page.explain import SessionReport
    from functions.status_page.services import Services
    from shared.candles import Timeframe
    from shared.reports import RunDetail
    from shared.verdicts import Judge

CONTRACT = Path(__file__).with_name("openapi.json")
SESSIONS = 60
MOST_SESSIONS = 250
MOST_CODES = 3_000
RUNS = 50
MOST_RUNS = 200
REPORTS = 60
MOST_REPORTS = 366
LONGEST_RUN_ID = 200
# A day without a session has one this near to it, even in the longest holidays.
AROUND = timedelta(weeks=3)


def blueprint(services: Services) -> Blueprint:
    """All routes of the API."""
    api = Blueprint("api", __name__)
    routes = Routes(services)
    api.add_url_rule("/healthz", view_func=routes.health)
    api.add_url_rule("/openapi.json", view_func=routes.contract)
    api.add_url_rule("/api/status", view_func=routes.status)
    api.add_url_rule("/api/coverage/<timeframe>", view_func=routes.coverage)
    one = "<code>/<timeframe>"
    api.add_url_rule(f"/api/series/{one}", view_func=routes.series)
    api.add_url_rule(f"/api/sessions/{one}/<session>", view_func=routes.session)
    api.add_url_rule(f"/api/slots/{one}", view_func=routes.slots)
    api.add_url_rule(f"/api/slots/{one}/<instant>", view_func=routes.slot)
    api.add_url_rule(f"/api/candles/{one}", view_func=routes.candles)
    api.add_url_rule("/api/runs", view_func=routes.runs)
    api.add_url_rule("/api/runs/<run_id>", view_func=routes.run)
    api.add_url_rule("/api/reports", view_func=routes.reports)
    api.add_url_rule("/api/reports/<date>", view_func=routes.report)
    return api


class Routes:
    """One method for each path of the contract."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def health(self) -> Response:
        """Whether the function answers; it asks nothing of the database."""
        Parameters().refuse_the_rest()
        body, content_type = as_json({"ok": True})
        return Response(body, content_type=content_type)

    def contract(self) -> Response:
        """The contract itself."""
        Parameters().refuse_the_rest()
        return Response(CONTRACT.read_bytes(), content_type="application/json")

    def status(self) -> Response:
        """Whether all data are here, and if not, why."""
        Parameters().refuse_the_rest()
        issued = self._services.token_created_at()
        limit = self._services.requests_per_second
        return self._answer(
            lambda: views.overview(self._services.overview(), issued, limit)
        )

    def coverage(self, timeframe: str) -> Response:
        """A letter for each session of each stock."""
        frame, given = timeframe_of(timeframe), Parameters()
        count = given.count("sessions", SESSIONS, MOST_SESSIONS)
        start, end = given.day("start"), given.day("end")
        known = self._codes() if "stocks" in request.args else set()
        codes = given.codes("stocks", known, MOST_CODES)
        counts = given.flag("counts")
        given.refuse_the_rest()

        def build() -> object:
            judge = self._services.judge(frame)
            days = chosen_days(judge, start, end, count)
            detail = Detail.COUNTS if counts else Detail.LETTERS
            found = coverage(self._services.reports, judge, days, codes, detail)
            return views.coverage(found, judge.now, counts=counts)

        return self._answer(build, is_heavy=True)

    def series(self, code: str, timeframe: str) -> Response:
        """The facts of a series, and its gaps."""
        frame, given = timeframe_of(timeframe), Parameters()
        count = given.count("sessions", SESSIONS, MOST_SESSIONS)
        start, end = given.day("start"), given.day("end")
        given.refuse_the_rest()

        def build() -> object:
            services, judge = self._services, self._services.judge(frame)
            known = services.one_series(judge, code)
            days = chosen_days(judge, start, end, count)
            report = series_report(services.reports, judge, known, days)
            history = History()
            if days:
                history = services.reports.history(code, frame, days[0], days[-1])
            return views.series_report(report, judge.now) | views.history(history)

        return self._answer(build)

    def session(self, code: str, timeframe: str, session: str) -> Response:
        """One session of a series, with each of its candle slots."""
        frame, day = timeframe_of(timeframe), day_of(session, "session")
        Parameters().refuse_the_rest()

        def build() -> object:
            report, now = one_session(self._services, frame, code, day)
            return views.session_report(report, now)

        return self._answer(build)

    def slots(self, code: str, timeframe: str) -> Response:
        """A letter for each candle slot of the newest sessions of a series."""
        frame, given = timeframe_of(timeframe), Parameters()
        count = given.count("sessions", SESSIONS, SESSIONS)
        given.refuse_the_rest()

        def build() -> object:
            services, judge = self._services, self._services.judge(frame)
            known = services.one_series(judge, code)
            days = newest_sessions(judge, count)
            found = slot_map(services.reports, judge, known, days)
            return views.slot_map(found, known, judge.now)

        return self._answer(build, is_heavy=True)

    def slot(self, code: str, timeframe: str, instant: str) -> Response:
        """One candle slot, explained."""
        frame, at = timeframe_of(timeframe), instant_of(instant)
        Parameters().refuse_the_rest()

        def build() -> object:
            services, judge = self._services, self._services.judge(frame)
            known = services.one_series(judge, code)
            report = slot_report(services.reports, judge, known, at)
            return views.slot_report(report, judge.now)

        return self._answer(build)

    def candles(self, code: str, timeframe: str) -> Response:
        """Candles of a series, as JSON or CSV."""
        return candles_answer(self._services, code, timeframe_of(timeframe))

    def runs(self) -> Response:
        """The newest runs."""
        given = Parameters()
        limit = given.count("limit", RUNS, MOST_RUNS)
        before = given.text("before")
        since = None if before is None else instant_of(before, "before")
        given.refuse_the_rest()

        def build() -> object:
            found = self._services.reports.runs.newest(limit + 1, since)
            return _page("runs", [*map(views.run, found)], limit, "recorded_at")

        return self._answer(build)

    def run(self, run_id: str) -> Response:
        """One run, with its tasks in groups."""
        Parameters().refuse_the_rest()
        return self._answer(
            lambda: views.run_detail(one_run(self._services, run_id), remedy_of)
        )

    def reports(self) -> Response:
        """The newest reports of days."""
        given = Parameters()
        limit = given.count("limit", REPORTS, MOST_REPORTS)
        before = given.day("before")
        given.refuse_the_rest()

        def build() -> object:
            found = self._services.reports.daily.newest(limit + 1, before)
            return _page("reports", [*map(views.daily_report, found)], limit, "day")

        return self._answer(build)

    def report(self, date: str) -> Response:
        """The report of one day, and what has become of its seals."""
        day = day_of(date, "date")
        Parameters().refuse_the_rest()

        def build() -> object:
            stored, since = self._services.daily_report(day)
            return views.daily_report(stored) | views.since(since)

        return self._answer(build)

    def _answer(
        self, build: Callable[[], object], *, is_heavy: bool = False
    ) -> Response:
        return conditional(
            self._services.answers,
            f"json {self._services.state()}",
            lambda: as_json(build()),
            is_heavy=is_heavy,
        )

    def _codes(self) -> set[str]:
        return {stock.code for stock in self._services.reports.stocks()}


def _page(
    name: str, found: list[dict[str, Any]], limit: int, place: str
) -> dict[str, object]:
    """The first ``limit``, and where the next are, if one more was found.

    Those are the ones before the ``place`` of the last one.
    """
    shown = found[:limit]
    told: dict[str, object] = {name: shown}
    if len(found) > limit:
        query = urlencode({"limit": limit, "before": shown[-1][place]})
        told["next"] = f"{request.host_url}api/{name}?{query}"
    return told


def chosen_days(
    judge: Judge, start: date | None, end: date | None, count: int
) -> list[date]:
    """The sessions of a range of days, half-open; without a start, the newest.

    Raises:
        RequestError: If the range is empty or too long.
    """
    if start and end and start >= end:
        raise bad("end", "end_not_after", start=start, end=end)
    calendar, newest = judge.calendar, judge.calendar.latest_opened(judge.now)
    if newest is None or (start is None and end is None):
        return newest_sessions(judge, count)
    last = min(newest, end - DAY) if end and end > calendar.first else newest
    if end and end <= calendar.first:
        return []
    if start is None:
        first = last - timedelta(days=7 * count + 30)
        return judge.sessions(first, last)[-count:]
    days = judge.sessions(start, last)
    if len(days) > MOST_SESSIONS:
        raise bad("start", "too_long", count=len(days), most=MOST_SESSIONS)
    return days


def one_session(
    services: Services, timeframe: Timeframe, code: str, day: date
) -> tuple[SessionReport, datetime]:
    """A session of a series, both of which exist; and when it is judged."""
    judge = services.judge(timeframe)
    known = services.one_series(judge, code)
    if not (judge.calendar.knows(day) and judge.expected(day)):
        nearest = by_distance(day, _sessions_around(judge, day))
        raise unknown("session", str(day), [], nearest=nearest)
    return session_report(services.reports, judge, known, day), judge.now


def _sessions_around(judge: Judge, day: date) -> list[date]:
    """Sessions near a day; the newest if none is near."""
    calendar, near = judge.calendar, []
    if calendar.knows(day):
        near = judge.sessions(day - AROUND, day + AROUND)
    return near or newest_sessions(judge, MOST_SESSIONS)


def one_run(services: Services, run_id: str) -> RunDetail:
    """A run that exists."""
    can_be_one = len(run_id) <= LONGEST_RUN_ID and run_id == sendable(run_id)
    found = services.reports.runs.of(run_id) if can_be_one else None
    if found is None:
        newest = [run.run_id for run in services.reports.runs.newest(RUNS)]
        raise unknown("run", run_id, newest)
    return found
