"""daily_report: what each day brought, as a row, a line in the log, and a page."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from functions.daily_report.report import Outcome, bring_up_to_date
from shared.clock import Clock, new_clock
from shared.database.daily_reports import DailyReports
from shared.database.engine import new_engine
from shared.database.report_store import ReportStore
from shared.database.session_store import SessionStore
from shared.events import Event
from shared.freshness import DueTimes, Tick
from shared.instance import cached, freeze_gc
from shared.logging import configure_logging, log_event
from shared.messages import ReportRequest
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
    from cloudevents.http import CloudEvent

    from shared.daily_reports import DailyReport


@dataclass(frozen=True, slots=True)
class Reporter:
    """What one instance of this function is made of."""

    reports: DailyReports
    facts: ReportStore
    sessions: SessionStore
    ticks: list[Tick]
    dead_letters: DeadLetterPublisher
    clock: Clock


@cached
def wire() -> Reporter:
    """Build everything, at the first message."""
    configure_logging(LogSettings.from_env())
    topics = PubSubSettings.from_env()
    engine = new_engine(DatabaseSettings.from_env())
    offset = ClockSettings.from_env().offset
    reporter = Reporter(
        reports=DailyReports(engine, offset),
        facts=ReportStore(engine, offset),
        sessions=SessionStore(engine),
        ticks=Tick.all_of(ScheduleSettings.from_env().schedules),
        dead_letters=DeadLetterPublisher(
            Publisher(topics.project), topics.dead_letter_topic
        ),
        clock=new_clock(offset),
    )
    freeze_gc()
    return reporter


@push_endpoint
def report_day(push: CloudEvent) -> None:
    """Report on a day; returning acknowledges, raising redelivers."""
    reporter = wire()
    delivery = Delivery.of(push)
    with acknowledging(delivery, reporter.dead_letters):
        outcomes = bring_up_to_date(
            ReportRequest.from_bytes(delivery.data).day,
            reporter.reports,
            reporter.facts,
            DueTimes(reporter.sessions.calendar(), reporter.ticks),
            reporter.clock(),
        )
        for outcome in outcomes:
            _tell(outcome)


def _tell(outcome: Outcome) -> None:
    """Write the one line about a report: that it is new, or still there."""
    report, since = outcome.report, outcome.since
    if since is None:
        log_event(Event.DAILY_REPORT, **facts(report))
        return
    log_event(
        Event.REPORT_KEPT,
        severity=logging.WARNING if since.is_suspicious else logging.INFO,
        day=str(report.day),
        chain=report.chain,
        **asdict(since),
    )


def facts(report: DailyReport) -> dict[str, Any]:
    """What the log says about a new report."""
    return {
        "day": str(report.day),
        "summary": report.summary,
        "is_made_up": report.is_made_up,
        **report.figures,
        "chain": report.chain,
    }
