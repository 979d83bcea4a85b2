"""Things to test with; a test names only what matters to it."""

from __future__ import annotations

from datetime import date, datetime

from functions.reference_sync.reference_data import bundled_calendar
from shared.candles import Candle, Timeframe
from shared.messages import CollectRequest
from shared.sessions import KST

CALENDAR = bundled_calendar()


def kst(text: str) -> datetime:
    """An instant in Seoul: ``2026-11-20 10:30`` or just the day."""
    return datetime.fromisoformat(text).replace(tzinfo=KST)


def day(text: str) -> date:
    return date.fromisoformat(text)


def a_candle(opens: str = "2026-11-20", **values) -> Candle:
    known = {
        "stock_code": "005930",
        "timeframe": Timeframe.DAY_1,
        "open": 70_000,
        "high": 71_000,
        "low": 69_000,
        "close": 70_500,
        "volume": 1_000,
    }
    return Candle(**{"opened_at": kst(opens), **known, **values})


def a_request(timeframe: str = "1d", **values) -> CollectRequest:
    known = {"run_id": "run-1", "stock_code": "005930"}
    return CollectRequest(timeframe=Timeframe(timeframe), **{**known, **values})


def a_minute_row(at: str = "2026-11-20 10:30", **values) -> dict[str, str]:
    """A row of ka10080 as the broker sends it."""
    known = {
        "cur_prc": "+70500",
        "trde_qty": "1000",
        "cntr_tm": f"{kst(at):%Y%m%d%H%M%S}",
        "open_pric": "70000",
        "high_pric": "+71000",
        "low_pric": "-69000",
        "acc_trde_qty": "5000",
        "pred_pre": "+500",
        "pred_pre_sig": "2",
    }
    return known | values


def a_day_row(day: str = "2026-11-20", **values) -> dict[str, str]:
    """A row of ka10081 or ka10082 as the broker sends it."""
    known = {
        "cur_prc": "70500",
        "trde_qty": "1000",
        "trde_prica": "70",
        "dt": day.replace("-", ""),
        "open_pric": "70000",
        "high_pric": "71000",
        "low_pric": "69000",
        "pred_pre": "+500",
        "pred_pre_sig": "2",
        "trde_tern_rt": "+0.16",
    }
    return known | values
