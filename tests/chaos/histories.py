"""Random histories: what the market, the broker and an operator do, and when.

A history is made from a seed alone. Everything that the broker discloses is known in
it from the beginning, each with its own instant, so the same history can be played
again however its attempts fall.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING

from infra.local.broker.market import MINUTE_RETENTION
from shared.sessions import DAY, KST
from tests.support.builders import day
from tests.support.harness import ALL, CALENDAR, STOCK

if TYPE_CHECKING:
    from random import Random

STARTS = {"5m": "2026-11-02", "30m": "2026-09-28", "60m": "2026-06-01"}
STARTS |= {"1d": "2024-03-04", "1w": "2019-01-07"}
DEEPER = {"5m": "2026-10-19", "30m": "2026-08-10", "60m": "2026-04-06"}
DEEPER |= {"1d": "2022-03-07", "1w": "2012-06-04"}
FIRST, LAST = "2026-11-16", "2026-12-18"
HOURS = ("07:30", "09:07", "11:42", "15:33", "18:20", "20:45", "22:10", "23:58")
RATIOS = (5.0, 2.0, 1.3, 1.05, 0.5, 0.1)
# Of a cheap stock, only many candles and the volume of days tell these.
SMALL_RATIOS = {50: 1.01, 216: 1.005, 300: 0.997}
# Where a history is about the end of the minutes that the broker keeps, which is about
# a year: it begins there.
RETENTIONS = (MINUTE_RETENTION, MINUTE_RETENTION - DAY * 3)
EDGE = "2025-11-24"


@dataclass
class Moment:
    """What an operator and the schedules do at one moment."""

    now: str
    triggers: list[dict[str, object]] = field(default_factory=list)
    deleted: int = 0
    tampered: int = 0


@dataclass
class History:
    """A market, what the broker discloses of it, and the moments of a pipeline.

    ``disclosures`` are calls of the harness: the method's name, and what it is given.
    """

    frames: list[str]
    moments: list[Moment]
    market: dict[str, object] = field(default_factory=dict)
    disclosures: list[tuple[str, tuple[object, ...], dict[str, object]]] = field(
        default_factory=list
    )

    @property
    def kinds(self) -> list[str]:
        """What the broker does, by the harness's words."""
        return [name for name, _, _ in self.disclosures]


def history(random: Random) -> History:
    """Moments in the order of time; the first one loads."""
    frames = random.sample(ALL, random.randint(1, 3))
    sessions = list(CALENDAR.session_dates(day(FIRST), day(LAST)))
    days = sorted(random.sample(sessions, random.randint(3, 6)))
    at_the_edge = random.random() < 0.2
    starts = STARTS | {"60m": EDGE} if at_the_edge else STARTS
    moments = [_moment(random, n, d, frames, starts) for n, d in enumerate(days)]
    made = History(frames, moments)
    if at_the_edge:
        made.market["retention"] = random.choice(RETENTIONS)
    if random.random() < 0.15:
        made.market["thin"] = {STOCK: 0.3}
    if "1d" in frames and random.random() < 0.25:
        made.market["levels"] = {STOCK: random.choice(list(SMALL_RATIOS))}
    if random.random() < 0.15:
        first = random.choice(sessions)
        made.market["halts"] = {STOCK: (first, first + DAY * random.randint(0, 20))}
    _Disclosing(random, made, sessions, days[-1]).disclose()
    return made


def _moment(random, number, date, frames, starts) -> Moment:
    moment = Moment(now=f"{date} {random.choice(HOURS)}")
    if number == 0:
        moment.triggers = [{"timeframes": [f], "start": starts[f]} for f in frames]
        return moment
    if random.random() < 0.3:
        moment.deleted = random.randint(1, 60)
        moment.triggers.append({"timeframes": frames, "mode": "repair"})
    elif random.random() < 0.4:
        frame = random.choice(frames)
        moment.triggers.append(
            {"timeframes": [frame], "mode": "backfill", "start": DEEPER[frame]}
        )
    elif random.random() < 0.2:
        moment.tampered = random.randint(1, 20)
    moment.triggers.append({"timeframes": frames})
    return moment


class _Disclosing:
    """Decides what the broker does to its candles, until the last moment."""

    def __init__(self, random, made, sessions, last):
        self.random = random
        self.made = made
        self.sessions = [date for date in sessions if date <= last]
        self.last = last

    def disclose(self):
        random = self.random
        for _ in range(random.choices((0, 1, 2, 3), (40, 35, 18, 7))[0]):
            self.act()
        for _ in range(random.choices((0, 1, 2, 3), (45, 30, 15, 10))[0]):
            self.correct()
        if random.random() < 0.2:
            self.withdraw()
        if random.random() < 0.15:
            self.invent()
        if random.random() < 0.1:
            self.redate()

    def add(self, name, *arguments, **more):
        self.made.disclosures.append((name, arguments, more))

    def instant(self, after):
        """An instant after a day, before all is over."""
        first = datetime.combine(after + DAY, time(0, 30), KST)
        last = datetime.combine(max(self.last, after + DAY * 2), time(), KST)
        seconds = self.random.randint(0, int((last - first).total_seconds()))
        return f"{first + timedelta(seconds=seconds):%Y-%m-%d %H:%M}"

    def act(self):
        """A corporate action, adjusted at once or in one of the other ways."""
        effective_on = self.random.choice(self.sessions)
        evening = f"{effective_on} 21:00"
        morning = f"{effective_on + DAY} 07:00"
        way = self.random.random()
        more = {}
        if way < 0.12:
            more = {"shown_from": self.random.choice((evening, morning))}
        elif way < 0.24:
            more = {"recent_days": self.random.randint(1, 60), "rest_from": morning}
        elif way < 0.36:
            late = self.random.sample(ALL, 2)
            more = {"shown_from": dict.fromkeys(late, morning)}
        ratios = RATIOS
        for level in self.made.market.get("levels", {}).values():
            small = SMALL_RATIOS[level]
            ratios = (small, 1 / small, 2.0, 0.5)
        ratio = self.random.choice(ratios)
        self.add("acts", STOCK, str(effective_on), ratio, **more)

    def candle(self):
        """A day or a five-minute candle of a session, and the session."""
        timeframe = self.random.choice(("1d", "5m"))
        first = day("2024-06-03") if timeframe == "1d" else day("2026-11-02")
        if self.random.random() < 0.6:
            first = max(first, self.last - DAY * 8)
        date = self.random.choice(list(CALENDAR.session_dates(first, self.last)))
        if timeframe == "1d":
            return timeframe, str(date), date
        at = datetime.combine(date, time(10), KST)
        at += timedelta(minutes=5 * self.random.randint(0, 60))
        return timeframe, f"{at:%Y-%m-%d %H:%M}", date

    def correct(self):
        timeframe, at, date = self.candle()
        changes = self.random.choice(
            ({"high": 1}, {"close": 1}, {"close": -1}, {"high": 700}, {"volume": 13})
        )
        alone = self.random.random() < 0.2
        since = self.instant(date)
        self.add("corrects", timeframe, at, changes, since=since, alone=alone)

    def withdraw(self):
        timeframe, at, date = self.candle()
        self.add("withdraws", timeframe, at, since=self.instant(date))

    def invent(self):
        date = self.random.choice(self.sessions)
        until = self.instant(date)
        self.add("invents", "5m", f"{date} 15:20", volume=3, until=until)

    def redate(self):
        date = self.random.choice(self.sessions)
        shown_on = min(date + DAY, date + DAY * (4 - date.weekday()))
        until = self.instant(date)
        self.add("redates", str(date), str(shown_on), until=until)
