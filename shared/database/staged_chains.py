"""Chains of pages that unfinished attempts have read, as rows of PostgreSQL.

A chain is one row, and its pages are numbered from 1; a page is only ever added after
the last one. A chain that was begun anew takes the place of the old one as a whole.
"""

from __future__ import annotations

import json
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from shared.candles import Candle, CandleSession, RejectedRow
from shared.pages import Page, PageChain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from shared.messages import CollectRequest

STORED = text("""
    SELECT read_at, (SELECT count(*) FROM staged_pages AS page
                     WHERE page.chain_id = chain.chain_id) AS pages
    FROM staged_chains AS chain
    WHERE run_id = :run_id AND stock_code = :stock_code AND timeframe = :timeframe
      AND anchor = :anchor
""")
REPLACE = text("""
    DELETE FROM staged_chains
    WHERE run_id = :run_id AND stock_code = :stock_code AND timeframe = :timeframe
      AND anchor = :anchor
""")
BEGIN = text("""
    INSERT INTO staged_chains (run_id, stock_code, timeframe, anchor, read_at)
    VALUES (:run_id, :stock_code, :timeframe, :anchor, :read_at)
""")
APPEND = text("""
    INSERT INTO staged_pages (chain_id, number, cursor, content)
    SELECT chain_id, :number, :cursor, cast(:content AS jsonb) FROM staged_chains
    WHERE run_id = :run_id AND stock_code = :stock_code AND timeframe = :timeframe
      AND anchor = :anchor
""")
READ = text("""
    SELECT anchor, read_at, cursor, content
    FROM staged_chains JOIN staged_pages USING (chain_id)
    WHERE run_id = :run_id AND stock_code = :stock_code AND timeframe = :timeframe
    ORDER BY anchor, number
""")
DISCARD = text("""
    DELETE FROM staged_chains
    WHERE run_id = :run_id AND stock_code = :stock_code AND timeframe = :timeframe
""")


def stage(connection: Connection, key: Mapping[str, object], chain: PageChain) -> None:
    """Keep the pages of a chain that are not kept yet, for the task of ``key``."""
    task = {**key, "anchor": chain.anchor, "read_at": chain.read_at}
    stored = connection.execute(STORED, task).first()
    kept = stored.pages if stored and stored.read_at == chain.read_at else 0
    if not kept:
        connection.execute(REPLACE, task)
        connection.execute(BEGIN, task)
    for number, page in enumerate(chain.pages[kept:], start=kept + 1):
        connection.execute(APPEND, task | {"number": number} | _columns_of(page))


def read(
    connection: Connection, key: Mapping[str, object], request: CollectRequest
) -> tuple[PageChain, ...]:
    """The chains that earlier attempts at the task of ``key`` have left."""
    rows = connection.execute(READ, key).mappings().all()
    return tuple(
        PageChain(
            anchor=anchor,
            read_at=read_at,
            pages=tuple(_page_of(request, row) for row in pages),
        )
        for (anchor, read_at), pages in groupby(
            rows, lambda row: (row["anchor"], row["read_at"])
        )
    )


def discard(connection: Connection, key: Mapping[str, object]) -> None:
    """Remove all chains of the task of ``key``."""
    connection.execute(DISCARD, key)


def _columns_of(page: Page) -> dict[str, Any]:
    """The row of a page; its candles and refused rows become one JSON text."""
    content = {
        "candles": [
            [
                *(c.opened_at.isoformat(), c.open, c.high, c.low, c.close, c.volume),
                *(c.turnover, c.session.value),
            ]
            for c in page.candles
        ],
        "rejected": [
            [
                row.reason,
                row.raw,
                row.opened_at and row.opened_at.isoformat(),
                row.spoilt,
            ]
            for row in page.rejected
        ],
    }
    text = json.dumps(content, ensure_ascii=False)
    return {"cursor": page.cursor, "content": text}


def _page_of(request: CollectRequest, row: Mapping[Any, Any]) -> Page:
    """Read what ``_columns_of`` wrote."""
    content = row["content"]
    return Page(
        cursor=row["cursor"],
        candles=tuple(_candle(request, values) for values in content["candles"]),
        rejected=tuple(
            RejectedRow(
                reason=reason,
                raw=raw,
                opened_at=opened_at and datetime.fromisoformat(opened_at),
                spoilt=spoilt,
            )
            for reason, raw, opened_at, spoilt in content["rejected"]
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
