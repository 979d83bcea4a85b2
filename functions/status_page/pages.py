"""The pages: complete without JavaScript, but for the map and the chart."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from functions.status_page.answers import SECURITY, conditional
from functions.status_page.api import (
    MOST_REPORTS,
    MOST_RUNS,
    MOST_SESSIONS,
    REPORTS,
    RUNS,
    SESSIONS,
    one_run,
    one_session,
)
from functions.status_page.candles import MOST_CANDLES
from functions.status_page.explain import series_report
from functions.status_page.parameters import (
    Parameters,
    day_of,
    instant_of,
    stock_of,
    timeframe_of,
)
from functions.status_page.problems import problem_of
from functions.status_page.rendering import (
    HTML,
    Look,
    assets_digest,
    render,
    static_file,
    style,
)
from functions.status_page.triggers import trigger_of, verify_of
from shared.candles import Timeframe
from shared.daily_reports import NO_REPORT
from shared.errors import remedy_of
from shared.reports import History
from shared.session_map import coverage, newest_sessions, problem_cells
from shared.sessions import DAY, KST, kst_date, midnight
from shared.settings import MARKET
from shared.verdicts import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date, datetime

    from functions.status_page.problems import Problem
    from functions.status_page.services import Services

# How far back a chart goes.
CHARTED = {
    Timeframe.MINUTE_5: timedelta(days=14),
    Timeframe.MINUTE_30: timedelta(days=60),
    Timeframe.MINUTE_60: timedelta(days=120),
    Timeframe.DAY_1: timedelta(days=1_100),
    Timeframe.WEEK_1: timedelta(days=4_000),
}
MOST_CELLS = 200
# With more stocks than this, a map goes without the number of candles of each cell.
MOST_COUNTED = 300
# Of a session, so many times without a candle are named.
MOST_TIMES = 24
WITHOUT_CANDLE = frozenset({State.MISSING, State.LATE, State.THIN, State.NO_TRADES})
# Who moved a row that no run has refused: a change of the calendar.
BY_CALENDAR = "calendar"
# The newest candles stand in a table: so many of them, of so many sessions.
TABLE_ROWS = 20
TABLED = {Timeframe.DAY_1: 20, Timeframe.WEEK_1: 100}


def blueprint(services: Services) -> Blueprint:
    """All routes of the pages."""
    pages = Blueprint("pages", __name__)
    routes = Routes(services)
    pages.add_url_rule("/", view_func=routes.overview)
    pages.add_url_rule("/coverage/<timeframe>", view_func=routes.coverage)
    cell = "/coverage/<timeframe>/<code>/<session>"
    pages.add_url_rule(cell, view_func=routes.cell)
    pages.add_url_rule("/stocks", view_func=routes.stocks)
    pages.add_url_rule("/stocks/<code>", view_func=routes.stock)
    pages.add_url_rule("/runs", view_func=routes.runs)
    pages.add_url_rule("/runs/<run_id>", view_func=routes.run)
    pages.add_url_rule("/reports", view_func=routes.reports)
    pages.add_url_rule("/reports/<date>", view_func=routes.report)
    pages.add_url_rule("/assets/<digest>/<name>", view_func=static_file)
    return pages


class Routes:
    """One method for each page."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def overview(self) -> Response:
        """Is all data here?"""
        given = Look(Parameters())
        issued = self._services.token_created_at()

        def build() -> dict[str, Any]:
            found = self._services.overview()
            return {
                "overview": found,
                "verify_of": verify_of,
                "now": found.now,
                "issued": issued,
                "token_age": found.now - issued if issued else None,
                "limit": self._services.requests_per_second,
            }

        return self._page("overview.html", given, build)

    def coverage(self, timeframe: str) -> Response:
        """The map of one timeframe."""
        frame, parameters = timeframe_of(timeframe), Parameters()
        count = parameters.count("sessions", SESSIONS, MOST_SESSIONS)
        # What the map shows is chosen in the browser, and stands in its URL.
        texts = {name: parameters.text(name) or "" for name in ("q", "at")}
        flags = {name: parameters.flag(name) for name in ("problems", "worst")}
        code, _, at = texts["at"].partition(" ")
        given = Look(parameters)

        def build() -> dict[str, Any]:
            judge = self._services.judge(frame)
            days = newest_sessions(judge, count)
            found = coverage(self._services.reports, judge, days)
            cells = problem_cells(self._services.reports, judge, found, MOST_CELLS)
            return {
                "now": judge.now,
                "timeframe": frame,
                "count": count,
                "choices": (SESSIONS, MOST_SESSIONS),
                "sessions": days,
                "chosen": {**texts, **flags},
                "code": code,
                "column": [*map(str, days), at].index(at) if at else len(days),
                "stocks": len(found.rows),
                "counts": len(found.rows) <= MOST_COUNTED,
                "cells": cells,
                "problems": sum(row.problems for row in found.rows),
                "states": {
                    state: sum(row.letters.count(state) for row in found.rows)
                    for state in State
                },
            }

        return self._page("coverage.html", given, build, is_heavy=True)

    def cell(self, timeframe: str, code: str, session: str) -> Response:
        """One cell of the map: how a session of a series stands, and why."""
        frame, day = timeframe_of(timeframe), day_of(session, "session")
        given = Look(Parameters())

        def build() -> dict[str, Any]:
            report, now = one_session(self._services, frame, code, day)
            return {
                "now": now,
                "cell": report,
                "timeframe": frame,
                "without": [
                    each.opens_at
                    for each in report.slots
                    if frame.minutes
                    and each.verdict.state in WITHOUT_CANDLE
                    and not each.verdict.candles
                ],
                "most": MOST_TIMES,
                "trigger_of": trigger_of,
                "verify_of": verify_of,
                "remedy_of": remedy_of,
            }

        return self._page("cell.html", given, build)

    def stocks(self) -> Response:
        """All targets, and where a search for a stock leads."""
        parameters = Parameters()
        wanted = (parameters.text("q") or "").strip()
        given = Look(parameters)

        def build() -> dict[str, Any]:
            services = self._services
            judge = services.judge(Timeframe.DAY_1)
            newest = judge.calendar.latest_opened(judge.now) or judge.calendar.first
            series = services.reports.series([Timeframe.DAY_1], newest)
            found = [
                each
                for each in series
                if not wanted
                or wanted.upper() in each.stock.code
                or wanted.lower() in each.stock.name.lower()
            ]
            return {"now": judge.now, "series": found, "wanted": wanted}

        return self._page("stocks.html", given, build)

    def stock(self, code: str) -> Response:
        """One stock: its candles and its series."""
        parameters = Parameters()
        chosen = parameters.text("timeframe")
        frame = timeframe_of(chosen) if chosen else Timeframe.DAY_1
        session = parameters.day("session")
        given = Look(parameters)

        def build() -> dict[str, Any]:
            services = self._services
            stock = stock_of(code, services.reports.stocks())
            reports, first = [], None
            for timeframe in Timeframe:
                judge = services.judge(timeframe)
                days = newest_sessions(judge, SESSIONS)
                first = min(filter(None, (first, *days[:1])), default=None)
                known = services.one_series(judge, stock.code)
                reports.append(series_report(services.reports, judge, known, days))
            now = services.clock()
            judge = services.judge(frame)
            shown = newest_sessions(judge, TABLED.get(frame, 2))
            page = services.reports.candles(
                stock.code,
                frame,
                midnight(shown[0]) if shown else now,
                now,
                limit=MOST_CANDLES,
            )
            history = History()
            if first:
                history = services.reports.history(
                    stock.code, frame, first, now.astimezone(KST).date()
                )
            return {
                "now": now,
                "stock": stock,
                "facts": reports[0].series.facts,
                "reports": reports,
                "timeframe": frame,
                "session": session,
                "history": history,
                "quarantined": _quarantined(history),
                "by_calendar": BY_CALENDAR,
                "trigger_of": trigger_of,
                "remedy_of": remedy_of,
                "candles": list(reversed(page.candles))[:TABLE_ROWS],
                "start": (now - CHARTED[frame]).astimezone(KST).date(),
                "marks": _chart_marks(history),
            }

        return self._page("stock.html", given, build, is_heavy=True)

    def runs(self) -> Response:
        """The newest runs."""
        parameters = Parameters()
        limit = parameters.count("limit", RUNS, MOST_RUNS)
        before = parameters.text("before")
        since = None if before is None else instant_of(before, "before")
        given = Look(parameters)

        def build() -> dict[str, Any]:
            found = self._services.reports.runs.newest(limit + 1, since)
            shown = found[:limit]
            more = shown[-1].written_at.isoformat() if len(found) > limit else None
            return {"now": self._services.clock(), "runs": shown, "more": more}

        return self._page("runs.html", given, build)

    def run(self, run_id: str) -> Response:
        """One run."""
        given = Look(Parameters())

        def build() -> dict[str, Any]:
            return {
                "now": self._services.clock(),
                "found": one_run(self._services, run_id),
                "remedy_of": remedy_of,
            }

        return self._page("run.html", given, build)

    def reports(self) -> Response:
        """The newest reports of days."""
        parameters = Parameters()
        limit = parameters.count("limit", REPORTS, MOST_REPORTS)
        before = parameters.day("before")
        given = Look(parameters)

        def build() -> dict[str, Any]:
            found = self._services.reports.daily.newest(limit + 1, before)
            shown = found[:limit]
            more = shown[-1].report.day if len(found) > limit else None
            return {"now": self._services.clock(), "reports": shown, "more": more}

        return self._page("reports.html", given, build)

    def report(self, date: str) -> Response:
        """The report of one day: one file that can be printed, kept, and sent."""
        day = day_of(date, "date")
        given = Look(Parameters())

        def build() -> dict[str, Any]:
            stored, since = self._services.daily_report(day)
            return {
                "now": self._services.clock(),
                "stored": stored,
                "report": stored.report,
                "since": since,
                "style": style(),
                "first": NO_REPORT,
                "yesterday": stored.report.day - DAY,
            }

        response = self._page("report.html", given, build)
        # Its style stands in the page itself; nothing else may.
        digest = b64encode(sha256(style().encode()).digest()).decode()
        response.headers["Content-Security-Policy"] = SECURITY[
            "Content-Security-Policy"
        ].replace("style-src 'self'", f"style-src 'self' 'sha256-{digest}'")
        return response

    def _page(
        self,
        template: str,
        look: Look,
        build: Callable[[], Mapping[str, Any]],
        *,
        is_heavy: bool = False,
    ) -> Response:
        prices = self._services.prices
        return conditional(
            self._services.answers,
            f"{template} {assets_digest()} {self._services.state()}",
            lambda: (render(template, look, {"prices": prices, **build()}), HTML),
            is_heavy=is_heavy,
        )


def problem_page(error: Exception) -> tuple[Response, Problem]:
    """A page that says what went wrong, and never what was known before."""
    look = Look(None)
    problem = problem_of(error, look.words)
    body = render(
        "problem.html", look, {"problem": problem, "now": None, "prices": MARKET}
    )
    return Response(body, problem.status, content_type=HTML), problem


def _chart_marks(history: History) -> str:
    """The marks of the chart: the instant, the sign, and the name of its colour."""
    found = [(_iso(midnight(each.session)), "▲", "l") for each in history.actions]
    found += [(_iso(each.opened_at), "•", "m") for each in history.revisions]
    # One a day: a day that was closed has a row for each of its candles.
    refused = sorted(row.opened_at for row in history.quarantine if row.opened_at)
    first = {kst_date(at): at for at in reversed(refused)}
    found += [(_iso(at), "!", "m") for at in first.values()]
    return json.dumps(
        [
            {
                "at": at,
                "text": text,
                "color": colour,
                "position": "aboveBar",
                "shape": "arrowUp" if text == "▲" else "circle",
            }
            for at, text, colour in sorted(found)
        ]
    )


def _quarantined(history: History) -> Counter[tuple[date | None, str, str]]:
    """How many rows went to quarantine, by session, reason and run, newest first.

    The session is None where the rows do not tell when their candles open.
    """
    return Counter(
        (row.opened_at and kst_date(row.opened_at), row.reason, row.run_id)
        for row in history.quarantine
    )


def _iso(at: datetime) -> str:
    return at.astimezone(KST).isoformat()
