"""Keep the reference data up to date: the calendar, the stock master, the targets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from shared.errors import MalformedMessage, StockListRejected
from shared.sessions import kst_date
from shared.stocks import Market, MasterChanges, TargetChange

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date, datetime

    from shared.messages import ReferenceRequest
    from shared.sessions import Calendar, SessionOverride
    from shared.stocks import Stock

# With fewer known days ahead than this, the calendar has to be extended.
HORIZON_DAYS = 60
UNLISTED_AFTER = 2
# The broker may send a list that is cut off; markets do not shrink by a tenth.
MINIMUM_SHARE = 0.9


class Sessions(Protocol):
    """Where the calendar is stored."""

    def write(
        self,
        table: Calendar,
        *,
        override: SessionOverride | None = None,
        forget: date | None = None,
    ) -> int:
        """Take this calendar and an operator's word; return how many days changed."""


class Stocks(Protocol):
    """Where the stock master is stored."""

    def counts(self) -> dict[str, int]:
        """How many stocks are listed, by market code."""

    def targets(self) -> list[str]:
        """Codes of the target stocks."""

    def upsert_all(self, stocks: Sequence[Stock]) -> int:
        """Add or change stocks."""

    def replace_listed(
        self, stocks: Sequence[Stock], market_codes: Sequence[str], unlisted_after: int
    ) -> MasterChanges:
        """Take these as all that is listed; return what changed by that."""

    def set_targets(self, codes: Sequence[str], *, is_target: bool) -> list[str]:
        """Add stocks to the targets or take them away; return those that we know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledData:
    """Data that is deployed with the function."""

    calendar: Callable[[], Calendar]
    targets: Callable[[], list[Stock]]


@dataclass(slots=True, kw_only=True)
class SyncResult:
    """What one message did.

    ``days_left`` is how far ahead the calendar reaches; ``listed_twice`` are codes that
    the broker listed more than once, ``relisted`` those that began a new history.
    """

    days_changed: int = 0
    days_left: int | None = None
    stocks: int = 0
    listed_twice: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    relisted: list[str] = field(default_factory=list)
    target_changes: list[TargetChange] = field(default_factory=list)
    targets: int = 0

    @property
    def horizon_is_near(self) -> bool:
        """Whether the calendar has to be extended soon."""
        return self.days_left is not None and self.days_left < HORIZON_DAYS


def sync(  # noqa: PLR0913 - the request, and the five things it needs
    request: ReferenceRequest,
    listed: Callable[[Market], list[Stock]],
    sessions: Sessions,
    stocks: Stocks,
    bundled: BundledData,
    now: datetime,
) -> SyncResult:
    """Bring up to date what ``request`` names.

    The calendar and the first targets come before the broker is asked: a list that
    cannot be true stops neither.

    Raises:
        MalformedMessage: If a target is not in the master, or a day is too far ahead.
        StockListRejected: If the broker's list cannot be true.
        TransientError: If the broker or the database did not answer.
    """
    result = SyncResult()
    if request.calendar or request.override or request.forget:
        table = bundled.calendar()
        _refuse_the_distant(request.override, table)
        result.days_changed = sessions.write(
            table, override=request.override, forget=request.forget
        )
        result.days_left = (table.last - kst_date(now)).days
    if (request.calendar or request.stocks) and not stocks.targets():
        stocks.upsert_all(bundled.targets())
    if request.stocks:
        _sync_master(listed, stocks, result)
    _change_targets(request, stocks)
    result.targets = len(stocks.targets())
    return result


def _refuse_the_distant(override: SessionOverride | None, table: Calendar) -> None:
    """An operator knows a year more than the table at most; what is later is a slip."""
    if override is None:
        return
    latest = table.last.replace(year=table.last.year + 1)
    if override.day > latest:
        name = "open" if override.hours else "close"
        text = f"{override.day} is more than a year after the calendar ends "
        text += f"({table.last}); check the year, or extend it with `make calendar`"
        raise MalformedMessage(name, text)


def _sync_master(
    listed: Callable[[Market], list[Stock]], stocks: Stocks, result: SyncResult
) -> None:
    found: dict[str, Stock] = {}
    counts = stocks.counts()
    for market in Market:
        once = {}
        for stock in listed(market):
            # A stock that moves goes to KOSPI, which is the first market.
            if stock.stock_code in once or stock.stock_code in found:
                result.listed_twice.append(stock.stock_code)
            else:
                once[stock.stock_code] = stock
        _refuse_the_unlikely(market, len(once), counts.get(market.value, 0))
        found |= once
    result.stocks = len(found)
    codes = [market.value for market in Market]
    changes = stocks.replace_listed(list(found.values()), codes, UNLISTED_AFTER)
    result.unlisted = changes.unlisted
    result.relisted = changes.relisted
    result.target_changes = changes.targets


def _refuse_the_unlikely(market: Market, listed: int, before: int) -> None:
    if not listed or listed < MINIMUM_SHARE * before:
        message = f"{market.name}: the broker lists {listed} stocks and we have "
        message += f"{before}; nothing was changed"
        raise StockListRejected(message)


def _change_targets(request: ReferenceRequest, stocks: Stocks) -> None:
    for codes, is_target in ((request.add, True), (request.remove, False)):
        known = stocks.set_targets(codes, is_target=is_target) if codes else []
        unknown = sorted(set(codes) - set(known))
        if unknown:
            name = "targets"
            text = f"{unknown} are not in the stock master; sync the stocks first"
            raise MalformedMessage(name, text)
