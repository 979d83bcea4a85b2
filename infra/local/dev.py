"""``make dev``: the whole pipeline on this machine, and its first collection."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

from google.api_core.exceptions import GoogleAPIError
from rich.console import Console
from rich.live import Live

from infra.local import progress, scheduler
from infra.local.options import Options
from infra.local.processes import StartFailed
from infra.local.stack import PROJECT, ROOT, Stack, remove_quietly
from shared.candles import Timeframe
from shared.clock import new_clock
from shared.errors import ConfigError
from shared.settings import REQUESTS_PER_SECOND, SecretSettings
from shared.token_vault import Secrets, TokenVault, new_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

DIRECTORY = Path(os.environ.get("LOCAL_DIRECTORY") or ROOT / ".local")
GCLOUD = DIRECTORY / "gcloud.env"
TOKEN_SECONDS = float(os.environ.get("TOKEN_SECONDS") or 60)
# Nothing at all finished for so long: something is broken, and waiting hides it.
STANDSTILL_SECONDS = 600

console = Console()


class Interrupted(Exception):
    """The user wants to stop."""


def main() -> int:
    """Run the stack; return the exit status."""
    _stop_on_signals()
    try:
        options = Options.from_env(os.environ, new_clock()(), ROOT / ".env")
        with _alone(), Stack(options, DIRECTORY, say=_step) as stack, _announced(stack):
            return _collect_once(stack) if options.once else _live(stack)
    except Interrupted:
        console.print("stopped")
        return 0 if not options.once else 130
    except (ConfigError, StartFailed) as error:
        console.print(f"[bold red]cannot start:[/] {error}", highlight=False)
        return 1


def _collect_once(stack: Stack) -> int:
    """Collect every target in every timeframe; 0 only if all were."""
    began = time.monotonic()
    run_ids = _first_triggers(stack)
    rows = _follow(stack, run_ids, Event())
    title = f"collected in {time.monotonic() - began:.1f} s"
    console.print(progress.table(rows, _limit(stack), title))
    left = progress.missing(stack.engine, run_ids)
    for line in left:
        console.print(f"[red]not collected[/] {line}", highlight=False)
    complete = not left and len(rows) == len(Timeframe)
    return 0 if complete else 1


def _live(stack: Stack) -> int:
    """Collect, then keep firing the schedules until Ctrl-C."""
    stopped = Event()
    run_ids = _first_triggers(stack)

    def fire(topic: str, data: bytes) -> None:
        try:
            publish(topic, data)
        except (GoogleAPIError, TimeoutError) as error:
            console.print(f"[red]not published to {topic}:[/] {error}", highlight=False)

    def publish(topic: str, data: bytes) -> None:
        if topic != "triggers":
            stack.publish(topic, data)
            return
        # The table shows the latest runs only.
        run_ids.append(stack.trigger(data))
        del run_ids[: -len(Timeframe)]

    schedules = Thread(
        target=scheduler.run,
        args=(stack.topology, stack.clock, fire, stopped),
        daemon=True,
    )
    try:
        _follow(stack, run_ids, stopped)
        schedules.start()
        console.print("firing the schedules; Ctrl-C stops everything")
        with Live(console=console, refresh_per_second=2) as live:
            while True:
                stack.check()
                live.update(_table(stack, run_ids))
                time.sleep(0.5)
    finally:
        stopped.set()


def _first_triggers(stack: Stack) -> list[str]:
    """Ask for a token, then for every timeframe; return the runs."""
    _step("access token")
    stack.publish("tokens", b'{"reason":"start"}')
    _wait_for_token(stack)
    _step("first triggers")
    return [
        stack.trigger(json.dumps({"timeframe": frame, "force": True}).encode())
        for frame in Timeframe
    ]


def _wait_for_token(stack: Stack) -> None:
    names = SecretSettings(project=PROJECT, emulator_host=stack.secrets.host)
    vault = TokenVault(Secrets(new_client(names), PROJECT), names.token)
    deadline = time.monotonic() + TOKEN_SECONDS
    while vault.stored() is None:
        refused = _last_error(stack.logs / "token_refresher.log")
        if refused or time.monotonic() > deadline:
            message = f"no access token: {refused or 'the broker does not answer'}"
            raise StartFailed(message)
        time.sleep(0.05)


def _last_error(log: Path) -> str | None:
    """The reason of the last dead letter in a function's log."""
    for line in reversed(log.read_text(encoding="utf-8").splitlines()):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("event") == "dead_letter":
            return str(entry.get("reason"))
    return None


def _follow(
    stack: Stack, run_ids: list[str], stopped: Event
) -> list[progress.Progress]:
    """Show the table until every task of the runs is finished."""
    finished_before, moved_at = -1, time.monotonic()
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while not stopped.is_set():
            stack.check()
            rows = progress.read(stack.engine, run_ids)
            live.update(progress.table(rows, _limit(stack), "collecting"))
            finished = sum(row.done + row.no_data + row.dead for row in rows)
            if len(rows) == len(Timeframe) and all(row.finished for row in rows):
                return rows
            if finished != finished_before:
                finished_before, moved_at = finished, time.monotonic()
            if time.monotonic() - moved_at > STANDSTILL_SECONDS:
                return rows
            time.sleep(0.25)
    return []


def _table(stack: Stack, run_ids: list[str]) -> Table:
    rows = progress.read(stack.engine, run_ids)
    now = stack.clock().astimezone().strftime("%Y-%m-%d %H:%M")
    return progress.table(rows, _limit(stack), f"latest runs, {now}")


def _limit(stack: Stack) -> float | None:
    return REQUESTS_PER_SECOND[stack.options.mode] if stack.options.limited else None


@contextmanager
def _alone() -> Iterator[None]:
    """Keep a second stack away from the same data."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    with (DIRECTORY / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = "another make dev runs in this checkout; stop it first"
            raise StartFailed(message) from None
        yield


@contextmanager
def _announced(stack: Stack) -> Iterator[None]:
    """Tell the other commands where the stack is, while it runs."""
    variables = {
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB": f"http://{stack.pubsub_host}/",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_PROJECT": PROJECT,
        # A developer's own login and project are never touched.
        "CLOUDSDK_CONFIG": str(DIRECTORY / "gcloud"),
        "PUBSUB_EMULATOR_HOST": stack.pubsub_host,
    }
    if stack.postgres:
        variables["DATABASE_URL"] = stack.database_url
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    GCLOUD.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if stack.postgres:
        console.print(f"database  {stack.database_url}", highlight=False)
    console.print(f"broker    {stack.base_url}", highlight=False)
    console.print(f"logs      {stack.logs}", highlight=False)
    try:
        yield
    finally:
        remove_quietly(GCLOUD)


def _step(text: str) -> None:
    console.print(f"[dim]starting[/] {text}", highlight=False)


def _stop_on_signals() -> None:
    def interrupt(*_: object) -> None:
        # A second signal must not interrupt the stopping.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        raise Interrupted

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


if __name__ == "__main__":
    sys.exit(main())
