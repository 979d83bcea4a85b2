"""A client of the simulated broker in the same process, without the pipeline's code."""

from __future__ import annotations

import json
from functools import lru_cache

from infra.local.broker.broker import AS_OF, Answer, Broker, Limit
from infra.local.broker.days import GeneratedDays
from infra.local.broker.market import Market
from infra.local.broker.master import simulated
from tests.support.builders import CALENDAR, kst

KEYS = {"app-key": "app-secret"}
ENTRIES = simulated()
# Request, list and instant of each timeframe's rows.
CHARTS = {
    "5m": ("ka10080", {"tic_scope": "5"}, "stk_min_pole_chart_qry", "cntr_tm"),
    "30m": ("ka10080", {"tic_scope": "30"}, "stk_min_pole_chart_qry", "cntr_tm"),
    "60m": ("ka10080", {"tic_scope": "60"}, "stk_min_pole_chart_qry", "cntr_tm"),
    "1d": ("ka10081", {}, "stk_dt_pole_chart_qry", "dt"),
    "1w": ("ka10082", {}, "stk_stk_pole_chart_qry", "dt"),
}


@lru_cache(maxsize=64)
def a_market(seed=7, halts=(), levels=(), thin=(), retention=None):
    """A market, with all that it has generated so far; mappings come as items."""
    days = GeneratedDays(seed, CALENDAR, ENTRIES, dict(halts), dict(levels))
    kept = {"retention": retention} if retention else {}
    return Market(days, CALENDAR, seed=seed, thin=dict(thin), **kept)


class BrokerClient:
    """Asks the broker as its HTTP server does."""

    def __init__(self, market=None, limit=None, **more):
        self.now = kst("2026-11-20 21:00")
        self.seconds = 0.0
        self.broker = Broker(
            market or a_market(),
            ENTRIES,
            KEYS,
            Limit(limit, lambda: self.seconds),
            lambda: self.now,
            **more,
        )
        self.token = self.issue()["token"]

    def issue(self, app_key="app-key", secret_key="app-secret"):
        body = {"grant_type": "client_credentials", "appkey": app_key}
        return self.post("/oauth2/token", {}, body | {"secretkey": secret_key})[0]

    def post(self, path, headers, body):
        answer = self.broker.handle(path, headers, json.dumps(body).encode())
        if not isinstance(answer, Answer):
            answer = answer()
        self.status = answer.status
        return json.loads(answer.body), answer.headers

    def call(self, api_id, body, next_key="", path="/api/dostk/chart", **more):
        token = more.pop("token", self.token)
        headers = {"api-id": api_id, "authorization": f"Bearer {token}"} | more
        if next_key:
            headers |= {"cont-yn": "Y", "next-key": next_key}
        return self.post(path, headers, body)

    def listing(self, market="0", next_key=""):
        """A page of the stock list, and its headers."""
        body = {"mrkt_tp": market}
        body, headers = self.call("ka10099", body, next_key, "/api/dostk/stkinfo")
        return body["list"], headers

    def page(self, timeframe, next_key="", base=None, stock="005930", as_of=None):
        """The rows of a page, and its headers."""
        api_id, extra, name, _ = CHARTS[timeframe]
        body = {"stk_cd": stock, "upd_stkpc_tp": "1"} | extra
        body["base_dt"] = (base or f"{self.now:%Y-%m-%d}").replace("-", "")
        more = {AS_OF: kst(as_of).isoformat()} if as_of else {}
        answer, headers = self.call(api_id, body, next_key, **more)
        return answer[name], headers

    def row(self, timeframe, at, **more):
        """The row that opens at an instant, as numbers; None if it is not served."""
        opened = CHARTS[timeframe][3]
        digits = f"{kst(at):%Y%m%d%H%M%S}"
        for row in self.page(timeframe, **more)[0]:
            if row[opened].ljust(14, "0") == digits:
                names = ("open_pric", "high_pric", "low_pric", "cur_prc", "trde_qty")
                return tuple(abs(int(row[name])) for name in names)
        return None

    def at(self, now):
        """Let it be another instant."""
        self.now = kst(now)
        self.token = self.issue()["token"]

    def scenario(self, **scenario):
        return self.post("/simulator/scenario", {}, scenario)[0]
