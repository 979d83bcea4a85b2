"""``make status``: the running stack on one screen."""

from __future__ import annotations

import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.text import Text

from functions.reference_sync.reference_data import bundled_calendar
from infra import topology
from infra.local.announcement import NotRunning
from infra.local.deadline import deadline
from infra.local.reading import open_stack
from infra.local.screen import render
from infra.local.screen.source import MADE_UP, REAL
from infra.local.screen.watch import Watch
from shared.database.run_ledger import RunLedger
from shared.errors import PipelineError
from shared.freshness import DueTimes

SECONDS = 10.0
# A rate needs two looks.
LOOK_SECONDS = 1.0
LATEST_RUNS = 3


def main() -> int:
    """Show what runs, how far it is, and what can be done with it."""
    late = f"the stack has not answered for {SECONDS:.0f} s; see make logs"
    try:
        with deadline(SECONDS, late):
            _show(Console(highlight=False))
    except (NotRunning, PipelineError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _show(console: Console) -> None:
    with open_stack() as (stack, engine):
        watch = Watch(
            engine=engine,
            logs=Path(stack.logs),
            clock_offset=timedelta(seconds=stack.clock_offset),
            calendar=bundled_calendar(),
            topology=topology.load(),
            since=datetime.fromisoformat(stack.started_at),
            pace=stack.requests_per_second,
        )
        watch.look()
        time.sleep(LOOK_SECONDS)
        snapshot = watch.look()
        due = DueTimes(watch.calendar, topology.ticks(watch.topology))
        behind = RunLedger(engine).behind(due.expected_by(snapshot.now))
    style = MADE_UP if stack.simulated else REAL
    badge = Text.assemble((f" {stack.broker} ", style))
    console.print(render.screen(snapshot, badge))
    for run in [run for run in snapshot.runs if run.is_over][-LATEST_RUNS:]:
        console.print(render.run_line(run))
    for letter in snapshot.dead_letters[-LATEST_RUNS:]:
        console.print(render.dead_letter_line(letter))
    for line in render.behind_lines(behind):
        console.print(line)
    console.print()
    for fact in render.what_now(stack):
        console.print(render.fact(*fact))


if __name__ == "__main__":
    sys.exit(main())
