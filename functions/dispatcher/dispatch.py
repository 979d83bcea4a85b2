"""Turn a trigger into a run: one collect request for each stock and timeframe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from functions.dispatcher.budget import within_budget
from functions.dispatcher.lanes import in_lanes
from shared.errors import MalformedMessage
from shared.messages import ALL_LISTED, CollectRequest, Trigger
from shared.runs import NewRun
from shared.sessions import DAY, kst_date, midnight

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date, datetime

    from shared.candles import Timeframe
    from shared.freshness import Due, DueTimes
    from shared.reports import BehindSeries
    from shared.runs import OpenedRun
    from shared.series import Coverage
    from shared.sessions import Calendar


class Stocks(Protocol):
    """Which stocks there are."""

    def targets(self) -> list[str]:
        """Codes of the target stocks."""

    def listed(self) -> list[str]:
        """Codes of all listed stocks."""


class RunLedger(Protocol):
    """Where runs are recorded."""

    def open_run(self, run: NewRun) -> OpenedRun:
        """Write a run and its tasks; a tick may turn out to be superseded."""

    def mark_published(self, run_id: str) -> None:
        """Note that all requests of the run are published."""

    def unpublished_runs(self) -> dict[str, list[bytes]]:
        """Runs that are in the ledger but were never published, with their requests."""

    def is_unsettled(
        self, stock_codes: Sequence[str], over: Mapping[Timeframe, datetime]
    ) -> bool:
        """Whether a series was not asked for since its last session was over."""

    def coverage(
        self, stock_codes: Sequence[str], timeframes: Sequence[Timeframe]
    ) -> dict[tuple[str, Timeframe], Coverage]:
        """What has been read of those of these series that are known."""

    def behind(self, due: Mapping[Timeframe, Due]) -> list[BehindSeries]:
        """Series of targets that are not as far as they should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerMessage:
    """A trigger as it came, and the run that it leads to."""

    run_id: str
    message_id: str
    data: bytes
    published_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchResult:
    """What a trigger led to: ``published`` is 0 when it was delivered before.

    With ``no_session`` the exchange is closed today, or has not opened yet; with
    ``superseded_by`` a later run does what this one was for. ``behind`` are the series
    of targets that a tick found behind.
    """

    run_id: str
    published: int
    no_session: bool = False
    superseded_by: str | None = None
    behind: Sequence[BehindSeries] = ()


def dispatch(  # noqa: PLR0913 - the message and the five things it needs
    message: TriggerMessage,
    stocks: Stocks,
    ledger: RunLedger,
    publish: Callable[[Sequence[bytes], str], None],
    due_times: DueTimes,
    now: datetime,
) -> DispatchResult:
    """Write the run of a trigger to the ledger, then publish its requests.

    A tick on a day without a session, or before it opens, is noted without requests
    where every series has been read since its last session ended; so is a tick that
    arrives after a later one.

    The ledger comes first: a crash before publishing is made good by the redelivery,
    one after it only publishes again, which the finished tasks ignore. Runs that
    an earlier delivery left unpublished are published as well.

    ``publish`` takes the messages and their run id; when it returns, Pub/Sub has them.

    Raises:
        MalformedMessage: If the trigger has a field that cannot be accepted.
        TransientError: If the database or Pub/Sub did not answer.
    """
    trigger, calendar = Trigger.from_bytes(message.data), due_times.calendar
    requests = plan_run(trigger, message.run_id, stocks, kst_date(now))
    if trigger.budget:
        requests = within_budget(requests, trigger.budget, calendar, kst_date(now))
    no_session = trigger.is_tick and not _may_be_new(requests, ledger, calendar, now)
    if no_session:
        requests = []
    requests = in_lanes(requests, ledger.coverage, calendar, kst_date(now))
    run = NewRun(
        run_id=message.run_id,
        message_id=message.message_id,
        trigger=message.data,
        requests=requests,
        requested_at=now,
        tick_of=message.published_at if trigger.is_tick and requests else None,
    )
    opened = ledger.open_run(run)
    if opened.messages:
        publish(opened.messages, run.run_id)
        ledger.mark_published(run.run_id)
    for run_id, messages in ledger.unpublished_runs().items():
        publish(messages, run_id)
        ledger.mark_published(run_id)
    behind = ledger.behind(due_times.expected_by(now)) if trigger.is_tick else ()
    return DispatchResult(
        run_id=run.run_id,
        published=len(opened.messages),
        no_session=no_session,
        superseded_by=opened.superseded_by,
        behind=behind,
    )


def _may_be_new(
    requests: Sequence[CollectRequest],
    ledger: RunLedger,
    calendar: Calendar,
    now: datetime,
) -> bool:
    """Whether the exchange is open today, or a session is over and not asked for."""
    if calendar.latest_opened(now) == kst_date(now):
        return True
    codes = {request.stock_code for request in requests}
    over = {
        timeframe: midnight(day + DAY)
        for timeframe in {request.timeframe for request in requests}
        if (day := calendar.settled_through(timeframe, now, kst_date(now)))
    }
    return ledger.is_unsettled(sorted(codes), over)


def plan_run(
    trigger: Trigger, run_id: str, stocks: Stocks, today: date
) -> list[CollectRequest]:
    """One request for each stock and timeframe.

    Raises:
        MalformedMessage: If no stock is meant, or the range is still to come.
    """
    start = trigger.since(today)
    codes = _codes(trigger, stocks)
    if not codes:
        field = "stocks"
        raise MalformedMessage(field, "there is no such stock yet; load them first")
    return [
        CollectRequest(
            run_id=run_id,
            stock_code=code,
            timeframe=timeframe,
            mode=trigger.mode,
            start=start,
            end=trigger.end,
            force=trigger.force,
        )
        for timeframe in trigger.timeframes
        for code in codes
    ]


def _codes(trigger: Trigger, stocks: Stocks) -> Sequence[str]:
    if trigger.stocks is None:
        return stocks.targets()
    if trigger.stocks == ALL_LISTED:
        return stocks.listed()
    return trigger.stocks
