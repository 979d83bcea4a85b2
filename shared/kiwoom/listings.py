"""The stock master of the broker (ka10099)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from shared.errors import MalformedResponse
from shared.kiwoom.fields import count, instant
from shared.stocks import STOCK_CODE, Stock

if TYPE_CHECKING:
    from datetime import date

    from shared.kiwoom.client import KiwoomClient, Meter
    from shared.stocks import Market

API_ID = "ka10099"
PATH = "/api/dostk/stkinfo"
BLANKS = re.compile(r"\s+")


class KiwoomStocks:
    """The broker's list of stocks."""

    def __init__(self, client: KiwoomClient) -> None:
        """Ask through ``client``."""
        self._client = client

    def listed(self, market: Market, meter: Meter) -> list[Stock]:
        """The stocks of a market, in the broker's order.

        The list of KOSPI also names funds and notes; they are left out.

        Raises:
            MalformedResponse: If the answer holds no list.
            PermanentError: If the broker refuses.
            TransientError: If it may answer later.

        Source: Kiwoom ka10099; one reply, never continued.
        """
        body = {"mrkt_tp": market.value}
        (reply,) = self._client.pages(API_ID, PATH, body, meter)
        rows = reply.body.get("list")
        if not isinstance(rows, list):
            message = f"{API_ID}: the answer has no list"
            raise MalformedResponse(message)
        return [
            stock_of(row)
            for row in rows
            if str(row.get("marketCode")) == market.value
            and STOCK_CODE.fullmatch(str(row.get("code")))
        ]


def stock_of(row: dict[str, Any]) -> Stock:
    """Read one entry of the master; only its code and name are needed."""
    return Stock(
        stock_code=row["code"],
        stock_name=BLANKS.sub(" ", str(row.get("name", ""))).strip(),
        market_code=str(row.get("marketCode", "")),
        market_name=str(row.get("marketName", "")),
        listed_on=_day(row.get("regDay", "")),
        listed_shares=_number(row.get("listCount", "")),
        audit_info=str(row.get("auditInfo", "")),
        state=str(row.get("state", "")),
        sector=str(row.get("upName", "")),
        size_class=str(row.get("upSizeName", "")),
        order_warning=str(row.get("orderWarning", "")),
        nxt_enabled={"Y": True, "N": False}.get(row.get("nxtEnable", "")),
    )


def _day(text: str) -> date | None:
    try:
        return instant(text).date()
    except ValueError:
        return None


def _number(text: str) -> int | None:
    try:
        return count(text)
    except ValueError:
        return None
