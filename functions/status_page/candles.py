"""Candles, page by page, as JSON or CSV."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from flask import Response, request

from functions.status_page.answers import as_json, conditional
from functions.status_page.parameters import Parameters, instant_of, stock_of
from functions.status_page.problems import RequestError, bad
from functions.status_page.views import day as day_or_none
from functions.status_page.views import seoul
from shared.candles import CandleSession
from shared.sessions import DAY, EXCHANGE_BEGAN, kst_date, midnight

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from functions.status_page.services import Services
    from shared.candles import Candle, Timeframe
    from shared.reports import CandlePage

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


def answer(services: Services, code: str, timeframe: Timeframe) -> Response:
    """The candles of a series that the parameters of the request describe."""
    given = Parameters()
    start, end = given.day("start"), given.day("end")
    part = given.choice("session", [each.value for each in CandleSession])
    settled = given.flag("settled")
    limit = given.count("limit", CANDLES, MOST_CANDLES)
    cursor = given.text("cursor")
    after = None if cursor is None else instant_of(cursor, "cursor")
    given.refuse_the_rest()
    if start and end and start >= end:
        raise bad("end", f"{end} is not after {start}", "give a later day")
    accepted = request.accept_mimetypes
    form = accepted.best_match([JSON, CSV]) if accepted else JSON
    if form is None:
        remedy = f"accept {JSON} or {CSV}"
        raise RequestError(406, "Accept", "neither JSON nor CSV is accepted", remedy)

    def build() -> tuple[bytes, str]:
        stock = stock_of(code, services.reports.stocks())
        first = midnight(start or EXCHANGE_BEGAN)
        if after is not None:
            first = max(first, after + timedelta(microseconds=1))
        beyond = midnight(end or kst_date(services.clock()) + DAY)
        page = services.reports.candles(
            stock.code,
            timeframe,
            first,
            beyond,
            session=CandleSession(part) if part else None,
            settled=settled,
            limit=limit,
        )
        if form == CSV:
            return "".join(_lines(page)).encode(), f"{CSV}; charset=utf-8"
        return as_json(
            {
                "stock_code": stock.code,
                "stock_name": stock.name,
                "timeframe": timeframe.value,
                "settled_through": day_or_none(page.settled_through),
                "candles": [
                    dict(
                        zip(COLUMNS, _values(candle, page.settled_through), strict=True)
                    )
                    for candle in page.candles
                ],
                **({"next": _next(page)} if page.more else {}),
            }
        )

    return conditional(services.answers, f"{form} {services.state()}", build)


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
    yield ",".join(COLUMNS) + "\n"
    for candle in page.candles:
        values = _values(candle, page.settled_through)
        told = ("" if value is None else str(value) for value in values[:-1])
        yield ",".join((*told, "true" if values[-1] else "false")) + "\n"
