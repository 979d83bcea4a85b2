"""dispatcher: a trigger arrives, one message for each stock and timeframe leaves."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import functions_framework

from functions.dispatcher.dispatch import TriggerMessage, dispatch
from shared.clock import Clock, new_clock
from shared.database.engine import new_engine
from shared.database.ledger import Ledger, run_id_of
from shared.database.session_store import SessionStore
from shared.database.stock_store import StockStore
from shared.delivery import Delivery, Outbox, answered, once
from shared.logging import say, set_up
from shared.pubsub import Publisher, new_publisher
from shared.settings import (
    ClockSettings,
    DatabaseSettings,
    LogSettings,
    PubSubSettings,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudevents.http import CloudEvent


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """What one instance of this function is made of."""

    stocks: StockStore
    ledger: Ledger
    sessions: SessionStore
    publisher: Publisher
    topics: PubSubSettings
    outbox: Outbox
    clock: Clock

    def publish(self, messages: Sequence[bytes], run_id: str) -> None:
        """Publish collect requests."""
        self.publisher.publish_run(self.topics.collect_topic, messages, run_id)


@once
def wire() -> Dispatcher:
    """Build everything, at the first message."""
    set_up(LogSettings.from_env())
    topics = PubSubSettings.from_env()
    engine = new_engine(DatabaseSettings.from_env())
    return Dispatcher(
        stocks=StockStore(engine),
        ledger=Ledger(engine),
        sessions=SessionStore(engine, time.monotonic),
        publisher=new_publisher(topics.project),
        topics=topics,
        outbox=Outbox(topics),
        clock=new_clock(ClockSettings.from_env().offset),
    )


@functions_framework.cloud_event
def dispatch_trigger(event: CloudEvent) -> None:
    """Start the run a trigger asks for; returning acknowledges, raising redelivers."""
    dispatcher = wire()
    delivery = Delivery.of(event)
    with answered(delivery, dispatcher.outbox):
        message = TriggerMessage(
            run_id=run_id_of(delivery.message_id, dispatcher.topics.message_id_scope),
            message_id=delivery.message_id,
            data=delivery.data,
            published_at=delivery.published_at,
        )
        run = dispatch(
            message,
            dispatcher.stocks,
            dispatcher.ledger,
            dispatcher.publish,
            dispatcher.sessions.calendar(),
            dispatcher.clock(),
        )
        what = "no_session" if run.no_session else "dispatched"
        if run.superseded_by:
            what = "superseded"
        say(
            what,
            run_id=run.run_id,
            requests=run.published,
            superseded_by=run.superseded_by,
        )
        for timeframe, count in run.stale_series.items():
            say(
                "stale_series", severity=logging.ERROR, timeframe=timeframe, count=count
            )
