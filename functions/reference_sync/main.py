"""reference_sync: the calendar, the stock master and the targets are kept right."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import functions_framework

from functions.reference_sync.reference_data import market_sessions, target_stocks
from functions.reference_sync.sync import BundledData, sync
from shared.clock import Clock, new_clock
from shared.database.engine import new_engine
from shared.database.rate_slots import WaitPolicy, new_throttle
from shared.database.session_store import SessionStore
from shared.database.stock_store import StockStore
from shared.delivery import Delivery, Outbox, answered, once
from shared.kiwoom.client import KiwoomClient, new_session
from shared.kiwoom.listings import KiwoomStocks
from shared.logging import say, set_up
from shared.messages import ReferenceRequest
from shared.settings import (
    ClockSettings,
    DatabaseSettings,
    KiwoomSettings,
    LogSettings,
    PubSubSettings,
    SecretSettings,
)
from shared.token_vault import CachedToken, Secrets, TokenVault, new_client

if TYPE_CHECKING:
    from cloudevents.http import CloudEvent

    from shared.stocks import Market, Stock

WAIT_POLICY = WaitPolicy(max_wait=30)
BUNDLED_DATA = BundledData(sessions=market_sessions, targets=target_stocks)


@dataclass(frozen=True, slots=True)
class ReferenceSync:
    """What one instance of this function is made of."""

    master: KiwoomStocks
    sessions: SessionStore
    stocks: StockStore
    outbox: Outbox
    clock: Clock

    def listed(self, market: Market) -> list[Stock]:
        """Ask the broker for a market's stocks."""
        return self.master.listed(market, self)

    def waiting(self) -> None:
        """Nothing has to be kept while the request waits."""

    def sent(self) -> None:
        """Nobody counts two requests a day."""


@once
def wire() -> ReferenceSync:
    """Build everything, at the first message."""
    set_up(LogSettings.from_env())
    engine = new_engine(DatabaseSettings.from_env())
    clock = new_clock(ClockSettings.from_env().offset)
    secrets = SecretSettings.from_env()
    vault = TokenVault(Secrets(new_client(secrets), secrets.project), secrets.token)
    kiwoom = KiwoomSettings.from_env()
    throttle = new_throttle(engine, kiwoom.requests_per_second, WAIT_POLICY)
    tokens = CachedToken(vault, clock)
    client = KiwoomClient(new_session(), kiwoom.base_url, tokens, throttle, time.sleep)
    return ReferenceSync(
        master=KiwoomStocks(client),
        sessions=SessionStore(engine, time.monotonic),
        stocks=StockStore(engine),
        outbox=Outbox(PubSubSettings.from_env()),
        clock=clock,
    )


@functions_framework.cloud_event
def sync_reference(event: CloudEvent) -> None:
    """Sync what is asked for; returning acknowledges, raising redelivers."""
    reference = wire()
    delivery = Delivery.of(event)
    with answered(delivery, reference.outbox):
        result = sync(
            ReferenceRequest.from_bytes(delivery.data),
            reference.listed,
            reference.sessions,
            reference.stocks,
            BUNDLED_DATA,
            reference.clock(),
        )
        say("reference_synced", **asdict(result))
        if result.horizon_is_near:
            days = result.days_left
            say("calendar_horizon_near", severity=logging.ERROR, days_left=days)
