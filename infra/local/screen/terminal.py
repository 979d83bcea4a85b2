"""A terminal that is drawn again and again, or plain lines where there is none.

Imports little: the first line must be there before anything heavy is loaded.
"""

from __future__ import annotations

import sys
import time
from threading import Event, RLock, Thread
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType
    from rich.live import Live

DRAWS_PER_SECOND = 5.0
# A spinner of one cell, which every font has.
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
STEP_WIDTH = 34


class Terminal:
    """Lines that stay, and below them what changes: a step, then a drawing."""

    def __init__(self, output: TextIO | None = None) -> None:
        """Write to ``output``, by default to stdout; colour where it is a terminal."""
        output = output or sys.stdout
        if hasattr(output, "reconfigure"):
            # A locale without these characters is no reason to fail.
            output.reconfigure(errors="replace")
        self._output = output
        self._console = Console(file=output, highlight=False, soft_wrap=False)
        self.is_plain = not self._console.is_terminal or self._console.is_dumb_terminal
        self._lock = RLock()
        self._step: tuple[str, float] | None = None
        self._draw: Callable[[], RenderableType] | None = None
        self._live: Live | None = None
        self._closed = Event()

    def start(self) -> None:
        """Begin to draw, where there is something to draw on."""
        if self.is_plain:
            return
        # Imported here: it costs a tenth of a second, after the first line.
        from rich.live import Live  # noqa: PLC0415

        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()
        Thread(target=self._redraw, daemon=True, name="terminal").start()

    def line(self, text: Text | str = "", style: str = "") -> None:
        """Write a line that stays."""
        shown = Text(text, style=style) if isinstance(text, str) else text
        with self._lock:
            if self.is_plain:
                self._write(shown.plain)
            else:
                self._console.print(shown)

    def block(self, renderable: RenderableType) -> None:
        """Write something that stays and is more than a line; not for plain output."""
        with self._lock:
            self._console.print(renderable)

    def step(self, name: str) -> None:
        """Begin a step; the one before it is done."""
        with self._lock:
            self.end_step()
            self._step = (name, time.monotonic())
            self._refresh()

    def end_step(self) -> None:
        """The step is done: it gets a check mark and its seconds."""
        with self._lock:
            if self._step is None:
                return
            (name, began), self._step = self._step, None
            took = f"{time.monotonic() - began:5.1f} s"
            done = Text.assemble(
                ("✓ ", "green"), f"{name:<{STEP_WIDTH}}", (took, "dim")
            )
            self.line(done)

    def draw(self, drawing: Callable[[], RenderableType] | None) -> None:
        """Show what ``drawing`` returns from now on, several times a second."""
        with self._lock:
            self._draw = drawing
            self._refresh()

    def close(self) -> None:
        """Take away what changes; the lines stay."""
        self._closed.set()
        # A thread that is drawing holds the lock for some milliseconds only; an
        # interrupt must not wait for it longer.
        is_ours = self._lock.acquire(timeout=1)
        try:
            self._step = self._draw = None
            live, self._live = self._live, None
            if live is not None:
                live.stop()
        finally:
            if is_ours:
                self._lock.release()

    def _redraw(self) -> None:
        while not self._closed.wait(1 / DRAWS_PER_SECOND):
            with self._lock:
                self._refresh()

    def _refresh(self) -> None:
        if self._live is None:
            return
        if self._step:
            name, began = self._step
            passed = time.monotonic() - began
            spinner = SPINNER[int(passed * DRAWS_PER_SECOND * 2) % len(SPINNER)]
            shown = Text.assemble((f"{spinner} ", "cyan"), f"{name:<{STEP_WIDTH}}")
            self._live.update(
                shown.append(f"{passed:5.1f} s", style="dim"), refresh=True
            )
        elif self._draw:
            self._live.update(self._draw(), refresh=True)
        else:
            self._live.update(Text(), refresh=True)

    def _write(self, text: str) -> None:
        self._output.write(f"{text}\n")
        self._output.flush()
