"""reference_sync: calendar, stock master and targets kept current, the ledger small."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from functions.reference_sync.prune import prune
from functions.reference_sync.reference_data import bundled_calendar, target_stocks
from functions.reference_sync.sync import BundledData, SyncResult, sync
from shared.clock import Clock, new_clock
from shared.database.engine import new_engine
from shared.database.ledger_pruning import LedgerPruning
from shared.database.rate_slots import WaitPolicy
from shared.database.session_store import SessionStore
from shared.database.stock_store import StockStore
from shared.events import Event
from shared.instance import cached, freeze_gc
from shared.kiwoom.listings import KiwoomStocks
from shared.logging import configure_logging, log_event
from shared.messages import ReferenceRequest
from shared.pubsub.dead_letters import DeadLetterPublisher
from shared.pubsub.delivery import Delivery, push_endpoint
from shared.pubsub.handling import TokenRequester, acknowledging
from shared.pubsub.publisher import Publisher
from shared.settings import (
    ClockSettings,
    DatabaseSettings,
    LogSettings,
    PubSubSettings,
)
from shared.token_vault import CachedToken
from shared.wiring import kiwoom_clients, token_vault

if TYPE_CHECKING:
    from cloudevents.http import CloudEvent

    from shared.stocks import Market, Stock

WAIT_POLICY = WaitPolicy(max_wait=30)
# How many skipped rows of a list are named in the log.
REASONS = 10
BUNDLED_DATA = BundledData(calendar=bundled_calendar, targets=target_stocks)


@dataclass(frozen=True, slots=True)
class ReferenceSync:
    """What one instance of this function is made of."""

    master: KiwoomStocks
    sessions: SessionStore
    stocks: StockStore
    ledger: LedgerPruning
    dead_letters: DeadLetterPublisher
    token_requester: TokenRequester
    clock: Clock

    def listed(self, market: Market) -> list[Stock]:
        """Ask the broker for a market's stocks; rows that were skipped are logged."""
        listing = self.master.listed(market)
        if listing.skipped:
            log_event(
                Event.STOCK_ROWS_SKIPPED,
                severity=logging.WARNING,
                market=market.name,
                rows=len(listing.skipped),
                reasons=listing.skipped[:REASONS],
            )
        return list(listing.stocks)


@cached
def wire() -> ReferenceSync:
    """Build everything, at the first message."""
    configure_logging(LogSettings.from_env())
    topics = PubSubSettings.from_env()
    engine = new_engine(DatabaseSettings.from_env())
    clock = new_clock(ClockSettings.from_env().offset)
    client = kiwoom_clients(engine, CachedToken(token_vault(), clock))
    publisher = Publisher(topics.project)
    reference = ReferenceSync(
        master=KiwoomStocks(client(WAIT_POLICY)),
        sessions=SessionStore(engine),
        stocks=StockStore(engine),
        ledger=LedgerPruning(engine),
        dead_letters=DeadLetterPublisher(publisher, topics.dead_letter_topic),
        token_requester=TokenRequester(publisher, topics.token_topic),
        clock=clock,
    )
    freeze_gc()
    return reference


@push_endpoint
def sync_reference(event: CloudEvent) -> None:
    """Sync what is requested; returning acknowledges, raising redelivers."""
    reference = wire()
    delivery = Delivery.of(event)
    with acknowledging(delivery, reference.dead_letters, reference.token_requester):
        request = ReferenceRequest.from_bytes(delivery.data)
        if request.prune_ledger:
            pruned = prune(reference.ledger, reference.clock())
            log_event(Event.LEDGER_PRUNED, **asdict(pruned))
            return
        result = sync(
            request,
            reference.listed,
            reference.sessions,
            reference.stocks,
            BUNDLED_DATA,
            reference.clock(),
        )
        log_event(Event.REFERENCE_SYNCED, **asdict(result))
        _warn(result)


def _warn(result: SyncResult) -> None:
    """Report what an operator should look at, each as an event of its own."""
    if result.horizon_is_near:
        days = result.days_left
        log_event(Event.CALENDAR_HORIZON_NEAR, severity=logging.ERROR, days_left=days)
    if result.listed_twice:
        codes = result.listed_twice
        log_event(
            Event.STOCKS_LISTED_TWICE, severity=logging.WARNING, stock_codes=codes
        )
    if result.relisted:
        codes = result.relisted
        log_event(Event.HISTORY_ARCHIVED, severity=logging.WARNING, stock_codes=codes)
    for change in result.target_changes:
        log_event(Event.TARGET_CHANGED, severity=logging.WARNING, **asdict(change))
