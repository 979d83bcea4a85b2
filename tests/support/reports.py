"""Reports of a day; a test names only what matters to it."""

from __future__ import annotations

from shared.candles import Timeframe
from shared.daily_reports import NO_REPORT, DailyReport, Frame, Sealed, Tally
from tests.support.builders import day, kst

M5 = Timeframe.MINUTE_5
FRIDAY = day("2026-11-20")


def a_frame(**values):
    known = dict.fromkeys(Frame.__slots__, 0) | {"timeframe": M5}
    return Frame(**{**known, **values})


def a_report(**values):
    known = {
        "day": FRIDAY,
        "made_at": kst("2026-11-20 21:15"),
        "has_session": True,
        "sealed": Sealed(digest="ab" * 32, timeframes={M5: 30}),
        "tally": Tally(),
        "due": 0,
        "due_met": 0,
        "slowdown_seconds": None,
        "slowdown_total": 0.0,
        "database_bytes": 0,
        "frames": (a_frame(series=30),),
        "previous": NO_REPORT,
    }
    return DailyReport(**{**known, **values})
