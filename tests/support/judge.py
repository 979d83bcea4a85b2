"""An independent judge: is every row of the database what the broker has?

It shares no code with the collector. It asks the broker over its HTTP contract, reads
the answers with a parser of its own, from today's anchor back, and compares every row
of the database, in all series, from ``covered_from`` on. It also makes each seal anew.

``python -m tests.support.judge http://127.0.0.1:8080`` judges the database at
``DATABASE_URL`` against a broker that is running.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import requests
from sqlalchemy import create_engine, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SEOUL = timezone(timedelta(hours=9))
DAY = timedelta(days=1)
AFTER_MARKET_SINCE = date(2026, 9, 14)
# Request, list, instant, and the factor from a row's traded value to KRW.
CHARTS = {
    "5m": ("ka10080", "stk_min_pole_chart_qry", "cntr_tm", 0),
    "30m": ("ka10080", "stk_min_pole_chart_qry", "cntr_tm", 0),
    "60m": ("ka10080", "stk_min_pole_chart_qry", "cntr_tm", 0),
    "1d": ("ka10081", "stk_dt_pole_chart_qry", "dt", 1_000_000),
    "1w": ("ka10082", "stk_stk_pole_chart_qry", "dt", 1),
}
PAGES = 1_000
# How far a ratio that was found by comparing prices may be off.
RATIO_ERROR = 1e-3
SERIES = text("""
    SELECT stock_code, timeframe, covered_from, settled_through, accounted_for
    FROM series
    WHERE covered_from IS NOT NULL ORDER BY stock_code, timeframe
""")
CANDLES = text("""
    SELECT opened_at, open, high, low, close, volume, turnover, session, rescaled
    FROM candles WHERE stock_code = :stock_code AND timeframe = :timeframe
""")
SEALS = text("""
    SELECT stock_code, timeframe, session_date, candles, digest FROM session_seals
""")
ABSENT = text("""
    SELECT opened_at FROM absent_slots
    WHERE stock_code = :stock_code AND timeframe = :timeframe
""")
SESSIONS = text("SELECT session_date, opens_at, closes_at FROM market_sessions")

# (path, headers, body) to (headers, body)
Post = Callable[[str, dict[str, str], dict[str, str]], tuple[dict[str, str], bytes]]


class Row(NamedTuple):
    """One candle, in KRW and shares."""

    open: int
    high: int
    low: int
    close: int
    volume: int
    turnover: int | None
    session: str


class Sessions:
    """Which instants a candle can open at, by each session's hours in Seoul."""

    def __init__(self, hours: Mapping[date, tuple[time, time] | None]):
        self.hours = hours

    def place(self, timeframe: str, at: datetime) -> str | None:
        """The part of the session, None where no candle can open."""
        day = at.date()
        hours = self.hours.get(day)
        if hours is None:
            return None
        opens_at, closes_at = hours
        opens = datetime.combine(day, opens_at, SEOUL)
        closes = datetime.combine(day, closes_at, SEOUL)
        if not timeframe.endswith("m"):
            return "regular" if at.time() == time(0) else None
        if (at.hour * 60 + at.minute) % int(timeframe[:-1]) or at.second:
            return None
        if opens <= at <= closes + timedelta(minutes=5):
            return "regular"
        after = day >= AFTER_MARKET_SINCE and at > closes
        return "after" if after and time(16) <= at.time() < time(20) else None

    def is_slot(self, timeframe: str, at: datetime) -> bool:
        """Whether a candle is expected there: orders are called, or nothing trades."""
        if timeframe != "5m":
            return True
        hours = self.hours.get(at.date())
        if hours is None:
            return False
        since = at - datetime.combine(at.date(), hours[1], SEOUL)
        called = timedelta(minutes=-10) <= since < timedelta(0)
        return not called and not timedelta(minutes=5) < since < timedelta(minutes=30)


class Broker:
    """The broker's rows, read as its HTTP contract says."""

    def __init__(self, post: Post, app_key: str, secret_key: str, sessions: Sessions):
        self.post = post
        self.sessions = sessions
        keys = {"grant_type": "client_credentials", "appkey": app_key}
        _, body = post("/oauth2/token", {}, keys | {"secretkey": secret_key})
        self.token = json.loads(body)["token"]

    def rows(
        self, stock_code: str, timeframe: str, since: date, now: datetime
    ) -> tuple[dict[datetime, Row], bool]:
        """The candles from ``since`` on, as they were served at ``now``.

        The second value tells that the broker has nothing before the oldest of them.
        """
        api_id, name, opened, factor = CHARTS[timeframe]
        body = {"stk_cd": stock_code, "upd_stkpc_tp": "1"}
        body["base_dt"] = f"{now.astimezone(SEOUL):%Y%m%d}"
        if timeframe.endswith("m"):
            body["tic_scope"] = timeframe[:-1]
        headers = {"api-id": api_id, "authorization": f"Bearer {self.token}"}
        headers["simulator-as-of"] = now.isoformat()
        found: dict[datetime, Row] = {}
        for _ in range(PAGES):
            answered, reply = self.post("/api/dostk/chart", headers, body)
            answer = json.loads(reply)
            if str(answer["return_code"]) != "0":
                message = f"{stock_code} {timeframe}: {answer['return_msg']}"
                raise RuntimeError(message)
            for raw in answer[name]:
                if raw[opened]:
                    at = _instant(raw[opened])
                    row = self._row(raw, timeframe, at, factor)
                    if row is not None:
                        found.setdefault(at, row)
            more = {n.lower(): value for n, value in answered.items()}
            if more.get("cont-yn") != "Y":
                return _since(found, since), True
            if found and min(found).date() < since:
                return _since(found, since), False
            headers |= {"cont-yn": "Y", "next-key": more["next-key"]}
        message = f"{stock_code} {timeframe}: the broker's pages do not end"
        raise RuntimeError(message)

    def _row(self, raw, timeframe, at, factor) -> Row | None:
        session = self.sessions.place(timeframe, at)
        if session is None:
            return None
        names = ("open_pric", "high_pric", "low_pric", "cur_prc", "trde_qty")
        o, h, l, c, v = (int(raw[name].lstrip("+-")) for name in names)  # noqa: E741
        value = int(raw["trde_prica"]) * factor if factor else None
        return Row(o, h, l, c, v, value, session)


def _instant(digits: str) -> datetime:
    return datetime.strptime(f"{digits:0<14} +0900", "%Y%m%d%H%M%S %z").astimezone(
        SEOUL
    )


def _since(rows: dict[datetime, Row], day: date) -> dict[datetime, Row]:
    return {at: row for at, row in rows.items() if at.date() >= day}


@dataclass(frozen=True)
class Facts:
    """What the wire does not tell; each is about (stock, timeframe).

    ``read_at`` is when a series was last read from today's anchor: its provisional
    candles are those of that instant. ``last_served`` is the last instant at which the
    candles of a day were served, if they are no longer. ``delisted_since`` is when a
    stock left that is gone now. ``actions`` are (instant at which it shows, ratio).
    """

    read_at: Mapping[tuple[str, str], datetime] = field(default_factory=dict)
    last_served: Callable[[str, str, date], datetime | None] = lambda *_: None
    delisted_since: Callable[[str], datetime | None] = lambda *_: None
    actions: Callable[[str, str], list[tuple[datetime, float]]] = lambda *_: []


@dataclass
class Verdict:
    """What is wrong with one series."""

    stock_code: str
    timeframe: str
    compared: int = 0
    not_judged: int = 0
    missing: dict[datetime, Row] = field(default_factory=dict)
    extra: dict[datetime, Row] = field(default_factory=dict)
    different: dict[datetime, tuple[Row, Row]] = field(default_factory=dict)
    marked: list[datetime] = field(default_factory=list)
    # Days whose seal is none, is of other candles, or should not be there.
    unsealed: list[date] = field(default_factory=list)
    # How many slots are said to be accounted for, and are, where that differs.
    miscounted: tuple[int | None, int] | None = None
    # Not counted as wrong: what was never read before it left the broker.
    lost: int = 0

    @property
    def is_right(self) -> bool:
        rows = self.missing or self.extra or self.different or self.marked
        return not (rows or self.unsealed or self.miscounted)

    def __str__(self) -> str:
        name = f"{self.stock_code} {self.timeframe}"
        if self.is_right:
            others = f", {self.not_judged:,} not judged" if self.not_judged else ""
            return f"{name}: {self.compared:,} candles are the broker's{others}"
        lines = []
        for kind, rows in (("missing", self.missing), ("extra", self.extra)):
            if rows:
                at = min(rows)
                lines.append(f"{len(rows):,} {kind} {_span(rows)}, first {rows[at]}")
        if self.different:
            at = min(self.different)
            ours, theirs = self.different[at]
            what = f"{len(self.different):,} different {_span(self.different)}"
            lines.append(f"{what}, first ours {tuple(ours)}, theirs {tuple(theirs)}")
        if self.marked:
            lines.append(f"{len(self.marked):,} served, but marked as rescaled")
        if self.unsealed:
            lines.append(f"{len(self.unsealed):,} seals wrong from {self.unsealed[0]}")
        if self.miscounted:
            said, counted = self.miscounted
            lines.append(f"{counted} slots accounted for, said to be {said}")
        return f"{name}, {self.compared:,} compared: " + "; ".join(lines)


def _span(instants) -> str:
    first, last = min(instants), max(instants)
    return f"{first:%Y-%m-%d %H:%M}..{last:%Y-%m-%d %H:%M}"


@dataclass
class Judgement:
    """The verdicts about all series."""

    verdicts: list[Verdict]

    @property
    def wrong(self) -> list[str]:
        """A sentence for each series that is not right."""
        return [str(verdict) for verdict in self.verdicts if not verdict.is_right]

    @property
    def compared(self) -> int:
        return sum(verdict.compared for verdict in self.verdicts)

    def __str__(self) -> str:
        return "\n".join(map(str, self.verdicts))


def judge(broker: Broker, engine, now: datetime, facts: Facts | None = None):
    """Compare every row of every series."""
    verdicts = []
    with engine.connect() as connection:
        seals: dict[tuple[str, str], dict[date, tuple[int, bytes]]] = {}
        for stock_code, timeframe, day, candles, digest in connection.execute(SEALS):
            seals.setdefault((stock_code, timeframe), {})[day] = candles, digest
        for series in connection.execute(SERIES).mappings().all():
            key = {name: series[name] for name in ("stock_code", "timeframe")}
            stored, rescaled = {}, set()
            for at, *values, is_rescaled in connection.execute(CANDLES, key):
                instant = at.astimezone(SEOUL)
                stored[instant] = Row(*values)
                if is_rescaled:
                    rescaled.add(instant)
            case = _Case(broker, now, facts or Facts(), series)
            verdict = case.judge(stored, rescaled)
            found = seals.pop((key["stock_code"], key["timeframe"]), {})
            right = sealed(stored, key["timeframe"], series["settled_through"])
            verdict.unsealed = sorted(
                day
                for day in found.keys() | right.keys()
                if found.get(day) != right.get(day)
                and not case.cannot_be_mended(day, found.get(day), right.get(day))
            )
            if found == right and series["settled_through"]:
                absent = connection.execute(ABSENT, key).scalars()
                instants = {at.astimezone(SEOUL) for at in absent}
                counted = case.accounted_for({*stored, *instants})
                if counted != series["accounted_for"]:
                    verdict.miscounted = series["accounted_for"], counted
            verdicts.append(verdict)
    for (stock_code, timeframe), found in seals.items():
        verdicts.append(Verdict(stock_code, timeframe, unsealed=sorted(found)))
    return Judgement(verdicts)


def sealed(
    stored: Mapping[datetime, Row], timeframe: str, settled_through: date | None
) -> dict[date, tuple[int, bytes]]:
    """How many candles each seal is of, and their digest."""
    lines: dict[date, list[str]] = {}
    for at, row in sorted(stored.items()):
        day = at.date()
        if settled_through is None or day > settled_through:
            continue
        values = ["" if value is None else str(value) for value in row]
        line = ",".join([str(int(at.timestamp())), *values]) + "\n"
        of = day if timeframe.endswith("m") else date(day.year, 1, 1)
        lines.setdefault(of, []).append(line)
    return {
        day: (len(of), sha256("".join(of).encode()).digest())
        for day, of in lines.items()
    }


class _Case:
    """One series before the judge."""

    def __init__(self, broker: Broker, now: datetime, facts: Facts, series) -> None:
        self.broker, self.now, self.facts = broker, now.astimezone(SEOUL), facts
        self.stock_code, self.timeframe = series["stock_code"], series["timeframe"]
        self.covered_from = series["covered_from"]
        self.settled_through = series["settled_through"] or date.min
        self.floor: datetime | None = None
        self.verdict: Verdict = Verdict(self.stock_code, self.timeframe)

    def judge(self, stored: dict[datetime, Row], rescaled: set[datetime]) -> Verdict:
        oldest = min((at.date() for at in stored), default=self.covered_from)
        since = min(oldest, self.covered_from)
        served, has_ended = self.served(since, self.now)
        if has_ended and not served:
            # Of a stock that is gone, what counts is what was there before.
            gone_since = self.facts.delisted_since(self.stock_code)
            if gone_since is None:
                self.verdict.extra = stored
                return self.verdict
            self.now = gone_since - timedelta(seconds=1)
            served, has_ended = self.served(since, self.now)
        floor = self.floor = min(served, default=None) if has_ended else None
        gone = {at: row for at, row in stored.items() if floor and at < floor}
        self._judge_served(
            {at: row for at, row in stored.items() if at not in gone}, served
        )
        self.verdict.marked = sorted(rescaled & served.keys())
        self._judge_gone(gone)
        return self.verdict

    def accounted_for(self, instants) -> int:
        """How many of these are slots of settled sessions."""
        sessions = self.broker.sessions
        return sum(
            at.date() <= self.settled_through and sessions.is_slot(self.timeframe, at)
            for at in instants
        )

    def cannot_be_mended(self, day, found, right) -> bool:
        """Whether candles were deleted that the broker no longer serves: told rightly."""
        is_gone = self.floor is not None and day < self.floor.date()
        return is_gone and found is not None and found[0] > (right or (0,))[0]

    def served(self, since: date, now: datetime) -> tuple[dict[datetime, Row], bool]:
        return self.broker.rows(self.stock_code, self.timeframe, since, now)

    def _judge_served(self, stored, served) -> None:
        """Settled candles are those of now, provisional ones those that were read."""
        read_at = self.facts.read_at.get((self.stock_code, self.timeframe))
        settled, forming = self._parted(stored)
        self._compare(settled, self._parted(served)[0])
        if read_at is None:
            self.verdict.not_judged += len(forming)
            return
        first = self.covered_from
        if self.settled_through != date.min:
            first = max(first, self.settled_through + DAY)
        shown, _ = self.served(first, min(read_at, self.now))
        self._compare(forming, shown)

    def _parted(self, rows):
        """What is settled, and what is not."""
        last = self.settled_through
        settled = {at: row for at, row in rows.items() if at.date() <= last}
        return settled, {at: row for at, row in rows.items() if at.date() > last}

    def _compare(self, ours, theirs) -> None:
        self.verdict.compared += len(ours.keys() | theirs.keys())
        for at in theirs.keys() - ours.keys():
            if at.date() >= self.covered_from:
                self.verdict.missing[at] = theirs[at]
        for at in ours.keys() - theirs.keys():
            self.verdict.extra[at] = ours[at]
        for at in ours.keys() & theirs.keys():
            if ours[at] != theirs[at]:
                self.verdict.different[at] = (ours[at], theirs[at])

    def _judge_gone(self, gone) -> None:
        """What left the broker is as it was served last, in the shares of today."""
        for last, rows in self._by_last_served(gone):
            if last is None:
                self.verdict.not_judged += len(rows)
                continue
            day = min(rows).date()
            served, _ = self.served(day, last)
            self.verdict.compared += len(rows)
            self.verdict.lost += sum(
                min(rows) < at < max(rows) for at in served.keys() - rows.keys()
            )
            for at, row in rows.items():
                if at not in served:
                    self.verdict.extra[at] = row
                elif not self._follows(row, served[at], last):
                    self.verdict.different[at] = (row, served[at])

    def _by_last_served(
        self, gone
    ) -> Iterator[tuple[datetime | None, dict[datetime, Row]]]:
        """A few days at a time: what is read at once was served at once."""
        by_day: dict[date, dict[datetime, Row]] = {}
        for at, row in sorted(gone.items()):
            by_day.setdefault(at.date(), {})[at] = row
        days = sorted(by_day)
        for first in range(0, len(days), 5):
            chunk = days[first : first + 5]
            last = self.facts.last_served(self.stock_code, self.timeframe, chunk[0])
            rows = {at: row for day in chunk for at, row in by_day[day].items()}
            yield (min(last, self.now) if last else None), rows

    def _follows(self, ours: Row, theirs: Row, last: datetime) -> bool:
        """Whether ours is theirs of then, moved by the actions that showed since."""
        factor, slack = 1.0, 0.0
        for shown_at, ratio in self.facts.actions(self.stock_code, self.timeframe):
            if shown_at <= self.now and shown_at > last - 30 * DAY:
                slack = slack / ratio + 0.5 + 0.5 / ratio
                factor *= ratio if shown_at > last else 1
        if not slack:
            return ours == theirs

        def near(found, right):
            return abs(found - right) <= 0.5 + slack + right * RATIO_ERROR

        prices = all(
            near(a, max(1, b / factor))
            for a, b in zip(ours[:4], theirs[:4], strict=True)
        )
        shares = 1 if self.timeframe.endswith("m") else factor
        return prices and near(ours.volume, theirs.volume * shares)


def sessions_of(engine) -> Sessions:
    """The calendar that the database has."""
    with engine.connect() as connection:
        rows = connection.execute(SESSIONS).all()
    return Sessions(
        {
            day: (opens.astimezone(SEOUL).time(), closes.astimezone(SEOUL).time())
            for day, opens, closes in rows
        }
    )


def over_http(base_url: str) -> Post:
    """Requests to a broker that is running."""
    http = requests.Session()
    http.headers["User-Agent"] = "tradesmart-judge"

    def post(path, headers, body):
        reply = http.post(f"{base_url}{path}", json=body, headers=headers, timeout=30)
        return dict(reply.headers), reply.content

    return post


def main(arguments: list[str]) -> int:
    """Judge the database at DATABASE_URL."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("broker", help="its base URL")
    parser.add_argument("--app-key", default="simulated-app-key")
    parser.add_argument("--secret-key", default="simulated-secret-key")
    parser.add_argument(
        "--now", help="the broker's instant, in Seoul: 2026-11-20T21:00"
    )
    options = parser.parse_args(arguments)
    now = datetime.now(UTC)
    if options.now:
        now = datetime.fromisoformat(options.now).replace(tzinfo=SEOUL)
    url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+pg8000://")
    engine = create_engine(url)
    broker = Broker(
        over_http(options.broker),
        options.app_key,
        options.secret_key,
        sessions_of(engine),
    )
    judgement = judge(broker, engine, now)
    print(judgement)
    return 1 if judgement.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
