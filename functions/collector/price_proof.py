"""Prove the basis of old minutes by the days of the stock.

The broker keeps a year of minutes and all days. If a stock was halted so
long that none of our minutes is served any more, its days still tell whether prices
moved.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from functions.collector.overlap import Verdict, compare
from shared.candles import Timeframe
from shared.errors import PriceBasisUnproven
from shared.pages import ChartQuery
from shared.series import PriceMove
from shared.sessions import kst_date, midnight

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date, datetime

    from functions.collector.workspace import Workspace
    from shared.candles import Candle

# Our newest days are enough, and the most likely to be on the page.
DAYS = 60


def basis_from_days(
    work: Workspace, minutes: Mapping[datetime, Candle]
) -> PriceMove | None:
    """By what our ``minutes`` have moved, judged by the broker's days; None if not.

    Raises:
        PriceBasisUnproven: If the days do not tell either.
    """
    request = work.attempt.request
    query = ChartQuery(
        stock_code=request.stock_code, timeframe=Timeframe.DAY_1, anchor=work.today
    )
    page = work.source.page(
        query, cursor=None, calendar=work.calendar, observer=work.observer
    )
    days = {candle.opened_at: candle for candle in page.candles}
    basis = compare(_as_days(minutes), days)
    if basis.holds:
        return None
    if basis.verdict is Verdict.MOVED and basis.moved_through:
        # Days tell that these minutes moved, not when: at any time from then to now.
        return PriceMove(
            ratio=basis.ratio,
            after=basis.moved_through,
            effective_by=work.today,
            evidence=basis.evidence,
        )
    message = f"the days of {request.stock_code} do not tell whether the prices of its "
    message += f"{request.timeframe} candles moved; publish a rebuild once they do"
    raise PriceBasisUnproven(message)


def _as_days(minutes: Mapping[datetime, Candle]) -> dict[datetime, Candle]:
    """The newest days of the minutes, with the prices of the whole day."""
    by_day: dict[date, list[Candle]] = {}
    for at in sorted(minutes):
        by_day.setdefault(kst_date(at), []).append(minutes[at])
    return {
        midnight(day): replace(
            candles[0],
            opened_at=midnight(day),
            high=max(candle.high for candle in candles),
            low=min(candle.low for candle in candles),
            close=candles[-1].close,
        )
        for day, candles in list(by_day.items())[-DAYS:]
    }
