"""Two refreshers with one app key, at a broker whose second token ends the first.

Pushes are as the cloud makes them; only the back-off of a message is shorter.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import timedelta
from threading import Event, Thread

import pytest
import requests

from functions.token_refresher.refresh import TokenKeeper
from infra.local.broker.server import APP_KEY, SECRET_KEY
from infra.local.stack import Stack
from shared.errors import PipelineError
from shared.kiwoom.auth import TokenIssuer
from shared.kiwoom.wire import new_http_session
from shared.messages import TokenRequest
from tests.chaos.processes import impatient
from tests.e2e.conftest import Pipeline, options, until
from tests.support import servers
from tests.support.fakes import FakeVault

TURN = timedelta(seconds=4)
STOCKS = ["005490", "055550", "015760", "096770"]


class Rival:
    """Another program with our app key and a vault of its own, built of our code.

    It uses its token twice a second, and has it replaced whenever it was refused.
    """

    def __init__(self, stack):
        self.url = stack.base_url
        self.clock = stack.clock
        self.vault = FakeVault()
        self.told = []
        self.used = Counter()
        self.over = Event()
        self.keeper = TokenKeeper(
            lambda: (APP_KEY, SECRET_KEY),
            TokenIssuer(new_http_session(), self.url, self.clock),
            self.vault,
            self.told.append,
            TURN,
        )
        self.thread = Thread(target=self.work)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def work(self):
        refused_at = self.clock()
        while not self.over.wait(0.5):
            if not self.works():
                refused_at = refused_at or self.clock()
                self.refresh(refused_at)
            else:
                refused_at = None

    def works(self):
        token = self.vault.token
        if token is None:
            return False
        headers = {"api-id": "ka10081", "authorization": f"Bearer {token.value}"}
        body = {"stk_cd": STOCKS[0], "base_dt": "20261120", "upd_stkpc_tp": "1"}
        reply = requests.post(
            f"{self.url}/api/dostk/chart", json=body, headers=headers, timeout=10
        )
        accepted = reply.json()["return_code"] == 0
        self.used[accepted] += 1
        return accepted

    def refresh(self, refused_at):
        now = self.vault.now = self.clock()
        version = self.vault.token and self.vault.token.version
        request = TokenRequest(reason="token_rejected", rejected_version=version)
        try:
            self.keeper.refresh(request, refused_at, now)
        except PipelineError as error:
            self.used[error.error_code] += 1


@pytest.fixture(scope="module")
def pipeline():
    before = os.environ.pop("PUBSUB_EMULATOR_HOST", None)
    settings = options(RATE="off", NOW="2026-11-20T10:30")
    environ = {"TOKEN_TURN_SECONDS": f"{TURN.total_seconds():.0f}"}
    with (
        servers.open_directory() as directory,
        Stack(
            settings,
            directory,
            durable=False,
            pipeline=impatient(),
            environ=environ,
        ) as stack,
    ):
        stack.publish("tokens", b'{"reason":"test"}')
        until(lambda: stack.secrets.count("kiwoom-token"), "a token is there")
        yield Pipeline(stack)
    os.environ.pop("PUBSUB_EMULATOR_HOST", None)
    if before:
        os.environ["PUBSUB_EMULATOR_HOST"] = before


def events(pipeline):
    log = (pipeline.stack.logs / "token_refresher.log").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return Counter((line.get("event"), line.get("error_code")) for line in lines)


def test_a_broker_without_a_token_is_asked_again_by_the_same_request(pipeline):
    """More often than a token is issued without waiting; no request is a dead letter."""
    stored = pipeline.stack.secrets.count("kiwoom-token")
    pipeline.stack.secrets.destroy("kiwoom-token")
    pipeline.scenario(faults=[{"kind": "null_token", "times": 4}])

    pipeline.stack.publish("tokens", b'{"reason":"test"}')

    until(
        lambda: pipeline.stack.secrets.count("kiwoom-token") > stored,
        "a token is stored",
    )
    seen = events(pipeline)
    assert seen["will_retry", "kiwoom_unavailable"] == 4
    assert seen["will_retry", "token_not_issued"] > 0
    assert not any(event == "dead_letter" for event, _ in seen)


def test_two_refreshers_with_one_app_key_both_get_their_work_done(pipeline):
    message = {"mode": "rebuild", "timeframe": "1d", "stocks": STOCKS}
    stored = pipeline.stack.secrets.count("kiwoom-token")
    pipeline.scenario(second_token_kills_first=True)

    with Rival(pipeline.stack) as rival:
        until(lambda: rival.used[True], "the rival has taken the token")
        runs = [
            pipeline.stack.trigger(json.dumps(message | {"timeframe": frame}).encode())
            for frame in ("5m", "1d", "1w")
        ]
        for run_id in runs:
            pipeline.settled(run_id)
        until(lambda: rival.used[False], "the rival has lost a token")
    pipeline.scenario(second_token_kills_first=False)

    states = Counter(task[2] for run_id in runs for task in pipeline.tasks(run_id))
    assert states == {"done": 3 * len(STOCKS)}
    assert pipeline.stack.secrets.count("kiwoom-token") > stored
    assert rival.told
    seen = events(pipeline)
    assert seen["token_contested", None] > 0
    assert not any(event == "dead_letter" for event, _ in seen)
