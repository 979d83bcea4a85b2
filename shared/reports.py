"""What is reported of the pipeline: rows as the database tells them, nothing judged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import IntFlag, StrEnum
from typing import TYPE_CHECKING, Any

from shared.sessions import KST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    from shared.candles import Candle, Timeframe
    from shared.verdicts import SeriesFacts


class Mark(IntFlag):
    """What else happened to a session, beside its verdict."""

    REBUILT = 1
    REVISED = 2
    QUARANTINED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class StockName:
    """A stock's code and name."""

    code: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskError:
    """Why the newest task of a series is not done: its state, and its last error."""

    run_id: str
    state: str
    error_code: str | None
    error_message: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StockSeries:
    """One series, and the stock that it is of."""

    stock: StockName
    timeframe: Timeframe
    facts: SeriesFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class LateGroup:
    """Series that are late for the same cause.

    ``state`` is that of their newest tasks, None where those have an error.
    ``examples`` are some of their stocks, in the order of their codes, and
    ``asked_at`` is when the one was last asked that waits longest.
    """

    timeframe: Timeframe
    never_loaded: bool
    state: str | None
    error_code: str | None
    error_message: str | None
    run_id: str | None
    count: int
    examples: tuple[StockName, ...]
    asked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Series of one timeframe with the same proofs, and how many slots they explain.

    ``accounted_for`` are slots of settled sessions with a candle, or where the broker
    has none. ``is_open`` says that they were asked for after their last session was
    over and have not settled it. ``facts`` has no more than tells where they begin.
    """

    facts: SeriesFacts
    accounted_for: int | None
    is_open: bool
    codes: tuple[str, ...]


class BehindReason(StrEnum):
    """Why a series is behind."""

    NEVER_LOADED = "never loaded"
    NOT_ASKED = "not asked for"
    UNPROVEN = "prices contradict each other"
    VANISHED = "vanished from the broker's list"

    @property
    def is_late(self) -> bool:
        """Whether ticks should have asked for it, and none did."""
        return self in {BehindReason.NEVER_LOADED, BehindReason.NOT_ASKED}


@dataclass(frozen=True, slots=True, kw_only=True)
class BehindSeries:
    """A series of a target that is not as far as it should be.

    ``since`` is through when it was asked for, or when its prices began to contradict
    each other; None if it was never asked for.
    """

    stock_code: str
    stock_name: str
    timeframe: Timeframe
    reason: BehindReason
    since: datetime | None

    def __str__(self) -> str:
        """The stock and the reason, such as ``005930 삼성전자: never loaded``."""
        text = f"{self.stock_code} {self.stock_name}: {self.reason}"
        has_begun = self.reason in {BehindReason.NOT_ASKED, BehindReason.UNPROVEN}
        if has_begun and self.since:
            text += f" since {self.since.astimezone(KST):%Y-%m-%d %H:%M}"
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesCount:
    """How many series of targets a timeframe has, and how many are late.

    ``settled_through`` is the session up to which all of them are settled, None if one
    is not settled at all.
    """

    total: int = 0
    late: int = 0
    settled_through: date | None = None


# How far back requests are counted, to tell how much of a limit is used.
USED_SINCE = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateState:
    """The pace of one call of the broker, of all ``app_keys`` together.

    ``slowdown`` is how many times longer than usual the interval is; up to
    ``next_free_at`` request slots are reserved. ``requests`` are those of the tasks
    that ended in the last quarter of an hour; None of a call that no task makes.
    """

    api_id: str
    next_free_at: datetime
    slowdown: float
    slowed_at: datetime | None
    app_keys: int = 1
    requests: int | None = None

    def possible(self, per_second: float) -> int:
        """How many requests the limit of an app key allows in that time."""
        return int(per_second * self.app_keys * USED_SINCE.total_seconds())

    def used(self, per_second: float | None) -> float | None:
        """The share of the limit that is used; None without a limit."""
        if per_second is None or self.requests is None:
            return None
        return self.requests / self.possible(per_second)


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A target of which no more is known than that something is wrong with it.

    It has vanished from the broker's list; or, with a ``timeframe``, the prices of that
    series contradict each other, and nothing of it settles.
    """

    stock: StockName
    timeframe: Timeframe | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenSeal:
    """A seal that was not that of its candles, when they were verified.

    It is of one session of minutes, or of a year of days or weeks, and ``sealed`` and
    ``found`` candles.
    """

    stock: StockName
    timeframe: Timeframe
    session_date: date
    sealed: int
    found: int
    found_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """The seal of a session of minutes, or of a year of days or weeks.

    ``run_id`` is the run that wrote it; None where no run did, or none is proven to.
    """

    session_date: date
    candles: int
    digest: str
    sealed_at: datetime
    first_sealed_at: datetime
    run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run: its trigger, its state, and its tasks counted by state."""

    run_id: str
    trigger: Mapping[str, Any]
    state: str
    requested_at: datetime
    written_at: datetime
    published_at: datetime | None
    finished_at: datetime | None
    superseded_by: str | None
    tasks: Mapping[str, int]
    requests: int = 0
    missing: int = 0

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it is at work, or if it had no tasks."""
        if self.finished_at is None:
            return None
        return (self.finished_at - self.written_at).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskGroup:
    """The tasks of a run in one timeframe and state, with what they did, summed.

    As many pages as ``least_requests`` hold what they read.
    """

    timeframe: Timeframe
    state: str
    tasks: int
    attempts: int
    requests: int
    least_requests: int
    inserted: int
    updated: int
    unchanged: int
    rejected: int
    revised: int
    withdrawn: int
    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorGroup:
    """Tasks of a run with the same error."""

    error_code: str
    state: str
    tasks: int
    message: str
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDetail:
    """A run, and what became of its tasks."""

    run: RunRow
    groups: Sequence[TaskGroup]
    errors: Sequence[ErrorGroup]
    open_tasks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A corporate action: old prices times ``ratio`` are new prices.

    ``session`` is that of the candle in which it took effect: of a week, its first.
    """

    after_date: date
    effective_by: date
    session: date
    ratio: float
    run_id: str
    detected_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """The former values of a candle that was settled; ``withdrawn`` if it is gone."""

    opened_at: datetime
    open: int
    high: int
    low: int
    close: int
    volume: int
    withdrawn: bool
    revised_at: datetime
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedRow:
    """A row that is no candle, with the reason."""

    opened_at: datetime | None
    reason: str
    refused_at: datetime
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What happened to a series beside its collection, newest first."""

    actions: Sequence[Action] = ()
    revisions: Sequence[Revision] = ()
    quarantine: Sequence[QuarantinedRow] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSlots:
    """What is stored of the candle slots of a series.

    ``confirmations`` has, for each slot where the broker is proven to have no candle,
    how often that was found. ``days_without_trades`` are those by the daily candle.
    """

    candles: frozenset[datetime]
    confirmations: Mapping[datetime, int]
    days_without_trades: frozenset[date]


@dataclass(frozen=True, slots=True, kw_only=True)
class CandlePage:
    """Candles in ascending order; ``more`` says that others follow."""

    candles: Sequence[Candle]
    settled_through: date | None
    more: bool
