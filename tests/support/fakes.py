"""Stand-ins in memory, for what the use cases and the client talk to."""

from __future__ import annotations

import json
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING

import requests
from requests.adapters import BaseAdapter

from shared.errors import Busy, PipelineError
from shared.series import Attempt, Counts, Harvest, Series
from shared.sessions import DAY, KST, Calendar, midnight
from shared.tokens import AccessToken
from tests.support.builders import CALENDAR, kst

if TYPE_CHECKING:
    from shared.candles import Candle, RejectedRow
    from shared.messages import CollectRequest

TOKEN = AccessToken(
    value="top-secret-token",
    expires_at=kst("2026-11-21 08:00"),
    app_key_id="fingerprint",
    version="1",
)


class FakeWire(BaseAdapter):
    """Answers HTTP from a queue and remembers what was asked."""

    def __init__(self, *answers):
        super().__init__()
        self.answers = deque(answers)
        self.requests = []

    def send(self, request, **kwargs):
        self.requests.append(request)
        self.timeout = kwargs["timeout"]
        answer = self.answers.popleft()
        if isinstance(answer, Exception):
            raise answer
        body, status, headers = answer
        response = requests.Response()
        response.status_code = status
        response.headers.update(headers)
        response.raw = BytesIO(
            body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        response.request = request
        response.url = request.url
        return response

    def close(self):
        """Nothing is open."""


def reply(body, status=200, **headers):
    """An answer of the broker; header names have underscores here."""
    return (
        body,
        status,
        {name.replace("_", "-"): text for name, text in headers.items()},
    )


def rows_reply(name, rows, next_key=""):
    body = {"return_code": 0, "return_msg": "정상적으로 처리되었습니다", name: rows}
    return reply(body, cont_yn="Y" if next_key else "N", next_key=next_key)


def refusal(code, text="…", return_code=3, status=200):
    body = {"return_code": return_code, "return_msg": f"오류입니다[{code}:{text}]"}
    return reply(body, status)


class FakeTokens:
    """A token, and perhaps a newer one."""

    def __init__(self, newer=None):
        self.newer = newer

    def current(self):
        return TOKEN

    def replacement(self, rejected):
        return self.newer


class FakeThrottle:
    """Never waits; remembers who asked."""

    def __init__(self):
        self.waits = []
        self.slowed = []

    def wait(self, app_key_id, api_id):
        self.waits.append((app_key_id, api_id))

    def slow_down(self, app_key_id, api_id):
        self.slowed.append((app_key_id, api_id))


class FakeMeter:
    """Counts requests."""

    def __init__(self):
        self.count = 0

    def waiting(self):
        """Nobody waits here."""

    def sent(self):
        self.count += 1


@dataclass(frozen=True)
class FakePage:
    candles: tuple[Candle, ...] = ()
    rejected: tuple[RejectedRow, ...] = ()
    blank: bool = False
    last: bool = False
    oldest: datetime | None = None
    cursor: str | None = None


class FakeSource:
    """Pages from a list of candles, as the broker would cut them."""

    def __init__(self, candles=(), page_size=3, *, blank=False, fails_on_page=None):
        self.candles = sorted(
            candles, key=lambda candle: candle.opened_at, reverse=True
        )
        self.page_size = page_size
        self.blank = blank
        self.fails_on_page = fails_on_page
        self.asked = []

    def pages(self, stock_code, timeframe, *, anchor, calendar, meter, cursor=None):
        self.asked.append(anchor)
        mine = [
            candle
            for candle in self.candles
            if candle.timeframe == timeframe
            and candle.opened_at.astimezone(KST).date() <= anchor
        ]
        if self.blank or not mine:
            meter.waiting()
            meter.sent()
            yield FakePage(blank=True, last=True)
            return
        for number, start in enumerate(range(0, len(mine), self.page_size), start=1):
            meter.waiting()
            meter.sent()
            if number == self.fails_on_page:
                raise self.error
            cut = tuple(mine[start : start + self.page_size])
            last = start + self.page_size >= len(mine)
            yield FakePage(candles=cut, last=last, oldest=cut[-1].opened_at)


@dataclass
class FakeLedger:
    """One task of one series."""

    series: Series = field(default_factory=Series)
    listed: bool = True
    finished: bool = False
    busy: bool = False
    errors: list[PipelineError] = field(default_factory=list)
    kept: int = 0

    @contextmanager
    def attempt(self, request: CollectRequest):
        if self.busy:
            raise Busy("somebody else is at it")
        if self.finished:
            yield None
            return
        try:
            yield Attempt(
                request=request, owner="me", series=self.series, listed=self.listed
            )
        except PipelineError as error:
            self.errors.append(error)
            raise

    def keep(self, attempt, pages=()):
        self.kept += 1


class FakeStore:
    """Keeps what was harvested."""

    def __init__(self, calendar: Calendar = CALENDAR, known=()):
        self._calendar = calendar
        self.known = known
        self.harvests: list[Harvest] = []

    def calendar(self):
        return self._calendar

    def settled(self, attempt, first):
        return {
            candle.opened_at: candle
            for candle in self.known
            if candle.opened_at >= first
            and candle.opened_at < midnight(attempt.series.settled_through + DAY)
        }

    def known_slots(self, attempt, first, beyond):
        return {c.opened_at for c in self.known if first <= c.opened_at < beyond}

    def store(self, attempt, harvest):
        self.harvests.append(harvest)
        return Counts(inserted=len(harvest.candles))


class FakeVault:
    """Keeps a token."""

    def __init__(self, token=None):
        self.token = token
        self.puts = 0

    def stored(self):
        return self.token

    def put(self, token):
        self.token = replace(token, version="2")
        self.puts += 1


class FakeIssuer:
    """Issues tokens that live a day."""

    def __init__(self, now):
        self.now = now
        self.issued_for = []

    def issue(self, app_key, secret_key):
        self.issued_for.append((app_key, secret_key))
        return replace(TOKEN, expires_at=self.now + timedelta(hours=24))
