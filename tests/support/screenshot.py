"""Draw ``docs/images/dev.svg``: what ``make dev`` shows of a real run, in colour.

``python -m tests.support.screenshot`` starts a stack of its own with the simulated
broker and its limit, looks at it half-way, and stops it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from html import unescape
from pathlib import Path

from rich.console import Console
from rich.text import Text

from infra.local.announcement import NotRunning, running
from tests.support import servers

IMAGE = servers.ROOT / "docs" / "images" / "dev.svg"
MOMENT = "2026-11-20T10:30"
START_SECONDS = 60
HALF_WAY_SECONDS = 60
COLUMNS = 80
# Lines that stay: the title, the source of the prices, the steps that are done.
STEP = re.compile(r"✓ .* \d+\.\d s")
# The picture needs no font from elsewhere.
FONT = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
# Rich draws blanks at the ends of a text, which some viewers leave out.
DRAWN = re.compile(r'x="([\d.]+)" y="([\d.]+)" textLength="[\d.]+"(.*?)>(.*?)</text>')
BLANK, CELL = "&#160;", 12.2


def main() -> int:
    """Write the image."""
    environ = os.environ | {
        "NOW": MOMENT,
        "COLUMNS": str(COLUMNS),
        "PUBSUB": "embedded",
        "FORCE_COLOR": "1",
        "TERM": "xterm-256color",
    }
    with servers.open_directory() as directory:
        environ["LOCAL_DIRECTORY"] = str(directory)
        log = directory / "screen"
        with log.open("wb") as output:
            stack = _module("dev", environ, stdout=output)
        try:
            _wait_until_it_runs(directory)
            time.sleep(HALF_WAY_SECONDS)
            shown, _ = _module("status", environ, stdout=subprocess.PIPE).communicate()
        finally:
            stack.terminate()
            stack.wait()
        draw(log.read_text(encoding="utf-8"), shown.decode(), IMAGE)
    return 0


def draw(stays: str, status: str, image: Path) -> None:
    """Draw the lines of a start, and the changing part below them."""
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere)
        _print(console, stays, status)
    svg = FONT.sub("", console.export_svg(title="make dev"))
    image.parent.mkdir(exist_ok=True)
    image.write_text(DRAWN.sub(_without_blanks, svg), encoding="utf-8")


def _print(console: Console, stays: str, status: str) -> None:
    title, source, *rest = stays.splitlines()
    steps = [line for line in rest if STEP.search(Text.from_ansi(line).plain)]
    changing = status.partition("next tick")
    last = changing[2].splitlines()[0]
    for line in ("$ make dev", title, source, *steps, ""):
        console.print(Text.from_ansi(line))
    console.print(Text.from_ansi(f"{changing[0]}{changing[1]}{last}"))


def _without_blanks(drawn: re.Match[str]) -> str:
    x, y, more, text = drawn.groups()
    begin = float(x)
    while text.startswith(BLANK):
        text, begin = text.removeprefix(BLANK), begin + CELL
    while text.endswith(BLANK):
        text = text.removesuffix(BLANK)
    length = CELL * len(unescape(text))
    return f'x="{begin:g}" y="{y}" textLength="{length:g}"{more}>{text}</text>'


def _module(name, environ, **streams):
    command = [sys.executable, "-m", f"infra.local.{name}"]
    return subprocess.Popen(command, cwd=servers.ROOT, env=environ, **streams)


def _wait_until_it_runs(directory: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            running(directory)
        except NotRunning:
            time.sleep(0.2)
        else:
            return
    message = f"the stack did not start in {START_SECONDS} s"
    raise SystemExit(message)


if __name__ == "__main__":
    sys.exit(main())
