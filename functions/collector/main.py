"""collector: a collect request arrives, its candles are stored."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from functions.collector.collect import CollectResult, collect
from functions.collector.gate import Gate
from functions.collector.token_wait import with_another_token
from shared.clock import Clock, new_clock
from shared.database.candle_store import CandleStore
from shared.database.engine import new_engine
from shared.database.rate_slots import WaitPolicy
from shared.database.run_ledger import RunLedger
from shared.database.session_store import SessionStore
from shared.database.task_ledger import TaskLedger
from shared.events import Event
from shared.instance import cached, freeze_gc
from shared.kiwoom.charts import KiwoomCandles
from shared.lanes import Lane
from shared.logging import configure_logging, log_event
from shared.messages import CollectRequest
from shared.pubsub.dead_letters import DeadLetterPublisher
from shared.pubsub.delivery import Delivery, push_endpoint
from shared.pubsub.handling import TokenRequester, acknowledging, request_token
from shared.pubsub.publisher import Publisher
from shared.settings import (
    ClockSettings,
    CollectorSettings,
    DatabaseSettings,
    LogSettings,
    PubSubSettings,
)
from shared.token_vault import CachedToken
from shared.wiring import kiwoom_clients, token_vault

if TYPE_CHECKING:
    from datetime import datetime

    from cloudevents.http import CloudEvent

    from functions.collector.token_wait import TokenFailed
    from shared.series import FollowUp

# History waits in its own places until live work has had its slots.
WAIT_POLICIES = {
    Lane.LIVE: WaitPolicy(max_wait=60),
    Lane.HISTORY: WaitPolicy(max_wait=60, gives_way=True),
}
# As long as a message may wait for others of its instance.
GATE_SECONDS = 240.0
# So long it waits for another token, and so long after it came it may begin to: then
# there is time for a whole attempt.
TOKEN_SECONDS = 60.0
LATEST_TOKEN_WAIT = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Collector:
    """What one instance of this function is made of."""

    sources: dict[Lane, KiwoomCandles]
    tasks: TaskLedger
    runs: RunLedger
    store: CandleStore
    publisher: Publisher
    dead_letters: DeadLetterPublisher
    tokens: CachedToken
    token_requester: TokenRequester
    topics: PubSubSettings
    gate: Gate
    clock: Clock

    def collect(self, request: CollectRequest, began: datetime) -> CollectResult:
        """Do the task; if its token fails, once more with the next one.

        ``began`` is when the message came: no wait is begun that the time of the
        message would not allow.
        """

        def attempt() -> CollectResult:
            source = self.sources[request.lane]
            return collect(request, source, self.tasks, self.store, self.clock)

        def has_another(error: TokenFailed) -> bool:
            request_token(self.token_requester, error)
            in_time = self.clock() - began < LATEST_TOKEN_WAIT
            return in_time and self.tokens.wait_for_another(
                error.version, TOKEN_SECONDS
            )

        return with_another_token(attempt, has_another)

    def publish(self, run: FollowUp) -> None:
        """Publish the requests of a run that follows from this one."""
        self.publisher.publish_run(run.messages, run.run_id)
        self.runs.mark_published(run.run_id)


@cached
def wire() -> Collector:
    """Build everything, at the first message."""
    configure_logging(LogSettings.from_env())
    topics = PubSubSettings.from_env()
    engine = new_engine(DatabaseSettings.from_env())
    clock = new_clock(ClockSettings.from_env().offset)
    tokens = CachedToken(token_vault(), clock)
    client = kiwoom_clients(engine, tokens)
    publisher = Publisher(topics.project)
    collector = Collector(
        sources={
            lane: KiwoomCandles(client(policy))
            for lane, policy in WAIT_POLICIES.items()
        },
        tasks=TaskLedger(engine, topics.max_attempts, topics.lease_seconds),
        runs=RunLedger(engine),
        store=CandleStore(engine, SessionStore(engine).calendar),
        publisher=publisher,
        dead_letters=DeadLetterPublisher(publisher, topics.dead_letter_topic),
        tokens=tokens,
        token_requester=TokenRequester(publisher, topics.token_topic),
        topics=topics,
        gate=Gate(CollectorSettings.from_env().most_active, GATE_SECONDS),
        clock=clock,
    )
    freeze_gc()
    return collector


@push_endpoint
def collect_candles(event: CloudEvent) -> None:
    """Store what is requested; returning acknowledges, raising redelivers."""
    collector = wire()
    began = collector.clock()
    delivery = Delivery.of(event)
    with acknowledging(delivery, collector.dead_letters, collector.token_requester):
        request = CollectRequest.from_bytes(delivery.data)
        with collector.gate.passed():
            result = collector.collect(request, began)
        if result.first_without_trades:
            log_event(
                Event.NO_TRADES,
                severity=logging.WARNING,
                stock_code=request.stock_code,
                timeframe=request.timeframe.value,
            )
        log_event(
            Event.COLLECTED,
            run_id=request.run_id,
            stock_code=request.stock_code,
            timeframe=request.timeframe.value,
            **_facts(result),
        )
        if result.stored and result.stored.follow_up:
            collector.publish(result.stored.follow_up)


def _facts(result: CollectResult) -> dict[str, Any]:
    facts: dict[str, Any] = {"state": result.state, "requests": result.requests}
    if result.move:
        facts["ratio"] = float(result.move.ratio)
    if result.stored:
        facts |= asdict(result.stored.counts)
        facts["missing"] = len(result.stored.missing)
    return facts
