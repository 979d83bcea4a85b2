"""The pipeline in one process: real client, real PostgreSQL, simulated broker.

Nothing travels over a socket but SQL, and time stands where the test puts it.
"""

from __future__ import annotations

import itertools
import json
from collections import deque
from datetime import UTC, datetime, timedelta
from io import BytesIO

import requests
from requests.adapters import BaseAdapter
from sqlalchemy import text

from functions.collector.collect import collect
from functions.dispatcher.dispatch import TriggerMessage, dispatch
from functions.reference_sync.reference_data import bundled_calendar
from infra import topology
from infra.local.broker.broker import Answer, Broker, Limit
from infra.local.broker.faults import Fault, Kind
from infra.local.broker.market import MINUTE_RETENTION
from infra.local.broker.scenario import TIMEFRAMES
from infra.local.broker.views import (
    CorporateAction,
    Correction,
    Delisting,
    Phantom,
    RedatedWeek,
    Withdrawal,
)
from shared.candles import Timeframe
from shared.database.candle_store import CandleStore
from shared.database.rate_slots import NoLimit
from shared.database.run_ledger import RunLedger, run_id_of
from shared.database.stock_store import StockStore
from shared.database.task_ledger import TaskLedger
from shared.freshness import DueTimes
from shared.kiwoom.auth import TokenIssuer
from shared.kiwoom.charts import KiwoomCandles
from shared.kiwoom.client import KiwoomClient
from shared.kiwoom.wire import new_http_session
from shared.messages import CollectRequest
from shared.sessions import KST, midnight
from tests.support import judge
from tests.support.broker_client import ENTRIES, a_market
from tests.support.builders import day, kst

CALENDAR = bundled_calendar()
TICKS = topology.ticks(topology.load())
JUDGES_CALENDAR = judge.Sessions(CALENDAR.sessions)
URL = "https://api.kiwoom.com"
STOCK = "005930"
ALL = [timeframe.value for timeframe in Timeframe]


class InProcessTransport(BaseAdapter):
    """Carries requests to a broker in the same process."""

    def __init__(self, harness):
        super().__init__()
        self.harness = harness

    def send(self, request, **_):
        path = request.path_url
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = request.body if isinstance(request.body, bytes) else b""
        self.harness.sees(headers, body)
        answer = answered(self.harness.broker, path, headers, body)
        self.harness.step("answered")
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


def answered(broker, path, headers, body):
    """The broker's answer, however long it takes."""
    answer = broker.handle(path, headers, body)
    return answer if isinstance(answer, Answer) else answer()


class Token:
    """One token that stays: tokens are not what these tests are about."""

    def __init__(self, harness):
        issuer = TokenIssuer(harness.http, URL, lambda: harness.now)
        self.token = issuer.issue("app-key", "app-secret")

    def current(self):
        return self.token

    def replacement(self, _):
        return None


class PipelineHarness:
    """Everything, at one moment; move ``now`` to let time go by.

    ``halts`` are the first and the last day without trading, ``levels`` prices and
    ``thin`` the share of slots with trades, by stock.
    """

    def __init__(
        self,
        engine,
        now,
        *,
        halts=None,
        levels=None,
        thin=None,
        retention=MINUTE_RETENTION,
        calendar=CALENDAR,
        seed=7,
        engine_of=None,
    ):
        self.engine = engine
        # Each function has the rights of its own account, if there are accounts.
        collector, dispatcher = (
            engine_of(role) if engine_of else engine
            for role in ("collector", "dispatcher")
        )
        self.now = kst(now)
        self.retention = retention
        self.calendar = calendar
        # Prices do not depend on the harness: they are made once for all of them.
        items = (tuple((given or {}).items()) for given in (halts, levels, thin))
        market = a_market(seed, *items, retention)
        self.broker = Broker(
            market,
            ENTRIES,
            {"app-key": "app-secret"},
            Limit(None, lambda: 0.0),
            lambda: self.now,
        )
        self.step = lambda _: None
        self.http = new_http_session()
        self.http.mount(URL, InProcessTransport(self))
        self.ledger = RunLedger(dispatcher)
        self.tasks = TaskLedger(collector)
        self.store = CandleStore(collector, lambda: calendar)
        self.stocks = StockStore(dispatcher)
        self.queue = deque()
        self.ids = itertools.count(1)
        # When the newest page of a series was read, before and after it was stored.
        self._read, self._stored = {}, {}

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
        due = DueTimes(self.calendar, TICKS)
        dispatch(message, self.stocks, self.ledger, self.publish, due, self.now)
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
        self._note(json.loads(message))
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

    def publish_what_was_left(self):
        """Publish runs that were written down more than a minute ago, but never sent."""
        self.query("UPDATE runs SET written_at = written_at - interval '2 minutes'")
        for run_id, messages in self.ledger.unpublished_runs().items():
            self.publish(messages, run_id)
            self.ledger.mark_published(run_id)

    def release_leases(self):
        """Let no one wait for an instance that is gone."""
        self.query("UPDATE series SET leased_until = NULL, leased_by = NULL")

    def at(self, now):
        """Let it be another instant, in Seoul."""
        self.now = kst(now)

    def fails(self, kind, **fields):
        """Let the broker show a fault; how often it did is in ``shown``."""
        fault = Fault(kind=Kind(kind), **fields)
        self.broker.faults = [*self.broker.faults, fault]
        return fault

    def recovers(self):
        """No fault is left."""
        self.broker.faults = []

    def acts(self, stock_code, date, ratio, *, shown_from=None, **schedule):
        """A corporate action takes effect; the broker adjusts ``shown_from`` on."""
        if isinstance(shown_from, str):
            shown_from = dict.fromkeys(TIMEFRAMES, shown_from)
        schedule["shown_from"] = {t: kst(at) for t, at in (shown_from or {}).items()}
        if schedule.get("rest_from"):
            schedule["rest_from"] = kst(schedule["rest_from"])
        actions = self.broker.disclosures.actions.setdefault(stock_code, [])
        actions.append(CorporateAction(day(date), ratio, **schedule))

    def corrects(self, timeframe, at, changes, **more):
        """The broker adds changes to the columns of a candle."""
        edit = self._edit(timeframe, at, **more)
        self.broker.disclosures.corrections.append(Correction(changes=changes, **edit))

    def withdraws(self, timeframe, at, *, through=None, **more):
        """The broker no longer serves a candle."""
        edit = self._edit(timeframe, at, **more)
        edit["through"] = through and kst(through)
        self.broker.disclosures.withdrawals.append(Withdrawal(**edit))

    def invents(self, timeframe, at, *, price=None, volume=100, **more):
        """The broker serves a candle that never was."""
        edit = self._edit(timeframe, at, **more) | {"price": price, "volume": volume}
        self.broker.disclosures.phantoms.append(Phantom(**edit))

    def redates(self, week, shown_on, *, since=None, until=None, stock=STOCK):
        """The broker dates a week by another day."""
        self.broker.disclosures.redated_weeks.append(
            RedatedWeek(
                stock_code=stock,
                week=day(week),
                shown_on=day(shown_on),
                since=since and kst(since),
                until=until and kst(until),
            )
        )

    def delists(self, since, until=None, *, stock=STOCK, **more):
        """A stock leaves the exchange, and may come back."""
        more = {name: day(value) for name, value in more.items()}
        self.broker.disclosures.delistings.append(
            Delisting(
                stock_code=stock, since=kst(since), until=until and kst(until), **more
            )
        )

    def _edit(self, timeframe, at, *, since=None, until=None, alone=False, stock=STOCK):
        return {
            "stock_code": stock,
            "timeframe": timeframe,
            "at": kst(at),
            "since": since and kst(since),
            "until": until and kst(until),
            "alone": alone,
        }

    def sees(self, headers, body):
        """Note when the newest page of a series is read."""
        fields = json.loads(body or b"{}")
        newest = fields.get("base_dt", "") >= f"{self.now.astimezone(KST):%Y%m%d}"
        if newest and headers.get("cont-yn") != "Y":
            self._read[fields["stk_cd"], _timeframe(headers, fields)] = self.now

    def _note(self, request):
        series = request["stock_code"], request["timeframe"]
        if series in self._read:
            self._stored[series] = self._read.pop(series)

    def judge(self):
        """Compare every row with the broker's, by other code than the pipeline's."""
        facts = judge.Facts(
            self._stored, self._last_served, self._delisted_since, self._actions
        )
        return judge.judge(self._judges_broker(), self.engine, self.now, facts)

    def _judges_broker(self):
        def post(path, headers, body):
            data = json.dumps(body).encode()
            answer = answered(self.broker, path, headers, data)
            return answer.headers, answer.body

        return judge.Broker(post, "app-key", "app-secret", JUDGES_CALENDAR)

    def _last_served(self, stock_code, timeframe, date):
        ends = []
        if timeframe.endswith("m"):
            ends.append(midnight(date + self.retention))
        for delisting in self.broker.disclosures.delistings:
            begins = delisting.serves_from
            if delisting.stock_code == stock_code and begins and date < begins:
                ends.append(delisting.since)
        return min(ends) - timedelta(seconds=1) if ends else None

    def _delisted_since(self, stock_code):
        gone = [
            delisting.since
            for delisting in self.broker.disclosures.delistings
            if delisting.stock_code == stock_code and delisting.holds(self.now)
        ]
        return min(filter(None, gone), default=None)

    def _actions(self, stock_code, timeframe):
        return [
            (
                max(
                    midnight(action.effective_on),
                    action.shown_from.get(timeframe, midnight(action.effective_on)),
                    action.rest_from or midnight(action.effective_on),
                ),
                action.ratio,
            )
            for action in self.broker.disclosures.actions.get(stock_code, [])
        ]

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

    def truth(self, timeframe, start, stock_code=STOCK):
        """The candles the broker has now, read by the judge."""
        broker = self._judges_broker()
        rows, _ = broker.rows(stock_code, timeframe, day(start[:10]), self.now)
        return {at: (*row, False) for at, row in rows.items() if at >= kst(start)}

    def query(self, statement, **values):
        with self.engine.begin() as connection:
            result = connection.execute(text(statement), values)
            return [tuple(row) for row in result] if result.returns_rows else []


def _timeframe(headers, fields):
    days = {"ka10081": "1d", "ka10082": "1w"}
    return days.get(headers["api-id"]) or f"{fields['tic_scope']}m"
