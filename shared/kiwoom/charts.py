"""Candles of the broker's chart calls: ka10080 minutes, ka10081 days, ka10082 weeks."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from shared.candles import LARGEST_INTEGER, Candle, RejectedRow, Timeframe
from shared.errors import KiwoomUnavailable, MalformedResponse, PipelineError
from shared.kiwoom.fields import code, count, instant, optional, price
from shared.pages import Page
from shared.sessions import DAY

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.kiwoom.client import KiwoomClient
    from shared.pages import ChartQuery, RequestObserver
    from shared.sessions import Calendar

T = TypeVar("T")

PATH = "/api/dostk/chart"
ADJUSTED = "1"
# A page with more spoilt rows than this share is not the contract that we know; one or
# two of a short page are just odd rows.
SPOILT_SHARE = 0.1
SPOILT_ROWS = 3
# So many rows at the end of a page may have changed places.
SWAPPED = 2
# A rejected row is kept for a person to read: that is much longer than any true one.
RAW_CHARACTERS = 4000


@dataclass(frozen=True, slots=True)
class Chart:
    """How one timeframe is requested, and what its rows are called.

    ``page_size`` is how many rows a full page has. ``turnover`` is the factor from the
    traded value of a row to KRW, None where rows have none.
    """

    api_id: str
    rows: str
    opened_at: str
    page_size: int
    scope: str | None = None
    turnover: int | None = None


def _minutes(scope: str) -> Chart:
    return Chart("ka10080", "stk_min_pole_chart_qry", "cntr_tm", 900, scope)


CHARTS = {
    Timeframe.MINUTE_5: _minutes("5"),
    Timeframe.MINUTE_30: _minutes("30"),
    Timeframe.MINUTE_60: _minutes("60"),
    Timeframe.DAY_1: Chart(
        "ka10081", "stk_dt_pole_chart_qry", "dt", 600, turnover=1_000_000
    ),
    # A weekly page was never seen full; 600 is what the daily ones have.
    Timeframe.WEEK_1: Chart("ka10082", "stk_stk_pole_chart_qry", "dt", 600, turnover=1),
}


class KiwoomCandles:
    """The broker's chart calls as candles."""

    def __init__(self, client: KiwoomClient) -> None:
        """Ask through ``client``."""
        self._client = client

    def page(
        self,
        query: ChartQuery,
        *,
        cursor: str | None,
        calendar: Calendar,
        observer: RequestObserver | None = None,
    ) -> Page:
        """Request one page: the newest one, or the one at ``cursor``.

        Candles are newest first, in Seoul's time; the newest may still be forming.
        Prices are adjusted relative to the anchor of ``query``. A row that is no candle
        is one rejected row, whatever is wrong with it.

        Raises:
            KiwoomUnavailable: If the answer is another stock's.
            MalformedResponse: If the answer is no page, or more than a tenth of its
                rows, and at least three, cannot be read.
            PermanentError: If the broker refuses.
            TransientError: If it may answer later.

        Source: Kiwoom ka10080, ka10081, ka10082; paging by response headers.
        """
        chart = CHARTS[query.timeframe]
        body = {
            "stk_cd": query.stock_code,
            "upd_stkpc_tp": ADJUSTED,
            "base_dt": f"{query.anchor:%Y%m%d}",
        }
        if chart.scope:
            body["tic_scope"] = chart.scope
        reply = self._client.page(
            chart.api_id, PATH, body, cursor=cursor, observer=observer
        )
        rows = _rows(reply.body, chart, query.stock_code)
        reading = _PageReading(chart, query, calendar)
        for row in rows:
            if not _is_blank(row):
                reading.add(row)
        candles, rejected = reading.result()
        return Page(
            candles=candles,
            rejected=rejected,
            cursor=reply.cursor,
            is_full=len(rows) >= chart.page_size,
        )


def _rows(body: dict[str, Any], chart: Chart, stock_code: str) -> list[object]:
    # The same code on another market (005930_NX, 005930_AL) is another stock here: it
    # has other prices and volumes.
    if code(body.get("stk_cd")) not in {"", stock_code}:
        message = f"{chart.api_id}: the broker answered for another stock"
        raise KiwoomUnavailable(message)
    rows = body.get(chart.rows)
    if not isinstance(rows, list):
        message = f"{chart.api_id}: the answer has no list {chart.rows}"
        raise MalformedResponse(message)
    return rows


def _is_blank(row: object) -> bool:
    """Whether it is the row of empty strings that stands for "no data"."""
    if not isinstance(row, dict) or not row:
        return False
    return all(
        value is None or (isinstance(value, str) and not value.strip())
        for value in row.values()
    )


class _PageReading:
    """The rows of one page, sorted into candles and rejected rows."""

    def __init__(self, chart: Chart, query: ChartQuery, calendar: Calendar) -> None:
        self._chart = chart
        self._query = query
        self._calendar = calendar
        self._rows = 0
        # Every instant that was served, in the broker's order.
        self._served: dict[datetime, None] = {}
        self._candles: dict[datetime, tuple[Candle, object]] = {}
        self._rejected: list[RejectedRow] = []

    def add(self, row: object) -> None:
        """Take the next row; of two for one instant, the first is the candle."""
        self._rows += 1
        if not isinstance(row, dict):
            self._reject(row, "the row is not an object")
            return
        opened_at = None
        try:
            opened_at = self._opened_at(row)
            self._served.setdefault(opened_at)
            candle = self._candle(row, opened_at)
        except _Unplaced as error:
            self._reject(row, str(error), opened_at, spoilt=False)
        except ValueError as error:
            self._reject(row, str(error), opened_at)
        else:
            self._candles[opened_at] = candle, row

    def result(self) -> tuple[tuple[Candle, ...], tuple[RejectedRow, ...]]:
        """The candles, newest first, and the rejected rows.

        Raises:
            MalformedResponse: If too many rows cannot be read.
        """
        self._refuse_misdated()
        spoilt = [row for row in self._rejected if row.spoilt]
        if len(spoilt) >= SPOILT_ROWS and len(spoilt) > SPOILT_SHARE * self._rows:
            message = (
                f"{self._chart.api_id}: {len(spoilt)} of {self._rows} rows are no "
                f"candles, the first because {spoilt[0].reason}"
            )
            raise MalformedResponse(message)
        newest_first = sorted(self._candles, reverse=True)
        candles = tuple(self._candles[opened_at][0] for opened_at in newest_first)
        return candles, tuple(self._rejected)

    def _refuse_misdated(self) -> None:
        """Refuse rows that are served out of their time: when they open is unknown."""
        misdated = _too_early(list(self._served))
        for opened_at in misdated & self._candles.keys():
            _, row = self._candles.pop(opened_at)
            reason = (
                f"{opened_at:%Y-%m-%d %H:%M} is older than the rows served after it"
            )
            self._reject(row, reason)
        self._rejected = [
            replace(row, opened_at=None, spoilt=True)
            if row.opened_at in misdated
            else row
            for row in self._rejected
        ]

    def _opened_at(self, row: dict[str, Any]) -> datetime:
        opened_at = _field(row, self._chart.opened_at, instant)
        # Without an addition to the anchor, which may be the last day there is.
        if opened_at.date() - DAY > self._query.anchor:
            message = (
                f"{self._chart.opened_at} {opened_at:%Y-%m-%d} is after the anchor "
                f"{self._query.anchor}"
            )
            raise ValueError(message)
        return opened_at

    def _candle(self, row: dict[str, Any], opened_at: datetime) -> Candle:
        timeframe = self._query.timeframe
        if opened_at in self._candles:
            raise _Unplaced(f"{opened_at:%Y-%m-%d %H:%M} was served twice")
        try:
            session = self._calendar.place(timeframe, opened_at)
        except (ValueError, PipelineError) as error:
            raise _Unplaced(str(error)) from None
        return Candle(
            stock_code=self._query.stock_code,
            timeframe=timeframe,
            opened_at=opened_at,
            session=session,
            **_values(row, self._chart),
        )

    def _reject(
        self,
        row: object,
        reason: str,
        opened_at: datetime | None = None,
        *,
        spoilt: bool = True,
    ) -> None:
        self._rejected.append(
            RejectedRow(
                reason=reason, raw=_raw(row), opened_at=opened_at, spoilt=spoilt
            )
        )


class _Unplaced(Exception):
    """A row without a place of its own, however often it is requested."""


def _too_early(served: list[datetime]) -> set[datetime]:
    """Instants that cannot be true at their place in the broker's order.

    Rows are served newest first. A row among them with a wrong, older date would pass
    for the oldest one, and the reading would end there. So a row is refused if it is
    older than all rows after it (at least two: neighbours may change places); but only
    if the others are in order, since a page in another order tells nothing.
    """
    early = set()
    oldest_after = served[-1] if served else None
    for position, opened_at in enumerate(reversed(served)):
        if oldest_after and opened_at < oldest_after:
            if position < SWAPPED:
                oldest_after = opened_at
            else:
                early.add(opened_at)
    others = [opened_at for opened_at in served if opened_at not in early]
    in_order = all(newer > older for newer, older in pairwise(others))
    few = len(early) <= SPOILT_SHARE * len(served)
    return early if in_order and few else set()


def _field(row: dict[str, Any], name: str, read: Callable[[object], T]) -> T:
    try:
        return read(row.get(name))
    except ValueError as error:
        message = f"{name} {error}"
        raise ValueError(message) from None


def _values(row: dict[str, Any], chart: Chart) -> dict[str, Any]:
    """Prices, volume and turnover of a candle."""
    prices = {
        "open": _field(row, "open_pric", price),
        "high": _field(row, "high_pric", price),
        "low": _field(row, "low_pric", price),
        "close": _field(row, "cur_prc", price),
    }
    volume = _field(row, "trde_qty", count)
    if volume == 0 and prices["open"] == prices["high"] == prices["low"] == 0:
        # A halted day may come with a close only.
        prices = dict.fromkeys(prices, prices["close"])
    return {**prices, "volume": volume, "turnover": _turnover(row, chart)}


def _turnover(row: dict[str, Any], chart: Chart) -> int | None:
    """The traded value in KRW; a candle without a readable one is still a candle."""
    if chart.turnover is None:
        return None
    traded = optional(count, row.get("trde_prica"))
    if traded is None or traded * chart.turnover > LARGEST_INTEGER:
        return None
    return traded * chart.turnover


def _raw(row: object) -> str:
    """The row as JSON text, in ASCII: any database can store that."""
    try:
        return json.dumps(row)[:RAW_CHARACTERS]
    except (TypeError, ValueError, RecursionError):
        return json.dumps(f"a {type(row).__name__} that cannot be written")
