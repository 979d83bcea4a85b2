"""Candles of the broker's chart calls: ka10080 minutes, ka10081 days, ka10082 weeks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.candles import Candle, RejectedRow, Timeframe
from shared.errors import MalformedResponse
from shared.kiwoom.fields import count, instant, price

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date, datetime

    from shared.kiwoom.client import KiwoomClient, Meter
    from shared.sessions import Calendar

PATH = "/api/dostk/chart"
ADJUSTED = "1"
# A page with more refused rows than this share is not the contract that we know.
REJECTED_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Chart:
    """How one timeframe is asked for, and what its rows are called."""

    api_id: str
    rows: str
    opened_at: str
    scope: str | None = None
    # Factor from the row's traded value to KRW; None where a row has none.
    turnover: int | None = None


CHARTS = {
    Timeframe.MINUTE_5: Chart("ka10080", "stk_min_pole_chart_qry", "cntr_tm", "5"),
    Timeframe.MINUTE_30: Chart("ka10080", "stk_min_pole_chart_qry", "cntr_tm", "30"),
    Timeframe.MINUTE_60: Chart("ka10080", "stk_min_pole_chart_qry", "cntr_tm", "60"),
    Timeframe.DAY_1: Chart(
        "ka10081", "stk_dt_pole_chart_qry", "dt", turnover=1_000_000
    ),
    Timeframe.WEEK_1: Chart("ka10082", "stk_stk_pole_chart_qry", "dt", turnover=1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One answer: ``candles`` newest first, and the ``rejected`` rows.

    ``blank`` tells that the broker answered with its one empty row: it has nothing
    for this stock. ``last`` tells that it has nothing older; ``oldest`` is the instant
    of the oldest row, whatever else is wrong with it. ``cursor`` is where the next
    page begins.
    """

    candles: tuple[Candle, ...]
    rejected: tuple[RejectedRow, ...]
    blank: bool
    last: bool
    oldest: datetime | None
    cursor: str | None


class KiwoomCandles:
    """The broker's chart calls as candles."""

    def __init__(self, client: KiwoomClient) -> None:
        """Ask through ``client``."""
        self._client = client

    def pages(  # noqa: PLR0913 - each is a fact of the request
        self,
        stock_code: str,
        timeframe: Timeframe,
        *,
        anchor: date,
        calendar: Calendar,
        meter: Meter,
        cursor: str | None = None,
    ) -> Iterator[Page]:
        """Yield pages, newest first, from ``anchor`` back to the broker's oldest.

        Prices are adjusted relative to ``anchor`` (a date in Seoul), and the newest
        candle may still be forming. A page is asked for when it is wanted: whoever
        stops iterating stops asking. A ``cursor`` goes on after an earlier page from
        the same anchor.

        Raises:
            MalformedResponse: If the answer is no page, or goes round in circles.
            PermanentError: If the broker refuses.
            TransientError: If it may answer later.

        Source: Kiwoom ka10080, ka10081, ka10082; paging by response headers.
        """
        chart = CHARTS[timeframe]
        body = {
            "stk_cd": stock_code,
            "upd_stkpc_tp": ADJUSTED,
            "base_dt": f"{anchor:%Y%m%d}",
        }
        if chart.scope:
            body["tic_scope"] = chart.scope
        reached: datetime | None = None
        for reply in self._client.pages(chart.api_id, PATH, body, meter, cursor):
            rows = _rows(reply.body, chart)
            page = _page(rows, chart, stock_code, timeframe, calendar, reply.next_key)
            yield page
            if page.last:
                return
            if page.oldest is None or (reached and page.oldest >= reached):
                message = f"{chart.api_id}: the broker's pages do not get older"
                raise MalformedResponse(message)
            reached = page.oldest


def _rows(body: dict[str, Any], chart: Chart) -> list[dict[str, str]]:
    rows = body.get(chart.rows)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        message = f"{chart.api_id}: the answer has no list {chart.rows}"
        raise MalformedResponse(message)
    return rows


def _is_blank(row: dict[str, str]) -> bool:
    """Whether it is the row of empty texts that stands for "no data"."""
    return not any(str(value).strip() for value in row.values())


def _oldest(rows: list[dict[str, str]], chart: Chart) -> datetime | None:
    instants = []
    for row in rows:
        try:
            instants.append(instant(row.get(chart.opened_at, "")))
        except ValueError:
            continue
    return min(instants, default=None)


def _page(  # noqa: PLR0913 - the parts of one answer
    rows: list[dict[str, str]],
    chart: Chart,
    stock_code: str,
    timeframe: Timeframe,
    calendar: Calendar,
    cursor: str | None,
) -> Page:
    filled = [row for row in rows if not _is_blank(row)]
    candles: list[Candle] = []
    rejected: list[RejectedRow] = []
    for row in filled:
        try:
            candles.append(_candle(row, chart, stock_code, timeframe, calendar))
        except KeyError as error:
            rejected.append(_reject(row, f"field {error} is missing"))
        except (ValueError, AttributeError) as error:
            rejected.append(_reject(row, str(error)))
    if len(rejected) > REJECTED_SHARE * len(filled):
        message = (
            f"{chart.api_id}: {len(rejected)} of {len(filled)} rows are no candles, "
            f"the first because {rejected[0].reason}"
        )
        raise MalformedResponse(message)
    return Page(
        candles=tuple(candles),
        rejected=tuple(rejected),
        blank=bool(rows) and not filled,
        last=cursor is None,
        oldest=_oldest(rows, chart),
        cursor=cursor,
    )


def _reject(row: dict[str, str], reason: str) -> RejectedRow:
    raw = json.dumps(row, ensure_ascii=False, sort_keys=True)
    return RejectedRow(reason=reason, raw=raw)


def _candle(
    row: dict[str, str],
    chart: Chart,
    stock_code: str,
    timeframe: Timeframe,
    calendar: Calendar,
) -> Candle:
    opened_at = instant(row[chart.opened_at])
    return Candle(
        stock_code=stock_code,
        timeframe=timeframe,
        opened_at=opened_at,
        open=price(row["open_pric"]),
        high=price(row["high_pric"]),
        low=price(row["low_pric"]),
        close=price(row["cur_prc"]),
        volume=count(row["trde_qty"]),
        turnover=_turnover(row.get("trde_prica", ""), chart.turnover),
        session=calendar.place(timeframe, opened_at),
    )


def _turnover(text: str, factor: int | None) -> int | None:
    """The traded value in KRW; a candle without one is a candle all the same."""
    return None if factor is None or not text else count(text) * factor
