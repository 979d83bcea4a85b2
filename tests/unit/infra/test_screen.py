from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from infra.local.announcement import Announcement
from infra.local.screen import render
from infra.local.screen.snapshot import (
    DeadLetter,
    Limit,
    RateMeter,
    Run,
    RunState,
    Snapshot,
    TaskCount,
)
from infra.local.screen.terminal import Terminal
from shared.candles import Timeframe
from shared.reports import BehindReason, BehindSeries
from tests.support.builders import kst

NOW = kst("2026-11-20 10:30:07")
SOURCE = Text(" SIMULATED PRICES ")
PACE = 4.0


def a_count(timeframe="5m", **values):
    known = {
        "tasks": 30,
        "done": 12,
        "requests": 100,
        "planned": 240,
        "candles": 88_201,
    }
    return TaskCount(timeframe=Timeframe(timeframe), **{**known, **values})


def finished(timeframe="1d", **values):
    known = {"tasks": 30, "done": 29, "no_data": 1, "requests": 88, "planned": 88}
    return a_count(timeframe, **{**known, **values})


def a_run(*counts, run_id="run", state=RunState.RUNNING, **values):
    known = {"requested_at": NOW, "mode": "incremental", "stocks": "30 targets"}
    return Run(run_id=run_id, state=state, counts=counts, **{**known, **values})


def limits(pace=PACE, **rates):
    calls = {"ka10080": 0.0, "ka10081": 0.0, "ka10082": 0.0} | rates
    return tuple(Limit(call=call, rate=rate, pace=pace) for call, rate in calls.items())


def a_snapshot(*runs, **values):
    known = {
        "now": NOW,
        "limits": limits(),
        "next_tick": (kst("2026-11-20 10:35"), "collect-5m"),
    }
    return Snapshot(runs=runs, **{**known, **values})


def drawn(renderable, width=80):
    output = io.StringIO()
    Console(file=output, width=width, highlight=False).print(renderable)
    return output.getvalue()


def test_the_screen_of_a_first_collection():
    runs = [
        a_run(a_count(), run_id="a"),
        a_run(finished(), run_id="b", state=RunState.COMPLETE),
    ]
    snapshot = a_snapshot(*runs, first=frozenset("ab"), limits=limits(ka10080=2.0))

    lines = [
        line.rstrip() for line in drawn(render.screen(snapshot, SOURCE)).splitlines()
    ]

    assert lines == [
        " SIMULATED PRICES                                    Fri 2026-11-20 10:30:07 KST",
        " 5m  ━━━━━━━━━━━━━━━━━━━━  100/240 requests   88,201 candles  12/30",
        " 1d  ━━━━━━━━━━━━━━━━━━━━    88/88 requests   88,201 candles  30/30",
        "     188 of 328 requests · 176,402 candles · ends 10:30:42 KST (in 35 s)",
        "",
        "limit         minutes ▮▮▮▯▯▯ 2.0  days ▯▯▯▯▯▯ 0.0  weeks ▯▯▯▯▯▯ 0.0  of 4/s",
        "runs          ▸ 1 running   ✓ 1 complete",
        "dead letters  none",
        "next tick     10:35 collect-5m (in 4:53) · Ctrl-C stops everything",
    ]


@pytest.mark.parametrize("width", [80, 110])
def test_the_screen_fits_a_terminal_of_24_lines_with_large_numbers(width):
    counts = [
        a_count(
            frame,
            tasks=2_800,
            done=1_999,
            requests=19_999,
            planned=22_400,
            candles=19_999_999,
            dead=17,
            incomplete=12,
        )
        for frame in Timeframe
    ]
    others = [
        a_run(
            finished(tasks=2_800, done=1, requests=12_345),
            run_id=f"other {n}",
            mode="backfill",
            stocks="2,800 stocks",
        )
        for n in range(9)
    ]
    first = [a_run(count, run_id=str(n)) for n, count in enumerate(counts)]
    snapshot = a_snapshot(
        *first, *others, first=frozenset(map(str, range(5))), trouble="x" * 150
    )

    lines = drawn(render.screen(snapshot, SOURCE), width).splitlines()

    assert len(lines) <= 22
    assert max(map(len, lines)) <= width


def test_a_finished_run_is_one_line():
    count = finished(candles=36_859)
    run = a_run(count, state=RunState.COMPLETE, seconds=2.94)

    line = render.run_line(run).plain

    assert line == (
        "10:30:07 ✓ 1d 30 targets: 36,859 candles, 88 requests, 2.9 s, 1 no data"
    )


def test_what_is_not_complete_is_counted_in_the_line_of_a_run():
    count = finished(done=26, dead=2, incomplete=1, candles=5, requests=1)
    run = a_run(count, state=RunState.INCOMPLETE, mode="backfill", seconds=125.0)

    line = render.run_line(run).plain

    assert line == (
        "10:30:07 ✗ 1d backfill 30 targets: 5 candles, 1 request, 2:05, "
        "1 no data, 1 incomplete, 2 dead"
    )


def test_a_tick_on_a_day_without_a_session_says_so():
    run = a_run(state=RunState.NO_SESSION)

    assert render.run_line(run).plain == "10:30:07 · run: no session"


def test_the_plain_line_tells_the_whole_progress():
    line = render.plain_line(a_snapshot(a_run(a_count())))

    assert line == (
        "10:30:07 100/240 requests (41%), 88,201 candles, 12/30 series, ends 10:30:42"
    )


def test_the_end_is_that_of_the_slowest_limit():
    runs = a_run(a_count("5m", requests=0, planned=400), a_count("1d", planned=140))

    assert a_snapshot(runs).remaining_seconds == 400 / PACE


def test_minutes_share_one_limit():
    runs = a_run(*(a_count(f, requests=0, planned=100) for f in ("5m", "30m", "60m")))

    assert a_snapshot(runs).remaining_seconds == 300 / PACE


def test_without_a_limit_the_end_is_told_from_the_rate():
    free = limits(pace=None, ka10080=20.0, ka10081=30.0)

    assert a_snapshot(a_run(a_count()), limits=free).remaining_seconds == 140 / 50


def test_without_a_limit_and_a_rate_no_end_is_told():
    idle = a_snapshot(a_run(a_count()), limits=limits(pace=None))

    assert idle.remaining_seconds is None
    assert idle.ends_at is None


def test_two_runs_of_a_timeframe_share_a_bar():
    runs = [a_run(a_count(requests=1)), a_run(a_count(requests=2))]

    (bar,) = a_snapshot(*runs).bars

    assert (bar.requests, bar.planned, bar.tasks) == (3, 480, 60)


def test_a_bar_begins_anew_with_the_next_run():
    runs = [a_run(finished("5m"), state=RunState.COMPLETE), a_run(a_count(requests=2))]

    (bar,) = a_snapshot(*runs).bars

    assert bar.requests == 2


def test_nothing_to_do_is_no_bar():
    assert a_snapshot(a_run(finished(), state=RunState.COMPLETE)).bars == ()


def test_a_bar_is_not_full_before_the_end():
    almost = a_count(requests=240, planned=240)

    text = render.bar(almost, 10)

    (dark,) = text.spans
    assert (dark.start, dark.end) == (9, 10)


def test_a_run_by_hand_has_a_line_while_it_runs():
    run = a_run(a_count(), mode="backfill", stocks="005930", run_id="by hand")
    snapshot = a_snapshot(run, first=frozenset({"first"}))

    assert "run           10:30:07 ▸ 5m backfill 005930: 12/30 series" in drawn(
        render.screen(snapshot, SOURCE)
    )


def test_a_database_that_is_silent_is_trouble():
    shown = drawn(render.screen(a_snapshot(), SOURCE, silent_seconds=7.0))

    assert "! the database has not answered for 7 s" in shown


def test_a_tick_of_another_day_is_told_with_its_day():
    snapshot = a_snapshot(next_tick=(kst("2026-11-23 09:00"), "collect-5m"))

    assert "Mon 2026-11-23 09:00 collect-5m" in drawn(render.screen(snapshot, SOURCE))


def test_a_dead_letter_is_told_with_its_reason():
    letter = DeadLetter(
        key="1",
        at="10:30:09",
        what="trigger",
        error_code="malformed_message",
        reason="timeframe: '15m' is not a timeframe",
    )

    assert render.dead_letter_line(letter).plain == (
        "10:30:09 ✗ dead letter: trigger (malformed_message): "
        "timeframe: '15m' is not a timeframe"
    )


def test_the_status_page_is_told_where_there_is_one():
    told = {
        "pid": 1,
        "project": "local-dev",
        "started_at": "",
        "clock_offset": 0.0,
        "broker": "SIMULATED PRICES",
        "simulated": True,
        "requests_per_second": 4.0,
        "database_url": "postgresql://pipeline@127.0.0.1:54320/simulated",
        "pubsub_host": "",
        "broker_url": "",
        "logs": ".local/logs",
    }

    without = dict(render.what_now(Announcement(**told)))
    with_one = Announcement(**told, status_page="http://127.0.0.1:8080")

    assert "Status page" not in without
    assert without["Database"] == told["database_url"]
    assert dict(render.what_now(with_one))["Status page"] == "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(8.06, "8.1 s"), (60, "1:00"), (125.4, "2:05"), (3_725, "1:02:05")],
)
def test_a_length_of_time_is_short(seconds, text):
    assert render.duration(seconds) == text


def test_the_rate_is_that_of_the_last_seconds():
    meter = RateMeter(seconds=6.0)

    assert meter.add(0.0, {"ka10080": 0}) == {"ka10080": 0.0}
    assert meter.add(2.0, {"ka10080": 8}) == {"ka10080": 4.0}
    for at in range(3, 20):
        rates = meter.add(float(at), {"ka10080": 8})

    assert rates == {"ka10080": 0.0}


def test_piped_output_is_lines_without_control_characters():
    output = io.StringIO()
    terminal = Terminal(output)
    terminal.start()

    terminal.step("PostgreSQL")
    terminal.step("functions")
    terminal.line("a line " * 20, style="bold red")
    terminal.draw(lambda: Text("never drawn"))
    terminal.close()

    first, second = output.getvalue().splitlines()
    assert first.startswith("✓ PostgreSQL")
    assert first.endswith(" s")
    assert second == "a line " * 20
    assert "\x1b" not in output.getvalue()


def test_targets_that_are_behind_are_named_once_with_their_timeframes():
    behind = [
        BehindSeries(
            stock_code=f"{number:06}",
            stock_name="가상",
            timeframe=timeframe,
            reason=BehindReason.NEVER_LOADED,
            since=None,
        )
        for number in range(12)
        for timeframe in (Timeframe.DAY_1, Timeframe.WEEK_1, Timeframe.MINUTE_5)
    ]

    lines = [line.plain for line in render.behind_lines(behind)]

    assert lines[0] == "✗ behind: 000000 가상: never loaded (5m 1d 1w)"
    assert lines[-1] == "✗ and 2 more"
    assert len(lines) == 11
    assert render.behind_lines([]) == []
