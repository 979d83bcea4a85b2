"""Candles: page by page as JSON, or streamed as CSV."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from flask import Response, request

from functions.status_page.answers import as_json, conditional, conditional_stream
from functions.status_page.parameters import Parameters, instant_of, stock_of
from functions.status_page.problems import RequestError, bad
from functions.status_page.views import day as day_or_none
from functions.status_page.views import seoul
from shared.candles import CandleSession
from shared.sessions import DAY, EXCHANGE_BEGAN, kst_date, midnight

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date, datetime

    from functions.status_page.services import Reports, Services
    from shared.candles import Candle, Timeframe
    from shared.reports import CandlePage, StockName

CANDLES = 1_000
MOST_CANDLES = 5_000
COLUMNS = (
    "opened_at",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "turnover",
    "session",
    "is_settled",
)
JSON, CSV = "application/json", "text/csv"
# A link cannot choose by a header.
FORMATS = {"json": JSON, "csv": CSV}
MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """Which candles a request describes."""

    stock: StockName
    timeframe: Timeframe
    beyond: datetime
    session: CandleSession | None
    settled: bool

    def page(self, reports: Reports, first: datetime, limit: int) -> CandlePage:
        """Up to ``limit`` of them that open at ``first`` or later."""
        return reports.candles(
            self.stock.code,
            self.timeframe,
            first,
            self.beyond,
            session=self.session,
            settled=self.settled,
            limit=limit,
        )


def answer(services: Services, code: str, timeframe: Timeframe) -> Response:
    """The candles of a series that the parameters of the request describe.

    JSON has at most ``limit`` of them, and ``next``. CSV is streamed: without a
    ``limit`` it has them all, in constant memory.
    """
    given = Parameters()
    start, end = given.day("start"), given.day("end")
    part = given.choice("session", [each.value for each in CandleSession])
    settled = given.flag("settled")
    has_limit = "limit" in request.args
    limit = given.count("limit", CANDLES, MOST_CANDLES)
    cursor = given.text("cursor")
    after = None if cursor is None else instant_of(cursor, "cursor")
    chosen = given.choice("format", FORMATS)
    given.refuse_the_rest()
    if start and end and start >= end:
        raise bad("end", "end_not_after", start=start, end=end)
    form = FORMATS[chosen] if chosen else _accepted()
    # An earlier day may have no midnight: the first of the years has none in Seoul.
    first = midnight(max(start or EXCHANGE_BEGAN, EXCHANGE_BEGAN))
    if after is not None:
        first = max(first, _behind(after))

    def wanted() -> _Wanted:
        return _Wanted(
            stock=stock_of(code, services.reports.stocks()),
            timeframe=timeframe,
            beyond=midnight(
                max(end or kst_date(services.clock()) + DAY, EXCHANGE_BEGAN)
            ),
            session=CandleSession(part) if part else None,
            settled=settled,
        )

    def build() -> tuple[bytes, str]:
        asked = wanted()
        return as_json(_told(asked, asked.page(services.reports, first, limit)))

    state = f"{form} {services.state()}"
    if form == JSON:
        return conditional(services.answers, state, build)
    return conditional_stream(
        state,
        lambda: _streamed(
            services.reports, wanted(), first, limit if has_limit else None
        ),
    )


def _accepted() -> str:
    accepted = request.accept_mimetypes
    form = accepted.best_match([JSON, CSV]) if accepted else JSON
    if form is None:
        forms = {"forms": f"{JSON}, {CSV}"}
        raise RequestError(406, "Accept", "not_acceptable", forms)
    return form


def _told(asked: _Wanted, page: CandlePage) -> dict[str, Any]:
    return {
        "stock_code": asked.stock.code,
        "stock_name": asked.stock.name,
        "timeframe": asked.timeframe.value,
        "settled_through": day_or_none(page.settled_through),
        "candles": [
            dict(zip(COLUMNS, _values(candle, page.settled_through), strict=True))
            for candle in page.candles
        ],
        **({"next": _next(page)} if page.more else {}),
    }


def _streamed(
    reports: Reports, asked: _Wanted, first: datetime, limit: int | None
) -> Response:
    """CSV, page by page; no connection is held while the client reads.

    The first page is read at once, so that what is wrong has its status. If a later
    one cannot be read the connection breaks, and no client takes a part for the whole.
    """
    page = asked.page(reports, first, limit or MOST_CANDLES)

    def lines() -> Iterator[str]:
        yield ",".join(COLUMNS) + "\n"
        each = page
        yield "".join(_lines(each))
        while each.more and limit is None:
            behind = _behind(each.candles[-1].opened_at)
            each = asked.page(reports, behind, MOST_CANDLES)
            yield "".join(_lines(each))

    response = Response(lines(), content_type=f"{CSV}; charset=utf-8")
    if page.more and limit is not None:
        response.headers["Link"] = f'<{_next(page)}>; rel="next"'
    return response


def _behind(opened_at: datetime) -> datetime:
    """The first instant after an opening."""
    return opened_at + MOMENT


def _next(page: CandlePage) -> str:
    """The URL of the page that follows."""
    query = {name: request.args[name] for name in request.args}
    query["cursor"] = str(seoul(page.candles[-1].opened_at))
    return f"{request.base_url}?{urlencode(query)}"


def _values(candle: Candle, settled_through: date | None) -> tuple[Any, ...]:
    is_settled = bool(settled_through and kst_date(candle.opened_at) <= settled_through)
    return (
        seoul(candle.opened_at),
        candle.open,
        candle.high,
        candle.low,
        candle.close,
        candle.volume,
        candle.turnover,
        candle.session.value,
        is_settled,
    )


def _lines(page: CandlePage) -> Iterator[str]:
    """The lines of a CSV file; nothing stands for what is not known."""
    for candle in page.candles:
        values = _values(candle, page.settled_through)
        told = ("" if value is None else str(value) for value in values[:-1])
        yield ",".join((*told, "true" if values[-1] else "false")) + "\n"
