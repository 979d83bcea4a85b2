"""The whole stack as processes, at a market instant, without the broker's limit."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import pytest
import requests
from sqlalchemy import text

from infra.local.options import Options
from infra.local.stack import Stack
from shared.clock import new_clock
from shared.database.engine import transaction
from tests.chaos.processes import impatient
from tests.support import servers
from tests.support.pushes import push

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
        return push(self.stack, function, topic, data, message_id)


def until(condition, what):
    """Wait for something that is bound to happen."""
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {SECONDS} s until {what}")
        time.sleep(0.05)
    return found


def options(**environ):
    """What ``make dev`` would read, without anybody's .env; PUBSUB is let through."""
    environ = {"PUBSUB": os.environ.get("PUBSUB", "")} | environ
    return Options.from_env(environ, new_clock()(), servers.ROOT / "no.env")


@pytest.fixture(scope="module")
def pipeline():
    before = os.environ.pop("PUBSUB_EMULATOR_HOST", None)
    # Whether work is done is tested here, not when: test_lanes pushes as the cloud does.
    settings = options(RATE="off", NOW="2026-11-20T10:30", PUSH="steady")
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
