"""Candles of the TradeSmartAI data pipeline in one line, refusing incomplete ones.

::

    from tradesmart import read_candles

    frame = read_candles("005930", "5m", "2026-06-01", "2026-09-01")
"""

from __future__ import annotations

from tradesmart.errors import IncompleteData, SourceUnavailable
from tradesmart.export import Exported, export, verify
from tradesmart.qlib import write_qlib
from tradesmart.read import (
    iter_candles,
    read_actions,
    read_arrow,
    read_candles,
    read_sessions,
    read_stocks,
)

__all__ = [
    "Exported",
    "IncompleteData",
    "SourceUnavailable",
    "export",
    "iter_candles",
    "read_actions",
    "read_arrow",
    "read_candles",
    "read_sessions",
    "read_stocks",
    "verify",
    "write_qlib",
]
