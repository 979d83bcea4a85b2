"""The stock list of the broker (ka10099)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.errors import MalformedResponse
from shared.kiwoom.fields import code, count, instant, optional, text
from shared.stocks import STOCK_CODE, Stock

if TYPE_CHECKING:
    from datetime import date

    from shared.kiwoom.client import KiwoomClient
    from shared.pages import RequestObserver
    from shared.stocks import Market

API_ID = "ka10099"
PATH = "/api/dostk/stkinfo"


@dataclass(frozen=True, slots=True)
class Listing:
    """The stocks of a market, in the broker's order, each code once.

    ``skipped`` has a reason for each row that could not be used.
    """

    stocks: tuple[Stock, ...]
    skipped: tuple[str, ...] = ()


class KiwoomStocks:
    """The broker's list of stocks."""

    def __init__(self, client: KiwoomClient) -> None:
        """Ask through ``client``."""
        self._client = client

    def listed(
        self, market: Market, observer: RequestObserver | None = None
    ) -> Listing:
        """The stocks of a market.

        The list of KOSPI also names funds and notes; they are left out.

        Raises:
            MalformedResponse: If an answer holds no list, or the list never ends.
            PermanentError: If the broker refuses.
            TransientError: If it may answer later.

        Source: Kiwoom ka10099; one page so far, continued like any other.
        """
        body = {"mrkt_tp": market.value}
        stocks: dict[str, Stock] = {}
        skipped: list[str] = []
        for reply in self._client.pages(API_ID, PATH, body, observer=observer):
            for row in _rows(reply.body):
                if not isinstance(row, dict):
                    skipped.append("a row is not an object")
                    continue
                stock = stock_of(row)
                if stock.market_code != market.value:
                    continue
                if not STOCK_CODE.fullmatch(stock.stock_code):
                    skipped.append(f"{stock.stock_code[:20]!a} is no stock code")
                elif stock.stock_code in stocks:
                    skipped.append(f"{stock.stock_code} is listed twice")
                else:
                    stocks[stock.stock_code] = stock
        return Listing(tuple(stocks.values()), tuple(skipped))


def _rows(body: dict[str, Any]) -> list[object]:
    rows = body.get("list")
    if not isinstance(rows, list):
        message = f"{API_ID}: the answer has no list"
        raise MalformedResponse(message)
    return rows


def stock_of(row: dict[str, Any]) -> Stock:
    """Read one entry of the list; only its code is needed."""
    return Stock(
        stock_code=code(row.get("code")),
        stock_name=text(row.get("name")),
        market_code=text(row.get("marketCode")),
        market_name=text(row.get("marketName")),
        listed_on=_day(row.get("regDay")),
        listed_shares=optional(count, row.get("listCount")),
        audit_info=text(row.get("auditInfo")),
        state=text(row.get("state")),
        sector=text(row.get("upName")),
        size_class=text(row.get("upSizeName")),
        order_warning=text(row.get("orderWarning")),
        nxt_enabled={"Y": True, "N": False}.get(text(row.get("nxtEnable"))),
    )


def _day(value: object) -> date | None:
    opened_at = optional(instant, value)
    return opened_at.date() if opened_at else None
