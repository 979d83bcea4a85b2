"""Keep the reference data up to date: the calendar, the stock master, the targets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from shared.errors import MalformedMessage, StockListRejected
from shared.sessions import MarketSession, kst_date
from shared.stocks import Market

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import date, datetime

    from shared.messages import ReferenceRequest
    from shared.stocks import Stock

# With fewer known days ahead than this, the calendar has to be extended.
HORIZON_DAYS = 60
UNLISTED_AFTER = 2
# The broker may send a list that is cut off; markets do not shrink by a tenth.
MINIMUM_SHARE = 0.9


class Sessions(Protocol):
    """Where the calendar is stored."""

    def write(self, sessions: Iterable[MarketSession], source: str) -> int:
        """Take these sessions as the calendar; return how many days changed."""

    def override(self, day: date, session: MarketSession | None) -> None:
        """Note what an operator says about a day."""


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
    ) -> list[str]:
        """Take these as all that is listed; return the codes that no longer are."""

    def set_targets(self, codes: Sequence[str], *, is_target: bool) -> list[str]:
        """Add stocks to the targets or take them away; return those that we know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledData:
    """Data that is deployed with the function."""

    sessions: Callable[[], Iterable[MarketSession]]
    targets: Callable[[], list[Stock]]


@dataclass(slots=True, kw_only=True)
class SyncResult:
    """What one message did; ``days_left`` is how far ahead the calendar reaches."""

    days_changed: int = 0
    days_left: int | None = None
    stocks: int = 0
    unlisted: list[str] = field(default_factory=list)
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

    Raises:
        MalformedMessage: If a target is not in the master.
        StockListRejected: If the broker's list cannot be true.
        TransientError: If the broker or the database did not answer.
    """
    result = SyncResult()
    if request.override:
        day, hours = request.override
        session = MarketSession.at(day, *hours) if hours else None
        sessions.override(day, session)
    if request.calendar or request.override:
        known = list(bundled.sessions())
        result.days_changed = sessions.write(known, "repository")
        result.days_left = (known[-1].session_date - kst_date(now)).days
    if request.stocks:
        found = {market: listed(market) for market in Market}
        _refuse_the_unlikely(found, stocks.counts())
        everything = [stock for market in found.values() for stock in market]
        result.stocks = len(everything)
        codes = [market.value for market in Market]
        result.unlisted = stocks.replace_listed(everything, codes, UNLISTED_AFTER)
    if (request.calendar or request.stocks) and not stocks.targets():
        stocks.upsert_all(bundled.targets())
    _change_targets(request, stocks)
    result.targets = len(stocks.targets())
    return result


def _refuse_the_unlikely(
    found: dict[Market, list[Stock]], counts: dict[str, int]
) -> None:
    for market, stocks in found.items():
        before = counts.get(market.value, 0)
        if not stocks or len(stocks) < MINIMUM_SHARE * before:
            message = f"{market.name}: the broker lists {len(stocks)} stocks and we "
            message += f"have {before}; nothing was changed"
            raise StockListRejected(message)


def _change_targets(request: ReferenceRequest, stocks: Stocks) -> None:
    for codes, is_target in ((request.add, True), (request.remove, False)):
        known = stocks.set_targets(codes, is_target=is_target) if codes else []
        unknown = sorted(set(codes) - set(known))
        if unknown:
            name = "targets"
            text = f"{unknown} are not in the stock master; sync the stocks first"
            raise MalformedMessage(name, text)
