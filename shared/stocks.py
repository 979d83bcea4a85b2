"""Stocks: what can be collected."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date

STOCK_CODE = re.compile(r"[0-9A-Z]{6}")


class Market(StrEnum):
    """The markets that are collected, by the broker's codes."""

    KOSPI = "0"
    KOSDAQ = "10"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """A stock of KOSPI or KOSDAQ, as the broker's master describes it.

    ``stock_code`` is six digits or capitals. ``is_target`` says that it is collected
    where a trigger names no stocks; the master does not know about that.
    """

    stock_code: str
    stock_name: str
    market_code: str
    market_name: str
    listed: bool = True
    is_target: bool = False
    listed_on: date | None = None
    listed_shares: int | None = None
    audit_info: str = ""
    state: str = ""
    sector: str = ""
    size_class: str = ""
    order_warning: str = ""
    nxt_enabled: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetChange:
    """What the master now says otherwise about a target stock.

    ``code`` is ``target_absent`` (the list lacks it), ``target_unlisted`` (it lacked it
    often enough), ``target_relisted``, ``target_moved`` (to another market) or
    ``target_renamed``; ``before`` and ``after`` are names or market codes, if any.
    """

    code: str
    stock_code: str
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterChanges:
    """What a new list changed.

    ``unlisted`` are codes that are no longer listed, ``relisted`` those that stand for
    another listing than before.
    """

    unlisted: list[str] = field(default_factory=list)
    relisted: list[str] = field(default_factory=list)
    targets: list[TargetChange] = field(default_factory=list)
