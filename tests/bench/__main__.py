"""``make bench``: measure, and write ``docs/benchmarks.md`` and ``.json``.

``RUNS=5`` is how often everything is measured; ``PARTS`` chooses what, from reading,
storing, ledger, page, starting, running, limited, lanes, browser. ``MARKET=limited`` sends the
whole market through the broker's limit, which takes twelve minutes.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime

from infra.local.options import Options
from infra.local.stack import Stack
from shared.clock import new_clock
from tests.bench import (
    browser,
    cold_start,
    lanes,
    ledger,
    page,
    pipeline,
    reading,
    report,
    sealing,
    slots,
    upsert,
)
from tests.support import servers

DOCS = servers.ROOT / "docs"
READER = servers.ROOT / ".venv-reader" / "bin" / "python"
# Ticks of every timeframe find something new.
IN_SESSION = "2026-11-20T10:30"


def main() -> int:
    """Measure everything, or the parts that are named, the quiet ones first."""
    runs = int(os.environ.get("RUNS") or 5)
    wanted = (os.environ.get("PARTS") or ",".join(PARTS)).split(",")
    raw = DOCS / "benchmarks.json"
    found = json.loads(raw.read_text(encoding="utf-8")) if raw.exists() else {}
    found |= {
        "measured_on": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "python": platform.python_version(),
        "runs": runs,
    }
    for part in wanted:
        PARTS[part](found, runs)
    raw.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    (DOCS / "benchmarks.md").write_text(report.page(found), encoding="utf-8")
    say("wrote docs/benchmarks.md")
    return 0


def measure_storing(found, runs):
    with servers.postgres(durable=True) as postgres:
        url = postgres.create("bench")
        servers.migrate(url)
        say("storing candles")
        found["upsert"] = upsert.measure(url, runs)
        say("seals")
        found["sealing"] = sealing.measure(url, runs)
        say("request slots")
        found["slots"] = slots.measure(url)


def measure_ledger(found, runs):
    with servers.postgres(durable=True) as postgres:
        url = postgres.create("bench")
        servers.migrate(url)
        say("a ledger of a million tasks")
        found["ledger"] = ledger.measure(url, runs)


def measure_page(found, runs):
    with servers.postgres(durable=True) as postgres:
        url = postgres.create("page")
        servers.migrate(url)
        say("seeding a whole market of seals")
        page.seed(url)
        say("the status page")
        found["page"] = page.measure(url, runs)


def measure_starting(found, runs):
    with a_stack(RATE="off") as stack:
        say("cold starts")
        codes = pipeline.market_stocks()[: runs + 1]
        # The simulated broker makes up a stock when it is first asked for it.
        trigger = {"timeframe": "1w", "stocks": codes, "force": True}
        run_id = stack.trigger(json.dumps(trigger).encode())
        pipeline.finished(stack, [run_id], 1)
        found["cold_start"] = cold_start.measure(
            stack, pipeline.requests_for(stack, codes), runs
        )


def measure_running(found, _):
    with a_stack(RATE="off") as stack:
        say("the first load of the targets")
        found["targets"] = pipeline.targets(stack)
        say("the whole market")
        found["whole_market"] = pipeline.whole_market(stack, "5y")


def measure_limited(found, _):
    with a_stack() as stack:
        say("with the broker's limit")
        whole = os.environ.get("MARKET") == "limited"
        stocks = None if whole else pipeline.market_stocks()[:200]
        found["limited"] = pipeline.whole_market(stack, "1y", stocks)


def measure_reading(found, runs):
    """In the environment of the reader, which has pandas and Arrow."""
    with servers.postgres(durable=True) as postgres:
        urls = [postgres.create(name) for name in ("reading", "million")]
        for url in urls:
            servers.migrate(url)
        say("seeding a whole market")
        reading.seed(urls[0])
        reading.seed_a_million(urls[1])
        say("reading and exporting candles")
        done = subprocess.run(
            [str(READER), "-m", "tests.bench.reading", *urls, str(runs)],
            check=True,
            stdout=subprocess.PIPE,
            cwd=servers.ROOT,
            env=os.environ
            | {"PYTHONPATH": f"{servers.ROOT}:{servers.ROOT / 'reader'}"},
        )
        found["reading"] = json.loads(done.stdout)


def measure_lanes(found, runs):
    """Ticks beside history, and beside a tick of as many stocks as are wanted."""
    whole = os.environ.get("MARKET") == "limited"
    market = pipeline.market_stocks()[: None if whole else 400]
    with a_stack(NOW=IN_SESSION) as stack:
        say("the first load of the targets, at the limit")
        found["lanes"] = {"first_load": lanes.first_load(stack)}
        say("ticks beside backfills of the whole market")
        pipeline.load_master(stack)
        found["lanes"]["backfill"] = lanes.ticks_beside_a_backfill(stack, 4 * runs)
    with a_stack(NOW=IN_SESSION) as stack:
        say("ticks beside a tick of many stocks")
        found["lanes"]["great_tick"] = lanes.ticks_beside_a_great_tick(stack, market)


def measure_browser(found, runs):
    """In Chromium, on a whole market."""
    with servers.postgres(durable=True) as postgres, servers.open_directory() as folder:
        url = postgres.create("browser")
        servers.migrate(url)
        say("seeding a whole market of seals")
        page.seed(url)
        say("the page in a browser")
        found["browser"] = browser.measure(url, folder, runs)


PARTS = {
    "reading": measure_reading,
    "storing": measure_storing,
    "ledger": measure_ledger,
    "page": measure_page,
    "starting": measure_starting,
    "running": measure_running,
    "limited": measure_limited,
    "lanes": measure_lanes,
    "browser": measure_browser,
}


class a_stack:  # noqa: N801 - reads as the thing that it gives
    """A stack of its own, in the evening of a day that has settled."""

    def __init__(self, **environ):
        now = {"NOW": "2026-11-20T21:30"} | environ
        now["PUBSUB"] = os.environ.get("PUBSUB", "")
        self.options = Options.from_env(now, new_clock()(), servers.ROOT / "no.env")

    def __enter__(self):
        os.environ.pop("PUBSUB_EMULATOR_HOST", None)
        self.directory = servers.open_directory()
        self.stack = Stack(self.options, self.directory.__enter__())
        self.stack.__enter__()
        self.stack.publish("tokens", b'{"reason":"bench"}')
        while not self.stack.secrets.count("kiwoom-token"):
            self.stack.check()
        return self.stack

    def __exit__(self, *error):
        self.stack.__exit__(*error)
        self.directory.__exit__(*error)


def say(text):
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
