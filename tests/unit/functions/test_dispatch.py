from __future__ import annotations

import json
from dataclasses import replace

import pytest

from functions.dispatcher.dispatch import TriggerMessage, dispatch
from functions.dispatcher.heartbeat import Pulse, pulse
from functions.dispatcher.main import tell_behind
from infra import topology
from shared.candles import Timeframe
from shared.errors import CalendarMissing, MalformedMessage, PublishFailed
from shared.freshness import Due, DueTimes
from shared.lanes import Lane
from shared.messages import CollectRequest
from shared.reports import BehindReason, BehindSeries
from shared.runs import OpenedRun
from shared.series import Coverage
from tests.support.builders import CALENDAR, day, kst

NOW = kst("2026-11-20 10:30")
PUBLISHED = kst("2026-11-20 10:29:59")


DUE_TIMES = DueTimes(CALENDAR, topology.ticks(topology.load()))
BEHIND = BehindSeries(
    stock_code="005930",
    stock_name="삼성전자",
    timeframe=Timeframe.DAY_1,
    reason=BehindReason.NOT_ASKED,
    since=kst("2026-11-20 10:20"),
)


class FakeStocks:
    def __init__(
        self, targets=("000660", "005930"), listed=("000660", "005930", "0001A0")
    ):
        self._targets, self._listed = list(targets), list(listed)

    def targets(self):
        return self._targets

    def listed(self):
        return self._listed


class FakeRuns:
    """Remembers runs and what is left to publish, and in which order it all happened."""

    def __init__(self):
        self.runs = {}
        self.published = set()
        self.history = []
        self.left = {}
        self.successor = None
        self.unsettled = False
        self.looked_at = []
        self.covered = {}

    def open_run(self, run):
        self.history.append("opened")
        self.opened = run
        if self.successor:
            return OpenedRun(superseded_by=self.successor)
        messages = [request.to_bytes() for request in run.requests]
        self.runs.setdefault(run.run_id, messages)
        left = [] if run.run_id in self.published else self.runs[run.run_id]
        return OpenedRun(messages=left)

    def unpublished_runs(self):
        return self.left

    def coverage(self, stock_codes, timeframes):
        self.covered_of = list(stock_codes), list(timeframes)
        return self.covered

    def is_unsettled(self, stock_codes, over):
        self.looked_at.append((list(stock_codes), over))
        return self.unsettled

    def behind(self, due):
        self.due = due
        return [BEHIND]

    def last_requested_at(self):
        return kst("2026-11-20 10:25")

    def mark_published(self, run_id):
        self.history.append("marked")
        self.published.add(run_id)


class Topic:
    def __init__(self, runs, *, broken=False):
        self.messages, self.runs, self.broken = [], runs, broken

    def __call__(self, messages, run_id):
        self.runs.history.append("published")
        if self.broken:
            raise PublishFailed("collect")
        self.messages.extend(messages)


def run(trigger, runs=None, stocks=None, topic=None, now=NOW):
    runs = runs or FakeRuns()
    topic = topic or Topic(runs)
    data = trigger if isinstance(trigger, bytes) else json.dumps(trigger).encode()
    message = TriggerMessage(
        run_id="run-1", message_id="42", data=data, published_at=PUBLISHED
    )
    result = dispatch(message, stocks or FakeStocks(), runs, topic, DUE_TIMES, now)
    return result, [CollectRequest.from_bytes(data) for data in topic.messages], runs


def test_a_tick_asks_for_every_target_once():
    result, requests, _ = run({"timeframe": "5m"})

    assert [(r.stock_code, r.timeframe.value) for r in requests] == [
        ("000660", "5m"),
        ("005930", "5m"),
    ]
    assert result.published == 2
    assert {r.run_id for r in requests} == {"run-1"}


def test_a_run_is_in_the_ledger_before_anything_is_published():
    _, _, runs = run({"timeframe": "5m"})

    assert runs.history == ["opened", "published", "marked"]


def test_a_tick_is_live_where_the_series_has_been_loaded():
    runs = FakeRuns()
    runs.covered = {
        ("005930", Timeframe.MINUTE_5): Coverage(day("2026-09-01"), day("2026-11-19"))
    }

    _, requests, _ = run({"timeframe": "5m"}, runs)

    assert {r.stock_code: r.lane for r in requests} == {
        "000660": Lane.HISTORY,
        "005930": Lane.LIVE,
    }
    assert runs.covered_of == (["000660", "005930"], [Timeframe.MINUTE_5])


def test_several_timeframes_make_one_run():
    _, requests, _ = run({"timeframes": ["1d", "1w"]})

    assert len(requests) == 4


def test_a_redelivered_trigger_publishes_nothing():
    runs = FakeRuns()
    run({"timeframe": "5m"}, runs)

    result, requests, _ = run({"timeframe": "5m"}, runs)

    assert (result.published, requests) == (0, [])


def test_a_crash_before_publishing_is_made_good_by_the_redelivery():
    runs = FakeRuns()
    with pytest.raises(PublishFailed):
        run({"timeframe": "5m"}, runs, topic=Topic(runs, broken=True))

    result, _, _ = run({"timeframe": "5m"}, runs)

    assert result.published == 2


def test_a_run_that_was_left_behind_is_sent_out_with_the_next():
    runs = FakeRuns()
    runs.left = {
        "run-0": [
            CollectRequest(
                run_id="run-0", stock_code="005930", timeframe=Timeframe.DAY_1
            ).to_bytes()
        ]
    }

    _, requests, _ = run({"timeframe": "5m"}, runs)

    assert [r.run_id for r in requests] == ["run-1", "run-1", "run-0"]
    assert runs.published == {"run-0", "run-1"}


def test_a_backfill_carries_its_range():
    _, requests, _ = run(
        {
            "timeframe": "1d",
            "mode": "backfill",
            "stocks": ["035720"],
            "start": "2024-01-01",
            "end": "2025-01-01",
        }
    )

    (request,) = requests
    assert (request.start, request.end) == (day("2024-01-01"), day("2025-01-01"))
    assert request.mode.value == "backfill"


def test_a_period_becomes_a_start():
    _, requests, _ = run({"timeframe": "1d", "period": "30d"})

    assert {request.start for request in requests} == {day("2026-10-21")}


def test_the_whole_market_can_be_asked_for():
    _, requests, _ = run({"timeframe": "1d", "stocks": "all"})

    assert len(requests) == 3


def test_a_malformed_trigger_leaves_no_trace():
    runs = FakeRuns()

    with pytest.raises(MalformedMessage):
        run({"timeframe": "5m", "stock": ["005930"]}, runs)

    assert runs.history == []


def test_no_targets_is_an_error_and_not_an_empty_run():
    with pytest.raises(MalformedMessage, match="load them first"):
        run({"timeframe": "5m"}, stocks=FakeStocks(targets=()))


@pytest.mark.parametrize(
    "now", ["2026-11-21 10:00", "2026-10-09 10:00", "2026-11-20 08:59"]
)
def test_a_tick_without_a_session_asks_for_nothing_and_is_written_down(now):
    result, requests, runs = run({"timeframe": "5m"}, now=kst(now))

    assert result.no_session
    assert requests == []
    assert runs.runs == {"run-1": []}


@pytest.mark.parametrize(
    ("now", "five", "ready", "week"),
    [
        # The tick of this moment has its time yet.
        ("2026-11-20 10:30", "2026-11-20 10:25", "2026-11-20 10:21:30", "2026-11-09"),
        (
            "2026-11-20 10:31:30",
            "2026-11-20 10:30",
            "2026-11-20 10:26:30",
            "2026-11-09",
        ),
        ("2026-11-20 23:00", "2026-11-20 20:05", "2026-11-20 20:01:30", "2026-11-16"),
        # Before the first candle of the day, the one before is to be settled.
        ("2026-11-20 09:05", "2026-11-20 07:30", "2026-11-20 00:00", "2026-11-09"),
        ("2026-11-23 09:05", "2026-11-21 07:30", "2026-11-21 00:00", "2026-11-16"),
    ],
)
def test_a_tick_tells_which_series_are_behind(now, five, ready, week):
    result, _, runs = run({"timeframe": "5m"}, now=kst(now))

    assert list(result.behind) == [BEHIND]
    due = runs.due[Timeframe.MINUTE_5]
    assert (due.at, due.ready_at) == (kst(five), kst(ready))
    assert runs.due[Timeframe.WEEK_1].day == day(week)


def test_a_repair_does_not_look_for_what_is_behind():
    result, _, _ = run({"timeframe": "5m", "mode": "repair"})

    assert result.behind == ()


def test_a_heartbeat_is_answered_with_what_is_behind_and_starts_nothing():
    runs = FakeRuns()

    found = pulse(FakeStocks(), runs, lambda: DUE_TIMES, kst("2026-11-20 18:03"))

    assert found == Pulse(
        targets=2, behind=[BEHIND], last_run_at=kst("2026-11-20 10:25")
    )
    assert runs.due[Timeframe.DAY_1] == Due(
        day("2026-11-19"), kst("2026-11-20 07:30"), kst("2026-11-20")
    )
    assert runs.history == []


def test_a_heartbeat_is_answered_before_the_calendar_is_loaded():
    def missing():
        message = "no trading calendar was loaded yet"
        raise CalendarMissing(message)

    runs = FakeRuns()
    pulse(FakeStocks(targets=[]), runs, missing, NOW)

    assert runs.due == {}


def test_what_is_late_and_what_is_stale_otherwise_are_lines_of_their_own(caplog):
    never, unproven = (
        replace(BEHIND, stock_code=code, reason=reason)
        for code, reason in (
            ("000660", BehindReason.NEVER_LOADED),
            ("035420", BehindReason.UNPROVEN),
        )
    )
    weekly = replace(BEHIND, timeframe=Timeframe.WEEK_1, reason=BehindReason.VANISHED)

    with caplog.at_level("INFO", logger="pipeline"):
        tell_behind([BEHIND, never, unproven, weekly])

    told = [record.json_fields for record in caplog.records]
    assert [(line["event"], line["timeframe"], line["count"]) for line in told] == [
        ("late_series", "1d", 2),
        ("stale_series", "1d", 1),
        ("stale_series", "1w", 1),
    ]
    assert told[0]["stocks"][0].startswith("005930 삼성전자: not asked for since")
    assert {record.levelname for record in caplog.records} == {"ERROR"}


def test_where_nothing_is_behind_nothing_is_said(caplog):
    with caplog.at_level("INFO", logger="pipeline"):
        tell_behind([])

    assert not caplog.records
