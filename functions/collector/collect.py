"""Collect one stock in one timeframe: an attempt, extend or repair, store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from functions.collector.extend import extend
from functions.collector.repair import repair
from functions.collector.workspace import Workspace
from shared.errors import Busy
from shared.modes import Mode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from datetime import date

    from functions.collector.page_reader import CandleSource
    from functions.collector.workspace import CandleStore
    from shared.clock import Clock
    from shared.messages import CollectRequest
    from shared.pages import PageChain
    from shared.series import Attempt, PriceMove, Stored

# The broker's cursors do not last, and a forming candle goes stale.
CHAIN_LIFE = timedelta(minutes=10)
# A message is returned after this time, while one more request still fits in.
BUDGET = timedelta(minutes=3)


class TaskLedger(Protocol):
    """Task states and series leases."""

    def attempt(
        self, request: CollectRequest
    ) -> AbstractContextManager[Attempt | None]:
        """Begin an attempt at the task; None when the task is finished already."""

    def renew_lease(self, attempt: Attempt, chains: Sequence[PageChain]) -> None:
        """Renew the lease on the series and stage the pages read so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectResult:
    """What one message did; ``requests`` were sent to the broker, by all attempts.

    ``state`` is that of the task; ``move`` is a corporate action that was found.
    ``first_without_trades`` says that a listed stock turned out to have no trades.
    """

    state: str
    requests: int = 0
    stored: Stored | None = None
    move: PriceMove | None = None
    first_without_trades: bool = False


def collect(
    request: CollectRequest,
    source: CandleSource,
    ledger: TaskLedger,
    store: CandleStore,
    clock: Clock,
) -> CollectResult:
    """Do the task of ``request`` unless it is done.

    Raises:
        Busy: If another attempt is at the same series, or too many wait for a slot.
        PermanentError: If the task can never be done, or has failed too often.
        TransientError: If it may be done later; nothing was stored.
    """
    with ledger.attempt(request) as attempt:
        if attempt is None:
            return CollectResult(state="finished_before")
        work = _workspace(attempt, source, ledger, store, clock)
        collected = repair(work) if request.mode is Mode.REPAIR else extend(work)
        stored = store.store(attempt, collected)
    return CollectResult(
        state=stored.state,
        requests=attempt.requests,
        stored=stored,
        move=collected.move,
        first_without_trades=collected.first_without_trades,
    )


def _workspace(
    attempt: Attempt,
    source: CandleSource,
    ledger: TaskLedger,
    store: CandleStore,
    clock: Clock,
) -> Workspace:
    now, calendar = clock(), store.calendar()
    timeframe = attempt.request.timeframe
    usable = [
        chain
        for chain in attempt.chains
        if now - chain.read_at < CHAIN_LIFE and chain.fits(calendar, timeframe)
    ]
    return Workspace(
        attempt=attempt,
        source=source,
        store=store,
        calendar=calendar,
        observer=_Observer(attempt, ledger, clock),
        now=now,
        chains={chain.anchor: chain for chain in usable},
    )


class _Observer:
    """Counts requests, renews the lease, stages pages and watches the time."""

    def __init__(self, attempt: Attempt, ledger: TaskLedger, clock: Clock) -> None:
        self._attempt = attempt
        self._ledger = ledger
        self._clock = clock
        self._time_is_up = clock() + BUDGET
        self._chains: dict[date, PageChain] = {}

    def before_request(self) -> None:
        """Renew the lease, and leave the pages read so far to the next attempt.

        Raises:
            Busy: If the time of the message is up.
        """
        self._ledger.renew_lease(self._attempt, list(self._chains.values()))
        self._chains.clear()
        if self._clock() > self._time_is_up:
            message = "the time of this message is up; its next delivery goes on here"
            raise Busy(message)

    def request_sent(self) -> None:
        """Count the request, also if the attempt fails later."""
        self._attempt.requests += 1

    def page_read(self, chain: PageChain) -> None:
        """Stage the chain with the next request; its last page is stored at once."""
        if not chain.is_at_end:
            self._chains[chain.anchor] = chain
