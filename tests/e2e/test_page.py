"""The page in a browser on the whole stack: a fault of the broker comes and goes."""

from __future__ import annotations

import json
import os

import pytest

from infra.local.stack import Stack
from tests.chaos.processes import impatient
from tests.e2e.conftest import Pipeline, options, until
from tests.support import servers

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
browsers = pytest.importorskip("tests.support.browsers")

STOCKS = ["005930", "000660", "035720"]
# What makes one page a stock.
SHORT = {"5m": "10d", "30m": "1m", "60m": "1m", "1d": "6m", "1w": "2y"}
TICKS = b'{"timeframes":["5m","30m"]}'
OF_TICKS = "timeframe IN ('5m', '30m')"
AGE = (
    "UPDATE series SET asked_at = asked_at - interval '8 minutes'"
    f" WHERE {OF_TICKS} RETURNING 1"
)
UNASKED = f"SELECT 1 FROM series WHERE {OF_TICKS} AND asked_at < '2026-11-20 10:35+09'"
# Milliseconds from one question of the page to the next.
POLL = 15_000


@pytest.fixture(scope="module")
def pipeline():
    """Three targets in all timeframes, loaded at 10:37: nothing is late."""
    before = os.environ.pop("PUBSUB_EMULATOR_HOST", None)
    settings = options(RATE="off", NOW="2026-11-20T10:37", PUSH="steady")
    with (
        servers.open_directory() as directory,
        Stack(settings, directory, durable=False, pipeline=impatient()) as stack,
    ):
        pipeline = Pipeline(stack)
        stack.publish("tokens", b'{"reason":"test"}')
        until(lambda: stack.secrets.count("kiwoom-token"), "a token is there")
        pipeline.query(
            "UPDATE stocks SET is_target = stock_code = ANY(:codes) RETURNING 1",
            codes=STOCKS,
        )
        for frame, period in SHORT.items():
            load = {"timeframe": frame, "stocks": STOCKS, "period": period}
            pipeline.run(json.dumps(load))
        yield pipeline
    os.environ.pop("PUBSUB_EMULATOR_HOST", None)
    if before:
        os.environ["PUBSUB_EMULATOR_HOST"] = before


def test_a_fault_of_the_broker_is_late_within_one_tick_and_gone_after_the_next(
    pipeline,
):
    stack = pipeline.stack
    url = f"http://127.0.0.1:{stack.ports['status_page']}"
    with browsers.chromium() as browser:
        page = browser.new_page(locale="ko-KR")
        page.clock.install()
        page.goto(url)
        answer = page.locator("#answer")
        playwright.expect(answer).to_contain_text("데이터가 다 있나요? 예")

        pipeline.scenario(faults=[{"kind": "server_error"}])
        # As if eight minutes had passed: what ended at 10:30 was due at 10:32 and 10:35.
        pipeline.query(AGE)
        run_id = stack.trigger(TICKS)
        failed = "SELECT 1 FROM tasks WHERE run_id = :run_id AND error_code IS NOT NULL"
        until(lambda: pipeline.query(failed, run_id=run_id), "an attempt fails")
        page.clock.run_for(POLL)

        playwright.expect(answer).to_contain_text("아니요")
        playwright.expect(answer).to_contain_text("6개 시리즈 지연")
        problems = page.locator("#problems")
        playwright.expect(problems).to_contain_text("kiwoom_unavailable")
        playwright.expect(problems).to_contain_text("증권사 장애인지")

        pipeline.scenario(faults=[])
        stack.trigger(TICKS)
        until(lambda: not pipeline.query(UNASKED), "the broker has answered")
        page.clock.run_for(POLL)
        playwright.expect(answer).to_contain_text("데이터가 다 있나요? 예")
        playwright.expect(problems).to_contain_text("문제가 없습니다")
