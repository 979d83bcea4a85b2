"""The collector with a broker, a ledger and a store in memory, at one moment."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from random import Random

from functions.collector.collect import collect
from shared.candles import Timeframe
from shared.sessions import kst_date
from tests.support.builders import CALENDAR, a_candle, a_request, day, kst
from tests.support.fake_series import FakeSource, Memory


def sessions(first, last):
    """The days with a session, both ends included."""
    return list(CALENDAR.session_dates(day(first), day(last)))


def slots(timeframe, first, last):
    """The slots of candles from one day to another, both included."""
    return [
        slot
        for date in sessions(first, last)
        for slot in CALENDAR.slots(Timeframe(timeframe), date)
    ]


def market(timeframe="1d", first="2026-10-01", last="2026-11-20", *, level=70_000):
    """A candle in every slot, the same ones whenever they are made."""
    found = []
    for slot in slots(timeframe, first, last):
        random = Random(f"{timeframe} {slot}")
        opened, close = (round(level * random.uniform(0.95, 1.05)) for _ in range(2))
        candle = a_candle(
            opened_at=slot,
            timeframe=Timeframe(timeframe),
            open=opened,
            close=close,
            high=max(opened, close) + level // 100,
            low=min(opened, close) - level // 100,
            volume=random.randint(100_000, 900_000),
            session=CALENDAR.place(Timeframe(timeframe), slot),
        )
        found.append(candle)
    return found


class Desk:
    """One stock; ``now`` goes by where a test says so."""

    def __init__(self, candles, page_size=100, *, now="2026-11-19 21:00", **broker):
        self.memory = Memory()
        self.source = FakeSource(candles, page_size, **broker)
        self.now = kst(now)
        self.source.now = lambda: self.now
        self._runs = count(1)

    @property
    def ledger(self):
        return self.memory.ledger

    @property
    def collected(self):
        """What the last attempt stored."""
        return self.memory.store.collected[-1]

    def task(self, timeframe="1d", *, run_id=None, **request):
        run_id = run_id or f"run-{next(self._runs)}"
        return self.memory.open(a_request(timeframe, run_id=run_id, **request))

    def attempt(self, request):
        """One attempt at a task."""
        return collect(
            request, self.source, self.ledger, self.memory.store, lambda: self.now
        )

    def run(self, timeframe="1d", *, now=None, **request):
        """A task of its own, with dates as strings."""
        if now:
            self.now = kst(now)
        for name in ("start", "end"):
            if name in request:
                request[name] = day(request[name])
        return self.attempt(self.task(timeframe, **request))

    def asks(self, timeframe="1d", **run):
        """The pages that a task requests."""
        before = self.source.requests
        self.run(timeframe, **run)
        return self.source.pages[before:]

    def series(self, timeframe="1d"):
        return self.memory.series_of(a_request(timeframe))

    def asked_at(self, timeframe="1d"):
        """Through when all that the broker had was asked for."""
        return self.memory.asked_at(a_request(timeframe))

    def stored(self, timeframe="1d"):
        """The candles we have, oldest first."""
        mine = self.memory.candles["005930", timeframe]
        return [candle for _, candle in sorted(mine.items())]

    def days(self, timeframe="1d"):
        return [kst_date(candle.opened_at) for candle in self.stored(timeframe)]

    def absent(self, timeframe="1d"):
        return sorted(self.memory.absent["005930", timeframe])

    def loses(self, *days, timeframe="1d"):
        """Candles of ours vanish."""
        mine = self.memory.candles["005930", timeframe]
        for at in [at for at in mine if str(kst_date(at)) in days]:
            del mine[at]

    def differs(self, at):
        """The close of a day of ours becomes another than the broker's."""
        mine = self.memory.candles["005930", "1d"]
        self.changes(at, close=mine[kst(at)].low)

    def changes(self, at, timeframe="1d", **values):
        """A candle of ours has other values than the broker's."""
        mine = self.memory.candles["005930", timeframe]
        mine[kst(at)] = replace(mine[kst(at)], **values)
