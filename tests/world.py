"""The pipeline in one process: real client, real PostgreSQL, simulated broker.

Nothing travels over a socket but SQL, and time stands where the test puts it.
"""

from __future__ import annotations

import itertools
import json
from collections import deque
from datetime import UTC, datetime
from functools import lru_cache
from io import BytesIO

import requests
from requests.adapters import BaseAdapter
from sqlalchemy import text

from functions.collector.collect import collect
from functions.dispatcher.dispatch import TriggerMessage, dispatch
from functions.reference_sync.reference_data import bundled_calendar
from infra.local.broker.broker import Answer, Broker, Limit
from infra.local.broker.market import CorporateAction, GeneratedDays, Market
from infra.local.broker.master import simulated
from shared.candles import Timeframe
from shared.database.candle_store import CandleStore
from shared.database.rate_slots import NoLimit
from shared.database.run_ledger import RunLedger, run_id_of
from shared.database.stock_store import StockStore
from shared.database.task_ledger import TaskLedger
from shared.kiwoom.auth import TokenIssuer
from shared.kiwoom.charts import CHARTS, KiwoomCandles
from shared.kiwoom.client import KiwoomClient
from shared.kiwoom.wire import new_http_session
from shared.messages import CollectRequest
from shared.pages import ChartQuery
from shared.sessions import KST
from tests.support.builders import day, kst

CALENDAR = bundled_calendar()
MASTER = simulated()
URL = "https://api.kiwoom.com"
ALL = [timeframe.value for timeframe in Timeframe]


class Wire(BaseAdapter):
    """Carries requests to a broker in the same process."""

    def __init__(self, world):
        super().__init__()
        self.world = world

    def send(self, request, **_):
        path = request.path_url
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = request.body if isinstance(request.body, bytes) else b""
        answer = self.world.broker.handle(path, headers, body)
        if not isinstance(answer, Answer):
            answer = answer()
        self.world.step("answered")
        if answer.fault is not None:
            raise requests.ConnectionError
        response = requests.Response()
        response.status_code = answer.status
        response.headers.update(answer.headers)
        response.raw = BytesIO(answer.body)
        response.request, response.url = request, request.url
        return response

    def close(self):
        """Nothing is open."""


class Token:
    """One token for good: tokens are not what these tests are about."""

    def __init__(self, world):
        issuer = TokenIssuer(world.http, URL, lambda: world.now)
        self.token = issuer.issue("app-key", "app-secret")

    def current(self):
        return self.token

    def replacement(self, _):
        return None


@lru_cache
def market_of(seed, halts):
    """A market, with all that it has generated so far."""
    days = GeneratedDays(seed, CALENDAR, MASTER, dict(halts))
    return Market(days, CALENDAR, seed=seed)


class World:
    """Everything, at one moment; move ``now`` to let time go by."""

    def __init__(self, engine, now, *, halts=None, seed=7):
        self.engine = engine
        self.now = kst(now)
        self.actions = {}
        # Prices do not depend on the world: they are made once for all of them.
        market = market_of(seed, tuple((halts or {}).items()))
        market.actions = self.actions
        self.broker = Broker(
            market,
            MASTER,
            {"app-key": "app-secret"},
            Limit(None, lambda: 0.0),
            lambda: self.now,
        )
        self.step = lambda _: None
        self.http = new_http_session()
        self.http.mount(URL, Wire(self))
        self.ledger = RunLedger(engine)
        self.tasks = TaskLedger(engine)
        self.store = CandleStore(engine, lambda: CALENDAR)
        self.stocks = StockStore(engine)
        self.queue = deque()
        self.ids = itertools.count(1)
        self._token = None

    def source(self):
        # A token lives a day, and time here makes leaps.
        client = KiwoomClient(self.http, URL, Token(self), NoLimit(), lambda _: None)
        return KiwoomCandles(client)

    def publish(self, messages, run_id):
        self.queue.extend(messages)

    def trigger(self, timeframes, stocks=("005930",), message_id=None, **fields):
        """Deliver a trigger to the dispatcher."""
        message_id = message_id or str(next(self.ids))
        fields |= {"timeframes": list(timeframes), "stocks": list(stocks)}
        run_id = run_id_of(message_id)
        message = TriggerMessage(
            run_id=run_id,
            message_id=message_id,
            data=json.dumps(fields).encode(),
            published_at=datetime.now(UTC),
        )
        dispatch(message, self.stocks, self.ledger, self.publish, CALENDAR, self.now)
        return run_id

    def deliver(self, message):
        """Deliver a request to the collector."""
        outcome = collect(
            CollectRequest.from_bytes(message),
            self.source(),
            self.tasks,
            self.store,
            lambda: self.now,
        )
        follow_up = outcome.stored.follow_up if outcome.stored else None
        if follow_up:
            self.publish(follow_up.messages, follow_up.run_id)
            self.ledger.mark_published(follow_up.run_id)
        return outcome

    def work(self):
        """Deliver until nothing is left."""
        return [self.deliver(self.queue.popleft()) for _ in iter(self.queue.__len__, 0)]

    def tick(self, *timeframes, **fields):
        """A trigger, and all that follows from it."""
        self.trigger(timeframes or ALL, **fields)
        return self.work()

    def acts(self, stock_code, date, ratio):
        """A corporate action takes effect."""
        actions = self.actions.setdefault(stock_code, [])
        actions.append(CorporateAction(day(date), ratio))

    def asked(self):
        """Requests for charts so far."""
        return sum(
            n for api_id, n in self.broker.requests.items() if api_id != "au10001"
        )

    def stored(self, timeframe, stock_code="005930"):
        """The candles we have, by their opening in Seoul."""
        rows = self.query(
            "SELECT opened_at, open, high, low, close, volume, turnover, session, rescaled"
            " FROM candles WHERE stock_code = :s AND timeframe = :t",
            s=stock_code,
            t=timeframe,
        )
        return {row[0].astimezone(KST): row[1:] for row in rows}

    def truth(self, timeframe, start, stock_code="005930"):
        """The candles the broker has now, read in one go from today."""
        source = self.source()
        query = ChartQuery(
            stock_code=stock_code,
            timeframe=Timeframe(timeframe),
            anchor=self.now.date(),
        )
        found, cursor = {}, None
        while True:
            page = source.page(query, cursor=cursor, calendar=CALENDAR)
            cursor = page.cursor
            for c in page.candles:
                found[c.opened_at] = (
                    *(c.open, c.high, c.low, c.close, c.volume, c.turnover),
                    *(c.session.value, False),
                )
            if page.is_last or page.oldest < kst(start):
                break
        return {at: values for at, values in found.items() if at >= kst(start)}

    def query(self, statement, **values):
        with self.engine.begin() as connection:
            result = connection.execute(text(statement), values)
            return [tuple(row) for row in result] if result.returns_rows else []


def pages_of(timeframe):
    """How many rows one request brings."""
    return CHARTS[Timeframe(timeframe)].page_size
