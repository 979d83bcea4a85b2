"""Pages of unfinished attempts, as rows of PostgreSQL."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shared.candles import Candle, CandleSession, RejectedRow
from shared.series import StagedPage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.messages import CollectRequest


def columns_of(page: StagedPage) -> dict[str, Any]:
    """The row of a page; its candles and refused rows become one JSON text."""
    content = {
        "candles": [
            [
                *(c.opened_at.isoformat(), c.open, c.high, c.low, c.close, c.volume),
                *(c.turnover, c.session.value),
            ]
            for c in page.candles
        ],
        "rejected": [[row.reason, row.raw] for row in page.rejected],
    }
    return {
        "anchor": page.anchor,
        "oldest": page.oldest,
        "cursor": page.cursor,
        "read_at": page.read_at,
        "content": json.dumps(content, ensure_ascii=False),
    }


def page_of(request: CollectRequest, row: Mapping[Any, Any]) -> StagedPage:
    """Read what ``columns_of`` wrote."""
    content = row["content"]
    return StagedPage(
        anchor=row["anchor"],
        cursor=row["cursor"],
        oldest=row["oldest"],
        read_at=row["read_at"],
        candles=tuple(_candle(request, values) for values in content["candles"]),
        rejected=tuple(
            RejectedRow(reason=reason, raw=raw) for reason, raw in content["rejected"]
        ),
    )


def _candle(request: CollectRequest, values: list[Any]) -> Candle:
    opened_at, *prices, volume, turnover, session = values
    return Candle(
        stock_code=request.stock_code,
        timeframe=request.timeframe,
        opened_at=datetime.fromisoformat(opened_at),
        **dict(zip(("open", "high", "low", "close"), prices, strict=True)),
        volume=volume,
        turnover=turnover,
        session=CandleSession(session),
    )
