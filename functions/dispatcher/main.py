"""dispatcher: a trigger arrives, one message for each stock and timeframe leaves."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from functions.dispatcher.dispatch import TriggerMessage, dispatch
from functions.dispatcher.heartbeat import pulse
from shared.candles import Timeframe
from shared.clock import Clock, new_clock
from shared.database.engine import new_engine
from shared.database.run_ledger import RunLedger, run_id_of
from shared.database.session_store import SessionStore
from shared.database.stock_store import StockStore
from shared.events import Event
from shared.freshness import DueTimes, Tick
from shared.instance import cached, freeze_gc
from shared.logging import configure_logging, log_event
from shared.messages import Heartbeat, is_heartbeat
from shared.pubsub.dead_letters import DeadLetterPublisher
from shared.pubsub.delivery import Delivery, push_endpoint
from shared.pubsub.handling import acknowledging
from shared.pubsub.publisher import Publisher
from shared.settings import (
    ClockSettings,
    DatabaseSettings,
    LogSettings,
    PubSubSettings,
    ScheduleSettings,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudevents.http import CloudEvent

    from shared.reports import BehindSeries

# A log line names at most so many stocks.
MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """What one instance of this function is made of."""

    stocks: StockStore
    ledger: RunLedger
    sessions: SessionStore
    publisher: Publisher
    dead_letters: DeadLetterPublisher
    topics: PubSubSettings
    ticks: Sequence[Tick]
    clock: Clock

    def due_times(self) -> DueTimes:
        """When candles are due, by the calendar as it is now."""
        return DueTimes(self.sessions.calendar(), self.ticks)


@cached
def wire() -> Dispatcher:
    """Build everything, at the first message."""
    configure_logging(LogSettings.from_env())
    topics = PubSubSettings.from_env()
    engine = new_engine(DatabaseSettings.from_env())
    publisher = Publisher(topics.project)
    dispatcher = Dispatcher(
        stocks=StockStore(engine),
        ledger=RunLedger(engine),
        sessions=SessionStore(engine),
        publisher=publisher,
        dead_letters=DeadLetterPublisher(publisher, topics.dead_letter_topic),
        topics=topics,
        ticks=Tick.all_of(ScheduleSettings.from_env().schedules),
        clock=new_clock(ClockSettings.from_env().offset),
    )
    freeze_gc()
    return dispatcher


@push_endpoint
def dispatch_trigger(push: CloudEvent) -> None:
    """Start the run of a trigger; returning acknowledges, raising redelivers."""
    dispatcher = wire()
    delivery = Delivery.of(push)
    with acknowledging(delivery, dispatcher.dead_letters):
        if is_heartbeat(delivery.data):
            _answer(Heartbeat.from_bytes(delivery.data), dispatcher)
            return
        message = TriggerMessage(
            run_id=run_id_of(delivery.message_id, dispatcher.topics.message_id_scope),
            message_id=delivery.message_id,
            data=delivery.data,
            published_at=delivery.published_at,
        )
        result = dispatch(
            message,
            dispatcher.stocks,
            dispatcher.ledger,
            dispatcher.publisher.publish_run,
            dispatcher.due_times(),
            dispatcher.clock(),
        )
        event = Event.NO_SESSION if result.no_session else Event.DISPATCHED
        if result.superseded_by:
            event = Event.SUPERSEDED
        log_event(
            event,
            run_id=result.run_id,
            requests=result.published,
            superseded_by=result.superseded_by,
        )
        tell_behind(result.behind)


def _answer(heartbeat: Heartbeat, dispatcher: Dispatcher) -> None:
    """Write the one line about a heartbeat, and those about what is behind."""
    found = pulse(
        dispatcher.stocks,
        dispatcher.ledger,
        dispatcher.due_times,
        dispatcher.clock(),
    )
    log_event(
        Event.HEARTBEAT,
        source=heartbeat.source,
        targets=found.targets,
        behind=len(found.behind),
        stocks=_named(found.behind),
        last_run_at=found.last_run_at and found.last_run_at.isoformat(),
    )
    tell_behind(found.behind)


def tell_behind(behind: Sequence[BehindSeries]) -> None:
    """Write a line for each timeframe: what is late, and what is stale otherwise."""
    for event, timeframe in product((Event.LATE_SERIES, Event.STALE_SERIES), Timeframe):
        series = [
            each
            for each in behind
            if each.timeframe is timeframe
            and each.reason.is_late == (event is Event.LATE_SERIES)
        ]
        if series:
            log_event(
                event,
                severity=logging.ERROR,
                timeframe=timeframe.value,
                count=len(series),
                stocks=_named(series),
            )


def _named(behind: Sequence[BehindSeries]) -> list[str]:
    """The stocks with their reasons, each once; of many, the first."""
    return list(dict.fromkeys(map(str, behind)))[:MOST_NAMED]
