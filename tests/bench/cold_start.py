"""Cold starts: from the start of the process to the first answer, and its memory."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from statistics import median

import requests

from infra import package
from infra.local.processes import Child, free_port
from infra.local.stack import ROOT
from tests.support.pushes import body

EMPTY = """
import functions_framework

@functions_framework.cloud_event
def nothing(event):
    pass
"""
# First messages that make each function do its work.
FIRST = {
    "dispatcher": (
        "triggers",
        {"timeframe": "1w", "stocks": ["005930"], "force": True},
    ),
    "daily_report": ("reports", {"report": "latest"}),
    "reference_sync": ("reference", {"sync": ["calendar"]}),
    "token_refresher": ("tokens", {"reason": "bench"}),
}


def measure(stack, run_request, runs):
    """Every function against an empty one: medians of ``runs`` fresh processes.

    ``run_request`` makes a request for the collector which has not been done yet.
    """
    empty = stack.logs / "empty.py"
    empty.write_text(EMPTY, encoding="utf-8")
    found = {name: [] for name in ("empty", *one_of_each_source(stack.topology))}
    for _ in range(runs):
        found["empty"].append(_start("empty", empty, "nothing", {}, stack, b"{}"))
        for name, function in one_of_each_source(stack.topology).items():
            source = stack.logs / f"{name}_main.py"
            source.write_text(package.entry_point(function), encoding="utf-8")
            environ = stack._function_environ(function.name)
            started = name, source, function.entry_point, environ, stack
            if function.trigger == "http":
                found[name].append(_start(*started))
                continue
            topic, message = FIRST.get(name, ("collect-live-weeks", None))
            data = json.dumps(message).encode() if message else run_request()
            found[name].append(_start(*started, data, topic))
    floor = median(seconds for seconds, _ in found["empty"])
    return {
        name: {
            "first_answer_ms": round(1000 * median(seconds for seconds, _ in times)),
            "to_empty": round(median(seconds for seconds, _ in times) / floor, 2),
            "memory_mib": round(median(mib for _, mib in times)),
        }
        for name, times in found.items()
    }


def one_of_each_source(topology):
    """Functions by their source: those of one source start alike."""
    return {function.source: function for function in topology.functions.values()}


def _start(name, source, target, environ, stack, data=None, topic="triggers"):
    """Push ``data``; without any, open the first page."""
    port = free_port()
    command = [
        *(str(Path(sys.executable).with_name("functions-framework")), "--source"),
        *(str(source), "--target", target, "--host", "127.0.0.1", "--port", str(port)),
    ]
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "THREADS": "16"}
    log = stack.logs / f"cold_{name}.log"
    began = time.perf_counter()
    child = Child(name, command, log=log, environ=kept | environ, cwd=ROOT)
    try:
        while True:
            try:
                answer = _first_answer(
                    f"http://127.0.0.1:{port}", topic, data, f"cold-{name}-{began}"
                )
                break
            except requests.ConnectionError:
                child.check()
                time.sleep(0.005)
        seconds = time.perf_counter() - began
        answer.raise_for_status()
        return seconds, _memory(child.pid)
    finally:
        child.stop()


def _first_answer(host, topic, data, message_id):
    if data is None:
        return requests.get(f"{host}/", timeout=60)
    url = f"{host}/projects/p/topics/{topic}"
    return requests.post(url, json=body(data, message_id), timeout=60)


def _memory(pid):
    """MiB of a process and its children; a page they share counts once."""
    pids = [pid, *_children(pid)]
    kib = 0
    for one in pids:
        for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                kib += int(line.split()[1])
    return kib / 1024


def _children(pid):
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()]
