"""The whole stack as processes, at a market instant, without the broker's limit."""

from __future__ import annotations

import base64
import os
import time
from dataclasses import dataclass, replace

import pytest
import requests
from sqlalchemy import text

from infra import topology
from infra.local.options import Options
from infra.local.stack import PROJECT, Stack
from shared.clock import clock
from shared.database.engine import transaction
from tests import servers

SECONDS = 90


@dataclass
class Pipeline:
    """A running stack, as a test talks to it."""

    stack: Stack

    def query(self, statement, **values):
        with transaction(self.stack.engine) as connection:
            return [tuple(row) for row in connection.execute(text(statement), values)]

    def run(self, message):
        """Publish a trigger, wait until its run is over, return its tasks."""
        run_id = self.stack.trigger(message.encode())
        self.settled(run_id)
        return run_id

    def settled(self, run_id):
        ended = "SELECT 1 FROM run_states WHERE run_id = :run_id AND state <> 'running'"
        until(lambda: self.query(ended, run_id=run_id), f"run {run_id} ends")

    def tasks(self, run_id):
        return self.query(
            "SELECT stock_code, timeframe, state, requests FROM tasks"
            " WHERE run_id = :run_id ORDER BY 1, 2",
            run_id=run_id,
        )

    def asked(self):
        """How often the broker was asked for charts."""
        url = f"{self.stack.base_url}/simulator/requests"
        seen = requests.post(url, timeout=10).json()["requests"]
        return sum(count for api_id, count in seen.items() if api_id != "au10001")

    def tokens_issued(self):
        url = f"{self.stack.base_url}/simulator/requests"
        return requests.post(url, timeout=10).json()["requests"]["au10001"]

    def scenario(self, **scenario):
        url = f"{self.stack.base_url}/simulator/scenario"
        requests.post(url, json=scenario, timeout=10).raise_for_status()

    def push(self, function, topic, data, message_id):
        """Deliver a message as Pub/Sub does, past the emulator."""
        port = self.stack.ports[function]
        return requests.post(
            f"http://127.0.0.1:{port}/projects/{PROJECT}/topics/{topic}",
            json={
                "message": {
                    "data": base64.b64encode(data).decode(),
                    "attributes": {},
                    "messageId": message_id,
                    "publishTime": "2026-11-20T01:30:00Z",
                },
                "subscription": f"projects/{PROJECT}/subscriptions/{topic}",
            },
            timeout=SECONDS,
        ).status_code


def until(condition, what):
    """Wait for something that is bound to happen."""
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {SECONDS} s until {what}")
        time.sleep(0.05)
    return found


def impatient():
    """The pipeline as it is, but what failed is delivered again after a second."""
    pipeline = topology.load()
    return replace(
        pipeline,
        subscriptions={
            name: replace(
                subscription, minimum_backoff_seconds=1, maximum_backoff_seconds=4
            )
            for name, subscription in pipeline.subscriptions.items()
        },
    )


def options(**environ):
    """What ``make dev`` would read, without anybody's .env."""
    return Options.from_env(environ, clock()(), servers.ROOT / "no.env")


@pytest.fixture(scope="module")
def pipeline():
    before = os.environ.pop("PUBSUB_EMULATOR_HOST", None)
    settings = options(RATE="off", NOW="2026-11-20T10:30")
    with (
        servers.open_directory() as directory,
        Stack(settings, directory, durable=False, pipeline=impatient()) as stack,
    ):
        stack.publish("tokens", b'{"reason":"test"}')
        until(lambda: stack.secrets.count("kiwoom-token"), "a token is there")
        yield Pipeline(stack)
    os.environ.pop("PUBSUB_EMULATOR_HOST", None)
    if before:
        os.environ["PUBSUB_EMULATOR_HOST"] = before
