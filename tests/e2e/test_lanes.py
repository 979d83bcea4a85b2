"""Live work beside history, at the broker's limit, in small numbers; see tests/bench."""

from __future__ import annotations

import json
import os

import pytest

from infra.local.stack import Stack
from shared.lanes import Lane
from tests.bench import lanes, pipeline
from tests.e2e.conftest import options, until
from tests.support import servers

STOCKS = ["005930", "000660", "035720", "005380", "035420", "051910"]
# What makes one page a stock.
SHORT = {"5m": "10d", "1d": "6m", "1w": "2y"}
OTHERS = pipeline.market_stocks()[:40]


@pytest.fixture(scope="module")
def stack():
    before = os.environ.pop("PUBSUB_EMULATOR_HOST", None)
    settings = options(NOW="2026-11-20T10:30")
    with (
        servers.open_directory() as directory,
        Stack(settings, directory, durable=False) as stack,
    ):
        stack.publish("tokens", b'{"reason":"test"}')
        until(lambda: stack.secrets.count("kiwoom-token"), "a token is there")
        yield stack
    os.environ.pop("PUBSUB_EMULATOR_HOST", None)
    if before:
        os.environ["PUBSUB_EMULATOR_HOST"] = before


@pytest.fixture(scope="module")
def measured(stack):
    """Ticks of a few stocks, loaded before, beside backfills of some others."""
    loads = [
        {"timeframe": frame, "stocks": STOCKS, "period": period}
        for frame, period in SHORT.items()
    ]
    run_ids = [stack.trigger(json.dumps(load).encode()) for load in loads]
    pipeline.finished(stack, run_ids, len(SHORT))
    return lanes.ticks_beside_a_backfill(
        stack, rounds=3, stocks=OTHERS, targets=STOCKS, rest=2.0, warm=6.0
    )


@pytest.fixture
def slowdown(measured):
    """After a refusal the pace is halved: on a machine so busy that requests are late."""
    return 2 if measured["refused_with_429"] else 1


@pytest.mark.parametrize("timeframe", lanes.TICKS)
def test_a_tick_beside_a_backfill_takes_little_more_than_its_requests(
    measured, timeframe, slowdown
):
    tick = measured["ticks"][timeframe]

    assert tick["ticks"] == 3
    assert tick["requests"] == len(STOCKS)
    assert tick["p95_seconds"] <= slowdown * tick["allowed_seconds"]


def test_the_backfill_has_nearly_all_that_the_ticks_leave(measured, slowdown):
    # The weeks of forty stocks are over before the ticks are.
    kept = measured["backfill_keeps"]

    assert min(kept["minutes"], kept["days"]) >= 0.9 / slowdown


def test_what_was_never_loaded_has_travelled_with_history_and_ticks_live(
    stack, measured
):
    text = (
        "SELECT request->>'lane', request->>'mode', count(*) FROM tasks GROUP BY 1, 2"
    )
    with stack.engine.connect() as connection:
        found = {tuple(row) for row in connection.exec_driver_sql(text)}

    assert measured
    assert found == {
        (Lane.HISTORY, "incremental", len(STOCKS) * len(SHORT)),
        (Lane.HISTORY, "backfill", len(OTHERS) * len(SHORT)),
        (Lane.LIVE, "incremental", len(STOCKS) * len(SHORT) * 3),
    }
