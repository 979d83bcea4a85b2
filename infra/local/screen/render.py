"""Draws a snapshot: for a terminal with ``rich``, or as one plain line."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from infra.local.screen.snapshot import CALL_NAMES, RunState, total
from shared.candles import Timeframe
from shared.modes import Mode
from shared.sessions import KST

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from rich.console import JustifyMethod, RenderableType

    from infra.local.announcement import Announcement
    from infra.local.screen.snapshot import DeadLetter, Limit, Run, Snapshot, TaskCount
    from shared.reports import BehindSeries

BAR_WIDTH = 20
# Of the bars: timeframe, bar, requests, candles, series.
COLUMNS: tuple[tuple[int, JustifyMethod], ...] = (
    (3, "right"),
    (BAR_WIDTH, "left"),
    (16, "right"),
    (15, "right"),
    (5, "left"),
)
LABEL_WIDTH = 12
LIMIT_CELLS = 6
ACTIVE_RUNS = 4
MOST_BEHIND = 10
# A snapshot is taken twice a second.
SILENT_SECONDS = 5.0
HOUR, MINUTE = 3600, 60
MARKS = {
    RunState.COMPLETE: ("✓", "green"),
    RunState.INCOMPLETE: ("✗", "bold red"),
    RunState.RUNNING: ("▸", "cyan"),
    RunState.NO_SESSION: ("·", "dim"),
    RunState.SUPERSEDED: ("·", "dim"),
}


def seoul(instant: datetime) -> str:
    """The time in Seoul, such as ``10:30:05``."""
    return f"{instant.astimezone(KST):%H:%M:%S}"


def seoul_day(instant: datetime) -> str:
    """The day and time in Seoul, such as ``Fri 2026-11-20 10:30:05 KST``."""
    return f"{instant.astimezone(KST):%a %Y-%m-%d %H:%M:%S} KST"


def duration(seconds: float) -> str:
    """A length of time: ``8.1 s``, ``2:05``, ``1:02:05``."""
    if seconds < MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), MINUTE)
    hours, minutes = divmod(minutes, MINUTE)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def countdown(seconds: float) -> str:
    """What is left, in whole seconds, so that it ticks."""
    return f"{seconds:.0f} s" if seconds < MINUTE - 1 else duration(round(seconds))


def requests(number: int) -> str:
    """So many requests, in words."""
    return f"{number:,} request" + ("" if number == 1 else "s")


def screen(
    snapshot: Snapshot, source: Text, silent_seconds: float = 0.0
) -> RenderableType:
    """The part of the terminal that changes: at most 18 lines of 80 columns.

    The snapshot was taken ``silent_seconds`` ago.
    """
    if silent_seconds > SILENT_SECONDS:
        trouble = f"the database has not answered for {silent_seconds:.0f} s"
        snapshot = replace(snapshot, trouble=trouble)
    parts: list[RenderableType] = [_header(snapshot, source)]
    if snapshot.bars:
        parts += [_bars(snapshot), _summary(snapshot), Text()]
    parts.append(_facts(snapshot))
    if snapshot.trouble:
        parts.append(Text(f"! {snapshot.trouble}", style="bold red"))
    return Group(*parts)


def _header(snapshot: Snapshot, source: Text) -> Table:
    header = Table.grid(expand=True)
    header.add_column(overflow="ellipsis", no_wrap=True)
    header.add_column(justify="right", no_wrap=True)
    header.add_row(source, Text(seoul_day(snapshot.now), style="bold"))
    return header


def _bars(snapshot: Snapshot) -> Table:
    """A line a timeframe: how many of the planned requests are done."""
    drawn = Table.grid(padding=(0, 2))
    for width, justify in COLUMNS:
        drawn.add_column(min_width=width, justify=justify, no_wrap=True)
    for count in snapshot.bars:
        drawn.add_row(
            Text(count.timeframe, style="bold"),
            bar(count, BAR_WIDTH),
            f"{count.requests:,}/{count.planned:,} requests",
            f"{count.candles:,} candles",
            _series(count),
        )
    return drawn


def bar(count: TaskCount, width: int) -> Text:
    """How much of ``count`` is done: its requests, of those that are planned."""
    share = 1.0 if count.is_finished else _share(count)
    full = int(share * width)
    style = "cyan"
    if count.is_finished:
        style = "red" if count.dead or count.incomplete else "green"
    return Text("━" * full, style=style).append(
        "━" * (width - full), style="bright_black"
    )


def _share(count: TaskCount) -> float:
    return min(0.99, count.requests / count.planned) if count.planned else 0.0


def _series(count: TaskCount) -> Text:
    shown = Text(f"{count.finished}/{count.tasks}")
    if count.is_finished:
        shown.stylize("green")
    for number, what in (
        (count.incomplete, "incomplete"),
        (count.dead, "dead"),
    ):
        if number:
            shown.append(f" {number} {what}", style="red")
    return shown


def _summary(snapshot: Snapshot) -> Text:
    count = total(snapshot.bars)
    shown = Text("     ")
    shown.append(f"{count.requests:,} of {count.planned:,} requests", style="bold")
    shown.append(f" · {count.candles:,} candles")
    if snapshot.ends_at is not None and snapshot.remaining_seconds is not None:
        left = countdown(snapshot.remaining_seconds)
        shown.append(f" · ends {seoul(snapshot.ends_at)} KST (in {left})", style="cyan")
    return shown


def _facts(snapshot: Snapshot) -> Table:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True, min_width=LABEL_WIDTH)
    facts.add_column(overflow="ellipsis", no_wrap=True)
    facts.add_row("limit", _limits(snapshot.limits))
    for run in snapshot.others[-ACTIVE_RUNS:]:
        facts.add_row("run", run_line(run))
    facts.add_row("runs", _runs(snapshot.runs))
    facts.add_row("dead letters", _dead_letters(snapshot))
    if snapshot.next_tick:
        at, name = snapshot.next_tick
        left = countdown((at - snapshot.now).total_seconds())
        tick = Text(f"{_when(at, snapshot.now)} {name}").append(
            f" (in {left})", style="dim"
        )
        facts.add_row(
            "next tick", tick.append(" · Ctrl-C stops everything", style="dim")
        )
    return facts


def _when(at: datetime, now: datetime) -> str:
    """The time in Seoul, with the day where it is not today."""
    there, here = at.astimezone(KST), now.astimezone(KST)
    same_day = there.date() == here.date()
    return f"{there:%H:%M}" if same_day else f"{there:%a %Y-%m-%d %H:%M}"


def _limits(limits: Sequence[Limit]) -> Text:
    """How much of each limit is used: ``minutes ▮▮▮▯▯▯ 2.0``."""
    shown = Text()
    pace = limits[0].pace if limits else None
    for limit in limits:
        cells = round(min(1.0, limit.rate / pace) * LIMIT_CELLS) if pace else 0
        shown.append(f"{CALL_NAMES[limit.call]} ").append("▮" * cells, style="cyan")
        if pace:
            shown.append("▯" * (LIMIT_CELLS - cells), style="bright_black")
        shown.append(f" {limit.rate:.1f}  ", style="cyan" if limit.rate else "dim")
    shown.append(f"of {pace:g}/s" if pace else "requests/s, no limit", style="dim")
    return shown


def _runs(runs: Sequence[Run]) -> Text:
    if not runs:
        return Text("none yet", style="dim")
    numbers = {state: sum(run.state is state for run in runs) for state in RunState}
    shown = Text()
    for state, number in numbers.items():
        if number:
            mark, style = MARKS[state]
            shown.append(f"{mark} {number} {state}   ", style=style)
    return shown


def _dead_letters(snapshot: Snapshot) -> Text:
    number = len(snapshot.dead_letters)
    if not number:
        return Text("none", style="dim")
    return Text(f"{number}", style="bold red").append("  look at them: make dlq")


def run_line(run: Run) -> Text:
    """A run in one line, such as ``10:35:00 ✓ 5m  30 targets  30 candles``."""
    mark, style = MARKS[run.state]
    count = run.total
    shown = Text(f"{seoul(run.requested_at)} ")
    shown.append(f"{mark} ", style=style).append(run.timeframes or "run", style="bold")
    # What is usual goes without saying.
    shown.append("" if run.mode == Mode.INCREMENTAL else f" {run.mode}")
    shown.append(f" {run.stocks}" if run.counts else "")
    if run.state is RunState.RUNNING:
        shown.append(f": {count.finished}/{count.tasks} series", style=style)
    elif run.counts:
        shown.append(
            f": {count.candles:,} candles, {requests(count.requests)}, "
            f"{duration(run.seconds)}"
        )
    else:
        shown.append(f": {run.state}", style=style)
    if count.no_data:
        shown.append(f", {count.no_data} no data", style="dim")
    for number, what in ((count.incomplete, "incomplete"), (count.dead, "dead")):
        if number:
            shown.append(f", {number} {what}", style="bold red")
    return shown


def plain_line(snapshot: Snapshot) -> str:
    """Where the collection is, in one line without control characters."""
    count = total(snapshot.bars)
    share = 100 * count.requests // count.planned if count.planned else 0
    line = f"{seoul(snapshot.now)} {count.requests:,}/{count.planned:,} requests"
    line += f" ({share}%), {count.candles:,} candles"
    line += f", {count.finished}/{count.tasks} series"
    if snapshot.ends_at is not None:
        line += f", ends {seoul(snapshot.ends_at)}"
    return line


def what_now(stack: Announcement) -> list[tuple[str, str]]:
    """What one can do with a running stack, as people know it from others."""
    page = [("Status page", stack.status_page)] if stack.status_page else []
    return [
        ("Database", stack.database_url or "your own (DATABASE_URL)"),
        ("SQL", "make psql"),
        ("Candles", "make candles STOCK=005930 TIMEFRAME=1d"),
        ("More history", "make backfill STOCKS=005930 TIMEFRAME=1d START=2015-01-01"),
        ("A run by hand", """make publish MSG='{"timeframe":"5m"}'"""),
        ("Dead letters", "make dlq"),
        *page,
        ("This again", "make status"),
        ("Logs", f"make logs   (files in {stack.logs})"),
        ("Stop", "Ctrl-C"),
    ]


def fact(name: str, value: str) -> Text:
    """A line of ``what_now``."""
    return Text.assemble((f"{name:>14}  ", "cyan"), value)


def behind_lines(behind: Sequence[BehindSeries]) -> list[Text]:
    """A line for each target that is behind, with the reason and the timeframes."""
    timeframes: dict[str, list[Timeframe]] = {}
    for series in behind:
        timeframes.setdefault(str(series), []).append(series.timeframe)
    lines = [
        Text(f"✗ behind: {stock} ({' '.join(_in_order(of_stock))})", style="red")
        for stock, of_stock in timeframes.items()
    ]
    left = len(lines) - MOST_BEHIND
    more = [Text(f"✗ and {left} more", style="red")] if left > 0 else []
    return lines[:MOST_BEHIND] + more


def dead_letter_line(letter: DeadLetter) -> Text:
    """A dead letter, with its reason."""
    code = f" ({letter.error_code})" if letter.error_code else ""
    text = f"✗ dead letter: {letter.what}{code}: {letter.reason}"
    return Text(f"{letter.at} ", style="none").append(text, style="red")


def _in_order(timeframes: Sequence[Timeframe]) -> list[str]:
    """Their names, the shortest first."""
    return [each.value for each in Timeframe if each in timeframes]
