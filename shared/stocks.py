"""Stocks: what can be collected."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """A stock of KOSPI or KOSDAQ.

    ``stock_code`` is six digits or capitals. ``market_code`` is the broker's, ``"0"``
    for KOSPI and ``"10"`` for KOSDAQ. ``is_target`` says that it is collected where
    a trigger names no stocks.
    """

    stock_code: str
    stock_name: str
    market_code: str
    market_name: str
    listed: bool = True
    is_target: bool = False
