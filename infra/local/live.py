"""A running stack and its screen: the first collection, then the schedules."""

from __future__ import annotations

import json
import logging
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event, Thread, Timer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from google.api_core.exceptions import GoogleAPIError

from functions.reference_sync.reference_data import bundled_calendar
from infra.local import advice, announcement, leftovers, progress, scheduler
from infra.local.announcement import DIRECTORY, Announcement
from infra.local.logs import Tail, parse
from infra.local.ports import Ports
from infra.local.processes import StartFailed
from infra.local.screen import render
from infra.local.screen.snapshot import total
from infra.local.screen.source import badge, name, pace, source
from infra.local.screen.watch import Watch
from infra.local.stack import PROJECT, Stack
from shared.candles import Timeframe
from shared.logging import TextFormatter
from shared.settings import SecretSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.console import RenderableType

    from infra.local.options import Options
    from infra.local.screen.snapshot import Snapshot
    from infra.local.screen.terminal import Terminal

TOKEN_SECONDS = float(os.environ.get("TOKEN_SECONDS") or 60)
# What may pass, as a broker that stumbles, has passed by the second attempt.
TOKEN_ATTEMPTS = 2
LOOK_SECONDS = 0.5
PLAIN_SECONDS = 5.0
# Of the series that are not complete, so many are named.
SHORTFALLS = 8
# ONCE=1 gives up when nothing at all has moved for this long.
GIVE_UP_SECONDS = 600
# What functions are doing will be repeated: they are not waited for any longer.
STOP_SECONDS = 0.7


def run(terminal: Terminal, options: Options, env_file: Path) -> int:
    """Start everything, collect once, then fire the schedules; the exit status.

    Raises:
        StartFailed: If a part does not start, or ends by itself.
        PipelineError: If the database cannot be used.
    """
    with _running(terminal, options) as stack:
        return _Screen(terminal, options, stack, env_file).run()


@contextmanager
def _running(terminal: Terminal, options: Options) -> Iterator[Stack]:
    """The running stack; functions that do not stop in time are killed."""

    def notice(text: str) -> None:
        terminal.line(f"! {text}", style="yellow")

    left = leftovers.clear(DIRECTORY)
    if left:
        notice(f"the last stack was killed; ended what it left: {', '.join(left)}")
    # A stack elsewhere, as a test's, leaves the usual ports to that of the checkout.
    usual: dict[str, int] | None = {} if "LOCAL_DIRECTORY" in os.environ else None
    ports = Ports(DIRECTORY, notice, usual=usual)
    stack = Stack(
        options,
        DIRECTORY,
        say=terminal.step,
        environ={"LOG_FORMAT": "text"},
        port=ports.take,
    )

    def kill() -> None:
        for child in stack.functions.values():
            child.kill()

    killer = Timer(STOP_SECONDS, kill)
    killer.daemon = True
    with stack:
        _keep_warnings(stack.logs)
        try:
            yield stack
        finally:
            killer.start()
    killer.cancel()


def _keep_warnings(logs: Path) -> None:
    """Send what libraries say about this process to a file, not to the screen."""
    handler = logging.FileHandler(logs / "dev.log", encoding="utf-8")
    handler.setFormatter(TextFormatter())
    logging.getLogger().addHandler(handler)


@dataclass(slots=True)
class _Screen:
    """What is shown of a stack while it runs."""

    terminal: Terminal
    options: Options
    stack: Stack
    env_file: Path
    _shown: set[str] = field(default_factory=set)
    _trouble: str = ""
    _spoke_at: float = 0.0

    def run(self) -> int:
        since = progress.database_time(self.stack.engine)
        if self.stack.postgres:
            progress.forget_leases(self.stack.engine)
        watch = self._watch(since)
        with self._announced(since):
            self.terminal.step("access token")
            self._wait_for_token()
            self.terminal.step("first triggers")
            watch.expected += self._first_triggers()
            self.terminal.end_step()
            began = time.monotonic()
            snapshot = self._collect(watch)
            status = self._conclude(snapshot, time.monotonic() - began)
            if self.options.once:
                return status
            self._go_on(watch)
        return status

    def _collect(self, watch: Watch) -> Snapshot:
        """Show the first collection until it is over."""
        while True:
            snapshot = self._look(watch)
            if _is_over(snapshot):
                return snapshot
            if self.options.once and snapshot.still_seconds > GIVE_UP_SECONDS:
                return snapshot
            time.sleep(LOOK_SECONDS)

    def _go_on(self, watch: Watch) -> None:
        """Fire the schedules, and show what comes of them, until interrupted."""
        stopped = Event()
        arguments = (self.stack.topology, self.stack.clock, self._fire, stopped)
        Thread(target=scheduler.run, args=arguments, daemon=True).start()
        try:
            while True:
                self._look(watch)
                time.sleep(LOOK_SECONDS)
        finally:
            stopped.set()

    def _look(self, watch: Watch) -> Snapshot:
        """Write what is new as lines that stay, and draw the rest."""
        self.stack.check()
        snapshot = watch.look()
        for run in snapshot.runs:
            if run.is_over and self._is_new(run.run_id):
                self.terminal.line(render.run_line(run))
        for letter in snapshot.dead_letters:
            if self._is_new(letter.key):
                self.terminal.line(render.dead_letter_line(letter))
        taken = time.monotonic()

        def drawing() -> RenderableType:
            silent_seconds = time.monotonic() - taken
            return render.screen(snapshot, badge(self.options), silent_seconds)

        self.terminal.draw(drawing)
        if self.terminal.is_plain:
            self._speak(snapshot)
        return snapshot

    def _is_new(self, key: str) -> bool:
        is_new = key not in self._shown
        self._shown.add(key)
        return is_new

    def _speak(self, snapshot: Snapshot) -> None:
        """Where nothing is drawn: a line every few seconds, and one of any trouble."""
        now = time.monotonic()
        if snapshot.trouble and not self._trouble:
            self.terminal.line(f"{render.seoul(snapshot.now)} ! {snapshot.trouble}")
        self._trouble = snapshot.trouble
        if snapshot.bars and now - self._spoke_at >= PLAIN_SECONDS:
            self._spoke_at = now
            self.terminal.line(render.plain_line(snapshot))

    def _conclude(self, snapshot: Snapshot, seconds: float) -> int:
        """Tell how the first collection ended, and what can be done now."""
        first = [run for run in snapshot.runs if run.run_id in snapshot.first]
        short = progress.shortfalls(self.stack.engine, [run.run_id for run in first])
        self.terminal.draw(None)
        for line in short[:SHORTFALLS]:
            self.terminal.line(f"not complete: {line}", style="red")
        if len(short) > SHORTFALLS:
            rest = len(short) - SHORTFALLS
            self.terminal.line(f"not complete: {rest} more series", style="red")
        is_complete = not short and _is_over(snapshot)
        count = total([run.total for run in first])
        self.terminal.line()
        title = "✓ collected" if is_complete else "✗ not everything was collected"
        told = f"{count.candles:,} candles with {render.requests(count.requests)}"
        if not count.tasks:
            title, told = "✓ nothing to collect", "all candles are there"
        style = "bold green" if is_complete else "bold red"
        took = f"in {render.duration(seconds)}"
        self.terminal.line(f"{title}: {told} {took}", style=style)
        if not self.options.once:
            self.terminal.line()
            for fact in render.what_now(announcement.running()):
                self.terminal.line(render.fact(*fact))
            self.terminal.line()
        if self.options.once or self.terminal.is_plain:
            self.terminal.line(source(self.options))
        return 0 if is_complete else 1

    def _fire(self, topic: str, data: bytes) -> None:
        try:
            self.stack.publish(topic, data)
        except (GoogleAPIError, TimeoutError) as error:
            self.terminal.line(f"✗ not published to {topic}: {error}", style="red")

    def _first_triggers(self) -> list[str]:
        """Request every timeframe; return the runs."""
        messages = [{"timeframe": frame} for frame in Timeframe]
        return [self.stack.trigger(json.dumps(each).encode()) for each in messages]

    def _wait_for_token(self) -> None:
        """Request a token, and wait until there is one.

        Raises:
            StartFailed: If the broker refuses, or does not answer.
        """
        secret = SecretSettings(project=PROJECT, emulator_host=None).token
        tail = Tail(self.stack.logs / "token_refresher.log")
        self.stack.publish("tokens", b'{"reason":"start"}')
        deadline = time.monotonic() + TOKEN_SECONDS
        reason, attempts = "the broker does not answer", 0
        while not self.stack.secrets.count(secret):
            self.stack.check()
            for entry in filter(None, map(parse, tail.lines())):
                if entry.event in {"dead_letter", "will_retry"}:
                    reason = advice.refusal(entry.facts["reason"], self.env_file)
                    is_final = entry.event == "dead_letter"
                    attempts += TOKEN_ATTEMPTS if is_final else 1
            if attempts >= TOKEN_ATTEMPTS or time.monotonic() > deadline:
                message = f"no access token: {reason}"
                raise StartFailed(message)
            time.sleep(0.05)

    def _watch(self, since: datetime) -> Watch:
        return Watch(
            engine=self.stack.engine,
            logs=self.stack.logs,
            clock_offset=self.options.clock_offset,
            calendar=bundled_calendar(),
            topology=self.stack.topology,
            since=since,
            pace=pace(self.options),
        )

    @contextmanager
    def _announced(self, since: datetime) -> Iterator[None]:
        """Tell the other commands where the stack is, while it runs."""
        stack = self.stack
        page = stack.ports.get("status_page")
        ports = dict(stack.ports)
        processes = {name: child.pid for name, child in stack.functions.items()}
        if stack.broker:
            ports["broker"] = urlsplit(stack.base_url).port or 0
            processes["broker"] = stack.broker.pid
        told = Announcement(
            pid=os.getpid(),
            project=PROJECT,
            started_at=since.astimezone(UTC).isoformat(),
            clock_offset=self.options.clock_offset.total_seconds(),
            broker=name(self.options),
            simulated=not self.options.base_url,
            requests_per_second=pace(self.options),
            database_url=stack.database_url if stack.postgres else "",
            pubsub_host=stack.pubsub_host,
            broker_url=stack.base_url,
            logs=str(stack.logs),
            status_page=f"http://127.0.0.1:{page}" if page else None,
            ports=ports,
            processes=processes,
        )
        announcement.announce(told)
        try:
            yield
        finally:
            announcement.withdraw()


def _is_over(snapshot: Snapshot) -> bool:
    """Whether all runs of the first collection are there, and over."""
    over = {run.run_id for run in snapshot.runs if run.is_over}
    return over.issuperset(snapshot.first)
