"""A broker, a ledger and a store in memory, for what the collector talks to.

They pass the same tests as the adapters: see ``tests/contracts``.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count

from shared.candles import RejectedRow, Timeframe
from shared.coverage import missing_slots
from shared.errors import (
    AttemptsExhausted,
    Busy,
    PermanentError,
    PipelineError,
    Postponed,
    StaleSeries,
    TransientError,
    Unforeseen,
    UnknownTask,
)
from shared.pages import Page
from shared.runs import rebuild_run
from shared.series import Attempt, FollowUp, Series, Stored, WriteCounts, task_state
from shared.sessions import DAY, kst_date, midnight
from tests.support.builders import CALENDAR

FINISHED = {"done", "no_data", "incomplete"}


def scaled(candle, ratio):
    """The candle on another price basis; the volumes of minutes stay."""
    factor = float(ratio)
    prices = {
        name: max(1, round(getattr(candle, name) * factor))
        for name in ("open", "high", "low", "close")
    }
    volume = candle.volume
    if not candle.timeframe.minutes:
        volume = round(candle.volume / factor)
    return replace(candle, **prices, volume=volume)


# Odd answers: what a page becomes, given the page that was served before it.


def blank(page, before):
    """The broker says that it has nothing."""
    return Page(candles=())


def empty(page, before):
    """No rows, although there is more to come."""
    return replace(page, candles=())


def not_advancing(page, before):
    """The page before once more."""
    return replace(before, cursor=page.cursor)


def ends_early(page, before):
    """The right rows, and the claim that there are no older ones."""
    return replace(page, cursor=None, is_full=False)


def full_and_last(page, before):
    """A full page that says it is the last."""
    return replace(page, cursor=None, is_full=True)


def without(*days):
    """Rows of these days are missing, between others."""

    def answer(page, before):
        kept = (c for c in page.candles if str(kst_date(c.opened_at)) not in days)
        return replace(page, candles=tuple(kept))

    return answer


def stale(newest):
    """The answer that was right when ``newest`` was the newest candle."""

    def answer(page, before):
        kept = (c for c in page.candles if c.opened_at <= newest)
        return replace(page, candles=tuple(kept))

    return answer


def spoilt(*instants):
    """The rows of these instants, or all of them, are no candles."""

    def answer(page, before):
        bad = [c for c in page.candles if not instants or c.opened_at in instants]
        rows = (
            RejectedRow(
                reason="high below low",
                raw=f'{{"at": "{candle.opened_at}"}}',
                opened_at=candle.opened_at,
            )
            for candle in bad
        )
        kept = tuple(candle for candle in page.candles if candle not in bad)
        return replace(page, candles=kept, rejected=(*page.rejected, *rows))

    return answer


def undated(day):
    """The row of a day cannot be read, not even when it is of."""

    def answer(page, before):
        kept = tuple(c for c in page.candles if str(kst_date(c.opened_at)) != day)
        row = RejectedRow(reason="no date", raw=f'{{"row": "{day}"}}')
        return replace(page, candles=kept, rejected=(row,))

    return answer


class FakeSource:
    """Pages from a list of candles, newest first, as the broker would cut them.

    ``actions`` are corporate actions, as days and price ratios: candles before such a
    day are served on the new basis, if the anchor lies on that day or after it.
    ``odd`` holds for a page (1, 2, ...) what is answered instead: a list of answers for
    as many requests, or an answer for all of them. An exception is raised.
    """

    def __init__(self, candles=(), page_size=100, *, actions=(), odd=None):
        self.candles = list(candles)
        self.page_size = page_size
        self.actions = list(actions)
        self.odd = odd or {}
        # What has not begun at ``now`` is not served, if it is a clock.
        self.now = None
        self.anchors = []
        self.pages = []
        self._cursors = {}
        self._before = None

    @property
    def requests(self):
        return len(self.pages)

    def page(self, query, *, cursor, calendar, observer=None):
        number, older_than = self._cursors[cursor] if cursor else (1, None)
        if observer:
            observer.before_request()
            observer.request_sent()
        self.pages.append(number)
        if number == 1:
            self.anchors.append(query.anchor)
        page = self._cut(query, number, older_than)
        answer = self._odd_answer(number)
        if isinstance(answer, Exception):
            raise answer
        if answer:
            page = answer(page, self._before)
        self._before = page
        return page

    def _cut(self, query, number, older_than):
        mine = sorted(
            (
                candle
                for candle in self.candles
                if candle.timeframe == query.timeframe
                and candle.stock_code == query.stock_code
                and kst_date(candle.opened_at) <= query.anchor
                and (older_than is None or candle.opened_at < older_than)
                and (self.now is None or _begins(candle) <= self.now())
            ),
            key=lambda candle: candle.opened_at,
            reverse=True,
        )
        cut = [self._adjusted(c, query.anchor) for c in mine[: self.page_size]]
        cursor = None
        if len(mine) > self.page_size:
            # As the broker's: good for any number of requests.
            cursor = f"A{query.stock_code}{cut[-1].opened_at:%Y%m%d%H%M%S}{number:04d}"
            self._cursors[cursor] = number + 1, cut[-1].opened_at
        return Page(
            candles=tuple(cut), cursor=cursor, is_full=len(cut) == self.page_size
        )

    def _adjusted(self, candle, anchor):
        for day, ratio in self.actions:
            if kst_date(candle.opened_at) < day <= anchor:
                candle = scaled(candle, ratio)
        return candle

    def _odd_answer(self, number):
        answer = self.odd.get(number)
        if isinstance(answer, list):
            return answer.pop(0) if answer else None
        return answer


@dataclass
class FakeTask:
    """A task as the ledger has it."""

    state: str = "queued"
    attempts: int = 0
    requests: int = 0
    chains: dict[object, object] = field(default_factory=dict)
    stored: Stored | None = None


class Memory:
    """What a ledger and a store share: the database, as far as they can tell."""

    def __init__(self, calendar=CALENDAR, *, max_attempts=5):
        self.calendar_version = calendar.version
        self.tasks = {}
        self.series = defaultdict(Series)
        self.asked = {}
        self.leases = {}
        self.candles = defaultdict(dict)
        self.rescaled = set()
        self.absent = defaultdict(set)
        self.revisions = []
        self.actions = defaultdict(list)
        self.quarantine = []
        self.follow_ups = defaultdict(set)
        self.ledger = FakeLedger(self, max_attempts)
        self.store = FakeStore(self, calendar)

    def open(self, request):
        """Write down a task for the request."""
        self.tasks.setdefault(_task(request), FakeTask())
        return request

    def asked_at(self, request):
        """Through when all that the broker had was asked for."""
        return self.asked.get(_key(request))

    def task(self, request):
        return self.tasks[_task(request)]

    def series_of(self, request):
        """The series, with the ends of its candles."""
        key = _key(request)
        instants = self.candles[key]
        return replace(
            self.series[key],
            oldest=kst_date(min(instants)) if instants else None,
            newest=max(instants, default=None),
        )

    def expire(self, request):
        """The lease has run out: its instance was killed."""
        self.leases.pop(_key(request), None)


class FakeLedger:
    """Task states and series leases in memory."""

    def __init__(self, memory, max_attempts):
        self.memory = memory
        self.max_attempts = max_attempts
        self.listed = True
        self.halted = False
        self.known_from = None
        self.moved_on = None
        self.listed_on = None
        self.renewed = 0
        self._owners = count(1)

    @contextmanager
    def attempt(self, request):
        attempt = self._begin(request)
        if attempt is None:
            yield None
            return
        try:
            yield attempt
        except PipelineError as error:
            if self._end(attempt, error) and isinstance(error, TransientError):
                raise AttemptsExhausted(error, self.max_attempts) from error
            raise
        except Exception as error:
            self._end(attempt, Unforeseen(type(error).__name__))
            raise

    def renew_lease(self, attempt, chains=()):
        memory, request = self.memory, attempt.request
        if memory.leases.get(_key(request)) != attempt.owner:
            raise StaleSeries("another attempt took over")
        self.renewed += 1
        task = memory.task(request)
        task.requests = attempt.requests
        for chain in chains:
            # What cannot be read back by a later attempt is not kept either.
            pages = tuple(replace(page, is_full=False) for page in chain.pages)
            task.chains[chain.anchor] = replace(chain, pages=pages)

    def _begin(self, request):
        memory, key = self.memory, _key(request)
        task = memory.tasks.get(_task(request))
        if task is None:
            raise UnknownTask("publish a trigger instead")
        if task.state in FINISHED:
            return None
        if key in memory.leases:
            raise Busy("the series is being collected")
        memory.leases[key] = owner = f"owner-{next(self._owners)}"
        task.attempts = 1 if task.state == "dead" else task.attempts + 1
        task.state = "running"
        return Attempt(
            request=request,
            owner=owner,
            series=memory.series_of(request),
            listed=self.listed,
            halted=self.halted,
            known_from=self.known_from,
            moved_on=self.moved_on,
            listed_on=self.listed_on,
            requests=task.requests,
            chains=tuple(chain for _, chain in sorted(task.chains.items())),
        )

    def _end(self, attempt, error):
        key, task = _key(attempt.request), self.memory.task(attempt.request)
        if self.memory.leases.get(key) == attempt.owner:
            del self.memory.leases[key]
        task.requests = attempt.requests
        if isinstance(error, Postponed):
            task.state, task.attempts = "queued", task.attempts - 1
            return False
        permanent = isinstance(error, PermanentError)
        dead = permanent or task.attempts >= self.max_attempts
        task.state = "dead" if dead else "failed"
        if permanent:
            task.chains.clear()
        return dead


class FakeStore:
    """Candles, series and tasks in memory."""

    def __init__(self, memory, calendar):
        self.memory = memory
        self._calendar = calendar
        self.collected = []

    def calendar(self):
        return self._calendar

    def candles(self, attempt, period):
        mine = self.memory.candles[_key(attempt.request)]
        return {at: candle for at, candle in mine.items() if at in period}

    def known_slots(self, attempt, period):
        absent = self.memory.absent[_key(attempt.request)]
        return self.candles(attempt, period).keys() | {
            at for at in absent if at in period
        }

    def has_traded_since(self, attempt, day):
        days = self.memory.candles[attempt.request.stock_code, Timeframe.DAY_1.value]
        if not days:
            return None
        return any(c.volume > 0 and at >= midnight(day) for at, c in days.items())

    def store(self, attempt, collected):
        memory, request = self.memory, attempt.request
        key = _key(request)
        current = memory.series[key]
        if memory.leases.get(key) != attempt.owner:
            raise StaleSeries("another attempt took over")
        if current.version != attempt.series.version:
            raise StaleSeries("the series changed while it was collected")
        if memory.calendar_version != collected.calendar:
            raise StaleSeries("the calendar changed while candles were collected")
        self.collected.append(collected)
        withdrawn = self._withdraw(attempt, collected)
        inserted, updated, revised = self._upsert(attempt, collected)
        rescaled, follow_up = self._move(attempt, collected)
        memory.quarantine.extend(collected.rejected)
        self._record_absences(key, collected)
        known = memory.candles[key].keys() | memory.absent[key]
        quiet = self._without_trades(key)
        expected = [at for at in collected.expected if kst_date(at) not in quiet]
        missing = missing_slots(expected, known, ())
        memory.series[key] = replace(
            collected.series,
            version=current.version + 1,
            collected_on=kst_date(collected.read_at),
        )
        asked = [memory.asked.get(key), collected.asked_through]
        memory.asked[key] = max(filter(None, asked), default=None)
        stored = Stored(
            state=task_state(collected, missing),
            counts=WriteCounts(
                inserted=inserted,
                updated=updated,
                unchanged=len(collected.candles) - inserted - updated,
                rejected=len(collected.rejected),
                revised=revised,
                withdrawn=withdrawn,
                rescaled=rescaled,
            ),
            missing=missing,
            follow_up=follow_up,
        )
        task = memory.task(request)
        task.state, task.stored, task.requests = stored.state, stored, attempt.requests
        task.chains.clear()
        del memory.leases[key]
        return stored

    def _withdraw(self, attempt, collected):
        if attempt.series.covered_from is None:
            return 0
        mine = self.memory.candles[_key(attempt.request)]
        served = {c.opened_at for c in collected.candles} | collected.unreadable
        gone = {
            at
            for period in collected.complete
            for at in mine
            if at in period and at not in served
        }
        for at in gone:
            candle = mine.pop(at)
            if _is_settled(attempt, at):
                self.memory.revisions.append((at, candle, True))
        return len(gone)

    def _upsert(self, attempt, collected):
        key = _key(attempt.request)
        mine, move = self.memory.candles[key], collected.move
        inserted = updated = revised = 0
        for candle in collected.candles:
            at = candle.opened_at
            old = mine.get(at)
            if old is None:
                inserted += 1
            elif old != candle or (*key, at) in self.memory.rescaled:
                updated += 1
                noteworthy = move is None or at in collected.outliers
                if noteworthy and _is_settled(attempt, at):
                    revised += 1
                    before = scaled(old, move.ratio) if move else old
                    self.memory.revisions.append((at, before, False))
            mine[at] = candle
            self.memory.rescaled.discard((*key, at))
        return inserted, updated, revised

    def _without_trades(self, key):
        """Days without a trade, which have no minutes."""
        stock_code, timeframe = key
        if not Timeframe(timeframe).minutes:
            return set()
        days = self.memory.candles[stock_code, Timeframe.DAY_1.value].values()
        return {kst_date(day.opened_at) for day in days if not day.volume}

    def _move(self, attempt, collected):
        move, request = collected.move, attempt.request
        is_told = move == request.move
        if move is None or (is_told and self._is_known(_key(request), move)):
            return 0, None
        key = _key(request)
        self.memory.actions[key].append(move)
        mine = self.memory.candles[key]
        served = [candle.opened_at for candle in collected.candles]
        moved_before = midnight(move.after + DAY)
        older = [
            at for at in mine if at < moved_before and (not served or at < min(served))
        ]
        for at in older:
            mine[at] = scaled(mine[at], move.ratio)
            self.memory.rescaled.add((*key, at))
        return len(older), self._follow_up(request, move, collected.read_at)

    def _follow_up(self, request, move, found_at):
        others = sorted(
            timeframe
            for stock_code, timeframe in self.memory.series
            if stock_code == request.stock_code
            and timeframe != request.timeframe.value
            and self.memory.series[stock_code, timeframe].covered_from
            and not self._is_known((stock_code, timeframe), move)
        )
        if not others:
            return None
        timeframes = [Timeframe(other) for other in others]
        run = rebuild_run(request, move, timeframes, found_at)
        if not set(others) - self.memory.follow_ups[run.run_id]:
            return None
        self.memory.follow_ups[run.run_id].update(others)
        for wanted in run.requests:
            self.memory.open(wanted)
        messages = tuple(wanted.to_bytes() for wanted in run.requests)
        return FollowUp(run_id=run.run_id, messages=messages)

    def _is_known(self, key, move):
        return any(
            abs(float(known.ratio) / float(move.ratio) - 1) < 0.001
            and known.after < move.effective_by
            and known.effective_by > move.after
            for known in self.memory.actions[key]
        )

    def _record_absences(self, key, collected):
        absent = self.memory.absent[key]
        if collected.forgotten:
            absent -= {at for at in absent if at in collected.forgotten}
        absent |= set(collected.absent)
        absent -= {candle.opened_at for candle in collected.candles}


def _begins(candle):
    """When the first trade of a candle can be."""
    opening = timedelta(0) if candle.timeframe.minutes else timedelta(hours=9)
    return candle.opened_at + opening


def _key(request):
    return request.stock_code, request.timeframe.value


def _task(request):
    return request.run_id, *_key(request)


def _is_settled(attempt, opened_at):
    settled = attempt.series.settled_through
    return settled is not None and opened_at < midnight(settled + DAY)
