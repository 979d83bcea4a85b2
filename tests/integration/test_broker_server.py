"""The simulated broker as a process, asked by the real client over real HTTP."""

from __future__ import annotations

import sys
import time

import pytest
import requests

from infra.local.broker.server import APP_KEY, SECRET_KEY
from infra.local.processes import Child, free_port
from infra.local.stack import ROOT, _environ
from shared.candles import Timeframe
from shared.database.rate_slots import NoLimit
from shared.errors import KiwoomRejected, KiwoomUnavailable, TokenRejected
from shared.kiwoom.auth import TokenIssuer
from shared.kiwoom.charts import KiwoomCandles
from shared.kiwoom.client import KiwoomClient
from shared.kiwoom.wire import new_http_session
from shared.pages import ChartQuery
from tests.support.builders import CALENDAR, kst

NOW = kst("2026-11-20 10:30")


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    port = free_port()
    offset = NOW.timestamp() - time.time()
    child = Child(
        "broker",
        [
            *(sys.executable, "-m", "infra.local.broker.server", "--no-limit"),
            *("--port", str(port), f"--clock-offset={offset}"),
        ],
        log=tmp_path_factory.mktemp("broker") / "broker.log",
        environ=_environ(),
        cwd=ROOT,
    )
    child.wait_for_port(port)
    yield f"http://127.0.0.1:{port}"
    child.stop()


class Tokens:
    def __init__(self, token):
        self.token = token

    def current(self):
        return self.token

    def replacement(self, _):
        return None


@pytest.fixture
def http():
    with new_http_session() as session:
        yield session


@pytest.fixture
def token(http, url):
    return TokenIssuer(http, url, lambda: NOW).issue(APP_KEY, SECRET_KEY)


@pytest.fixture
def candles(http, url, token):
    client = KiwoomClient(http, url, Tokens(token), NoLimit(), lambda _: None)
    return KiwoomCandles(client)


@pytest.fixture
def scenario(url):
    def play(**scenario):
        requests.post(f"{url}/simulator/scenario", json=scenario, timeout=5)

    yield play
    play(faults=[])


class Counter:
    """Counts requests."""

    def __init__(self):
        self.count = 0

    def before_request(self):
        """The request may go on."""

    def request_sent(self):
        self.count += 1


def read(candles, timeframe, oldest, counter=None):
    query = ChartQuery(
        stock_code="005930", timeframe=Timeframe(timeframe), anchor=NOW.date()
    )
    found, cursor = [], None
    while not found or found[-1].opened_at > kst(oldest):
        page = candles.page(query, cursor=cursor, calendar=CALENDAR, observer=counter)
        found += page.candles
        cursor = page.cursor
        assert cursor or page.oldest <= kst(oldest)
    return found


@pytest.mark.parametrize(
    ("timeframe", "oldest", "requests_needed"),
    [
        ("5m", "2026-10-20 09:00", 4),
        ("30m", "2026-05-20 09:00", 3),
        ("60m", "2025-12-01 09:00", 3),
        ("1d", "2023-11-20", 2),
        ("1w", "2017-01-02", 1),
    ],
)
def test_the_client_reads_every_timeframe(candles, timeframe, oldest, requests_needed):
    counter = Counter()

    found = read(candles, timeframe, oldest, counter)

    assert found[-1].opened_at <= kst(oldest)
    assert counter.count == requests_needed


def test_a_connection_is_kept_alive(candles, url, http):
    read(candles, "1d", "2026-11-01")
    read(candles, "1d", "2026-11-01")

    pools = http.get_adapter(url).poolmanager.pools
    keys = list(pools.keys())
    assert [pools[key].num_connections for key in keys] == [1]


@pytest.mark.parametrize("kind", ["reset", "truncated", "html", "server_error"])
def test_a_fault_of_the_wire_is_survived_once_and_told_when_it_stays(
    candles, scenario, kind
):
    scenario(faults=[{"kind": kind, "times": 1}])
    assert read(candles, "1d", "2026-11-16")

    scenario(faults=[{"kind": kind}])
    with pytest.raises(KiwoomUnavailable):
        read(candles, "1d", "2026-11-16")


def test_a_token_that_dies_early_is_noticed(candles, scenario):
    scenario(faults=[{"kind": "token_dies", "times": 1}])

    with pytest.raises(TokenRejected):
        read(candles, "1d", "2026-11-16")


def test_wrong_keys_are_told(http, url):
    with pytest.raises(KiwoomRejected, match="8001"):
        TokenIssuer(http, url, lambda: NOW).issue(APP_KEY, "wrong")
