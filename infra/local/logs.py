"""``make logs``: the log lines of all parts as they are written, in colour.

Functions write ``time severity event fact=value …``, see ``shared.logging``.
"""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from infra.local.announcement import DIRECTORY, NotRunning, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.text import Text

LINE = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)\.\d{3} ([A-Z]+) +(\S+)(.*)")
FACT = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|\S+)')
STYLES = {
    "DEBUG": "dim",
    "INFO": "green",
    "WARNING": "yellow",
    "ERROR": "bold red",
    "CRITICAL": "bold red",
}
# Of each log, before what is yet to come.
LAST_LINES = 10
POLL_SECONDS = 0.3
NAME_WIDTH = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of a function's log."""

    day: str
    time: str
    severity: str
    event: str
    facts: dict[str, str]


def parse(line: str) -> Entry | None:
    """Read a line; None for one that no function wrote."""
    match = LINE.match(line)
    if match is None:
        return None
    day, at, severity, event, rest = match.groups()
    facts = {name: _value(value) for name, value in FACT.findall(rest)}
    return Entry(day=day, time=at, severity=severity, event=event, facts=facts)


def _value(text: str) -> str:
    return str(json.loads(text)) if text.startswith('"') else text


@dataclass(slots=True)
class Tail:
    """The new lines of a log that grows; half a line waits until it is whole."""

    path: Path
    _position: int = field(default=0)

    def lines(self) -> Iterator[str]:
        """Yield what was written since the last time."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._position)
                data = file.read()
        except OSError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._position += len(whole)
        yield from whole.decode("utf-8", errors="replace").splitlines()


def styled(name: str, line: str) -> Text:
    """A line in colour, behind the name of the part that wrote it."""
    from rich.text import Text  # noqa: PLC0415 - heavy, and not needed to parse

    entry = parse(line)
    shown = Text(f"{name[:NAME_WIDTH]:<{NAME_WIDTH}} ", style="cyan")
    if entry is None:
        return shown.append(line, style="dim")
    style = STYLES.get(entry.severity, "")
    shown.append(f"{entry.time} ", style="dim").append(entry.event, style=style)
    for fact, value in entry.facts.items():
        shown.append(f" {fact}=", style="dim").append(value)
    return shown


def main() -> int:
    """Show the last lines, then follow while the stack runs."""
    from rich.console import Console  # noqa: PLC0415 - see above

    console = Console(highlight=False, soft_wrap=True)
    tails: dict[str, Tail] = {}
    is_running = True
    try:
        while True:
            for path in sorted((DIRECTORY / "logs").glob("*.log")):
                is_new = path.stem not in tails
                lines = list(tails.setdefault(path.stem, Tail(path)).lines())
                for line in lines[-LAST_LINES:] if is_new else lines:
                    console.print(styled(path.stem, line))
            if not is_running:
                return 0
            is_running = _is_running()
            time.sleep(POLL_SECONDS if is_running else 0)
    except (KeyboardInterrupt, BrokenPipeError):
        return 0


def _is_running() -> bool:
    try:
        running()
    except NotRunning as error:
        if "starting" in str(error):
            return True
        sys.stderr.write(f"{error}\n")
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
