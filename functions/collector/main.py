"""collector: a collect request arrives, its candles are stored."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import functions_framework

from functions.collector.collect import collect
from shared.clock import Clock, new_clock
from shared.database.candle_store import CandleStore
from shared.database.engine import new_engine
from shared.database.ledger import Ledger
from shared.database.rate_slots import WaitPolicy, new_throttle
from shared.database.session_store import SessionStore
from shared.delivery import Delivery, Outbox, answered, once
from shared.kiwoom.charts import KiwoomCandles
from shared.kiwoom.client import KiwoomClient, new_session
from shared.logging import say, set_up
from shared.messages import CollectRequest
from shared.modes import Mode
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

    from shared.series import FollowUp

# Live work waits for its slot; a backfill gives way to it and comes back.
LIVE = WaitPolicy(max_wait=60)
BACKFILL = WaitPolicy(max_wait=10, gives_way=True)
WAIT_POLICIES = {
    Mode.INCREMENTAL: LIVE,
    Mode.REBUILD: LIVE,
    Mode.BACKFILL: BACKFILL,
    Mode.REPAIR: BACKFILL,
}


@dataclass(frozen=True, slots=True)
class Collector:
    """What one instance of this function is made of."""

    sources: dict[Mode, KiwoomCandles]
    ledger: Ledger
    store: CandleStore
    outbox: Outbox
    topics: PubSubSettings
    clock: Clock

    def send_out(self, run: FollowUp) -> None:
        """Publish the requests of a run that follows from this one."""
        # Imported here: a collector publishes nothing on an ordinary day.
        from shared.pubsub import new_publisher  # noqa: PLC0415

        publisher = new_publisher(self.topics.project)
        publisher.publish_run(self.topics.collect_topic, run.messages, run.run_id)
        self.ledger.mark_published(run.run_id)


@once
def wire() -> Collector:
    """Build everything, at the first message."""
    set_up(LogSettings.from_env())
    topics = PubSubSettings.from_env()
    database = DatabaseSettings.from_env()
    engine = new_engine(database)
    clock = new_clock(ClockSettings.from_env().offset)
    secrets = SecretSettings.from_env()
    vault = TokenVault(Secrets(new_client(secrets), secrets.project), secrets.token)
    tokens = CachedToken(vault, clock)
    kiwoom = KiwoomSettings.from_env()
    http = new_session(database.pool_size)

    def source(mode: Mode) -> KiwoomCandles:
        throttle = new_throttle(engine, kiwoom.requests_per_second, WAIT_POLICIES[mode])
        client = KiwoomClient(http, kiwoom.base_url, tokens, throttle, time.sleep)
        return KiwoomCandles(client)

    return Collector(
        sources={mode: source(mode) for mode in Mode},
        ledger=Ledger(engine, topics.max_attempts, topics.lease_seconds),
        store=CandleStore(engine, SessionStore(engine, time.monotonic).calendar),
        outbox=Outbox(topics),
        topics=topics,
        clock=clock,
    )


@functions_framework.cloud_event
def collect_candles(event: CloudEvent) -> None:
    """Store what one request asks for; returning acknowledges, raising redelivers."""
    collector = wire()
    delivery = Delivery.of(event)
    with answered(delivery, collector.outbox):
        request = CollectRequest.from_bytes(delivery.data)
        outcome = collect(
            request,
            collector.sources[request.mode],
            collector.ledger,
            collector.store,
            collector.clock,
        )
        say(
            "collected",
            run_id=request.run_id,
            stock_code=request.stock_code,
            timeframe=request.timeframe.value,
            state=outcome.state,
            requests=outcome.requests,
            ratio=outcome.ratio,
            **outcome.counts.as_log(),
        )
        if outcome.counts.follow_up:
            collector.send_out(outcome.counts.follow_up)
