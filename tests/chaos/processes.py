"""Rounds of trouble for real processes: whatever dies on the way, nothing is lost.

``python -m tests.chaos.processes 200`` (``make chaos``) plays so many. Each round loads
some series anew while processes are killed, connections cut and the broker stumbles;
then it waits until its run has settled, puts back what died, and goes on. At the end
an independent judge compares every series with the broker's own rows.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from random import Random

import requests
from sqlalchemy import text

from infra import dead_letters, topology
from infra.local.broker.server import APP_KEY, SECRET_KEY
from infra.local.options import Options
from infra.local.stack import PROJECT, Stack
from shared.clock import new_clock
from shared.database.engine import transaction
from shared.errors import DatabaseUnavailable
from tests.support import judge, servers
from tests.support.builders import kst
from tests.support.harness import JUDGES_CALENDAR
from tests.support.pushes import collector_of, push_request

STOCKS = (
    "005930",
    "000660",
    "035720",
    "005380",
    "293490",
    "041510",
    "035900",
    "112040",
)
STARTS = {"5m": "2026-10-12", "30m": "2026-08-10", "60m": "2026-04-06"}
STARTS |= {"1d": "2023-03-06", "1w": "2014-01-06"}
BROKER_FAULTS = ("server_error", "html", "reset", "truncated", "rate_limit", "slow")
# After the last trade of a day, and before its last changes.
EVENING = kst("2026-11-20 21:30")
SETTLED_SECONDS = 180
# A lease that is shorter than a request may take: the harder case.
# Tokens die every other minute here, and no one else issues them.
ENVIRON = {"LEASE_SECONDS": "3", "TOKEN_TURN_SECONDS": "1"}


class Rounds:
    """Plays rounds on one running stack."""

    def __init__(self, stack, seed):
        self.stack = stack
        self.random = Random(seed)
        self.kinds = Counter()
        self.loaded = set()
        self.timeframe = "1d"
        self.pool = ThreadPoolExecutor(8)
        self.trouble = {
            self.kill_collector: 4,
            self.kill_dispatcher: 2,
            self.restart_postgres: 2,
            self.crash_postgres: 1,
            self.cut_connections: 3,
            self.let_the_consumer_die: 2,
            self.let_the_token_die: 3,
            self.let_the_broker_stumble: 8,
            self.let_the_broker_hang: 1,
            self.deliver_twice: 4,
        }

    def play(self, number):
        """One round: a run, with trouble while it is at work."""
        self.heal()
        self.timeframe = timeframe = self.random.choice(list(STARTS))
        stocks = self.random.sample(STOCKS, self.random.randint(2, 5))
        self.forget(timeframe, stocks)
        trigger = {"mode": "backfill", "timeframe": timeframe, "stocks": stocks}
        trigger["start"] = STARTS[timeframe]
        kinds = self.random.choices(
            list(self.trouble), self.trouble.values(), k=self.random.randint(1, 3)
        )
        early = [kind for kind in kinds if kind.__name__.startswith("let_the_broker")]
        for kind in early:
            self.cause(kind)
        run_id = self.stack.trigger(json.dumps(trigger).encode())
        for kind in kinds:
            if kind not in early:
                time.sleep(self.random.uniform(0, 0.6))
                self.cause(kind, run_id)
        self.settle(run_id)
        self.loaded |= {(stock, timeframe) for stock in stocks}

    def cause(self, kind, *arguments):
        name = kind.__name__.replace("_", " ")
        self.kinds[name] += 1
        kind(*arguments[: kind.__code__.co_argcount - 1])

    def settle(self, run_id):
        """Wait for the run; what died is put back, as an operator would."""
        deadline = time.monotonic() + SETTLED_SECONDS
        state = "SELECT state FROM run_states WHERE run_id = :run_id"
        while (found := self.query(state, run_id=run_id)) != [("complete",)]:
            if found == [("incomplete",)]:
                self.kinds["replays by an operator"] += 1
                self.heal()
                dead_letters.main(["replay", "--project", PROJECT])
                time.sleep(0.5)
            if time.monotonic() > deadline:
                tasks = "SELECT * FROM tasks WHERE run_id = :run_id"
                lines = self.query(tasks, run_id=run_id)
                message = f"run {run_id} does not settle: {found} {lines}"
                raise AssertionError(message)
            time.sleep(0.05)

    def kill_collector(self):
        self._kill(collector_of(self.timeframe))

    def kill_dispatcher(self):
        self._kill("dispatcher")

    @property
    def subscription(self):
        return collector_of(self.timeframe).replace("_", "-")

    def restart_postgres(self):
        self.stack.postgres.restart()

    def crash_postgres(self):
        self.stack.postgres.crash()

    def cut_connections(self):
        self.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    def let_the_consumer_die(self):
        """What it was about to deliver is forgotten, but for Pub/Sub itself."""
        self.stack.restart_push(self.random.choice(["dispatcher", self.subscription]))

    def let_the_token_die(self):
        self.faults({"kind": "token_dies", "times": 1})

    def let_the_broker_stumble(self):
        times = self.random.randint(1, 12)
        kind = self.random.choice(BROKER_FAULTS)
        page = self.random.choice([None, None, 1, 2])
        self.faults({"kind": kind, "times": times, "page": page})

    def let_the_broker_hang(self):
        self.faults({"kind": "timeout", "times": 1})

    def deliver_twice(self, run_id):
        """The same requests once more, past the emulator, while they are worked on."""
        wanted = "SELECT request::text FROM tasks WHERE run_id = :run_id"
        for number, (request,) in enumerate(self.query(wanted, run_id=run_id)):
            data = json.dumps(json.loads(request)).encode()
            self.pool.submit(self._push, data, f"{run_id}-{number}")

    def _push(self, data, message_id):
        with suppress(requests.RequestException):
            push_request(self.stack, data, message_id)

    def _kill(self, name):
        self.stack.functions[name].kill()
        self.stack.start_function(name)

    def faults(self, *faults):
        url = f"{self.stack.base_url}/simulator/scenario"
        requests.post(url, json={"faults": faults}, timeout=30).raise_for_status()

    def heal(self):
        self.faults()

    def forget(self, timeframe, stocks):
        """So that there is something to do."""
        for table in ("candles", "series"):
            self.query(
                f"DELETE FROM {table} WHERE timeframe = :t AND stock_code = ANY(:s)",
                t=timeframe,
                s=stocks,
            )

    def query(self, statement, **values):
        while True:
            try:
                with transaction(self.stack.engine) as connection:
                    result = connection.execute(text(statement), values)
                    return [tuple(r) for r in result] if result.returns_rows else []
            except DatabaseUnavailable:
                time.sleep(0.1)

    def wrong(self):
        """What is not as it should be, when all is over."""
        self.heal()
        found = self.judged()
        unfinished = "SELECT state, count(*) FROM run_states WHERE state <> 'complete'"
        for state, count in self.query(f"{unfinished} GROUP BY 1"):
            found.append(f"{count} runs are {state}")
        for table in ("staged_pages", "quarantine", "revisions"):
            ((count,),) = self.query(f"SELECT count(*) FROM {table}")
            if count:
                found.append(f"{count} rows in {table}")
        letters = dead_letters.DeadLetters(PROJECT).pull()
        found += [f"dead: {letter.error_code} {letter.data}" for letter in letters]
        return found

    def judged(self):
        """What the judge finds; nothing has moved at the broker since the start."""
        broker = judge.Broker(
            judge.over_http(self.stack.base_url), APP_KEY, SECRET_KEY, JUDGES_CALENDAR
        )
        facts = judge.Facts(read_at=dict.fromkeys(self.loaded, EVENING))
        return judge.judge(broker, self.stack.engine, EVENING, facts).wrong


def impatient(seconds=1):
    """The pipeline as it is, but what failed is delivered again soon."""
    pipeline = topology.load()
    subscriptions = {
        name: replace(
            subscription,
            ack_deadline_seconds=30,
            minimum_backoff_seconds=seconds,
            maximum_backoff_seconds=4 * seconds,
        )
        for name, subscription in pipeline.subscriptions.items()
    }
    return replace(pipeline, subscriptions=subscriptions)


@contextmanager
def a_stack():
    """A stack on the evening of a day: nothing moves until after midnight."""
    environ = {"RATE": "off", "NOW": f"{EVENING:%Y-%m-%dT%H:%M}"}
    environ["PUBSUB"] = os.environ.get("PUBSUB", "")
    settings = Options.from_env(environ, new_clock()(), servers.ROOT / "no.env")
    before = os.environ.pop("PUBSUB_EMULATOR_HOST", None)
    try:
        with (
            servers.open_directory() as directory,
            Stack(settings, directory, pipeline=impatient(), environ=ENVIRON) as stack,
        ):
            stack.publish("tokens", b'{"reason":"chaos"}')
            yield stack
    finally:
        os.environ.pop("PUBSUB_EMULATOR_HOST", None)
        if before:
            os.environ["PUBSUB_EMULATOR_HOST"] = before


def play(count, seed, say=lambda _: None):
    """Play so many rounds; return what was wrong and what had happened."""
    with a_stack() as stack:
        rounds = Rounds(stack, seed)
        for number in range(1, count + 1):
            rounds.play(number)
            if not number % 10:
                say(f"{number} rounds played")
        wrong = rounds.wrong()
        rounds.kinds["tasks"] = rounds.query("SELECT count(*) FROM tasks")[0][0]
        attempts = "SELECT sum(attempts), sum(requests) FROM tasks"
        ((tries, asked),) = rounds.query(attempts)
        rounds.kinds["tries"], rounds.kinds["requests"] = int(tries), int(asked)
        rounds.kinds["candles"] = rounds.query("SELECT count(*) FROM candles")[0][0]
        rounds.pool.shutdown(cancel_futures=True)
        return wrong, rounds.kinds


def main(arguments) -> int:
    """Play, and say what happened."""
    count = int(arguments[0]) if arguments else 200
    seed = int(arguments[1]) if len(arguments) > 1 else 0
    began = time.monotonic()
    wrong, kinds = play(count, seed, lambda text: print(text, flush=True))
    print(f"{count} rounds in {time.monotonic() - began:.0f} s, {len(wrong)} faults")
    for line in wrong:
        print(f"  WRONG {line}")
    for kind, times in sorted(kinds.items()):
        print(f"  {kind}: {times:,}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
