from __future__ import annotations

import json

import pytest

from functions.dispatcher.dispatch import TriggerMessage, dispatch
from functions.dispatcher.heartbeat import Pulse, pulse
from shared.behind import BehindSeries, Reason
from shared.candles import Timeframe
from shared.errors import CalendarMissing, MalformedMessage, PublishFailed
from shared.lanes import Lane
from shared.messages import CollectRequest
from shared.runs import OpenedRun
from shared.series import Coverage
from tests.support.builders import CALENDAR, day, kst

NOW = kst("2026-11-20 10:30")
PUBLISHED = kst("2026-11-20 10:29:59")


BEHIND = BehindSeries(
    stock_code="005930",
    stock_name="삼성전자",
    timeframe=Timeframe.DAY_1,
    reason=Reason.NOT_SETTLED,
    settled_through=day("2026-11-18"),
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

    def is_unsettled(self, stock_codes, due):
        self.looked_at.append((list(stock_codes), due))
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
    result = dispatch(message, stocks or FakeStocks(), runs, topic, CALENDAR, now)
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
    ("now", "day", "week"),
    [
        # Saturday, a holiday, and a Friday before it opens.
        ("2026-11-21 08:00", "2026-11-20", "2026-11-20"),
        ("2026-10-09 08:00", "2026-10-08", "2026-10-08"),
        ("2026-11-20 08:00", "2026-11-19", "2026-11-13"),
    ],
)
def test_a_morning_tick_settles_the_session_before_whatever_day_it_is(now, day, week):
    runs = FakeRuns()
    runs.unsettled = True

    result, requests, _ = run({"timeframes": ["1d", "1w"]}, runs, now=kst(now))

    assert not result.no_session
    assert len(requests) == 4
    ((codes, due),) = runs.looked_at
    assert codes == ["000660", "005930"]
    assert {timeframe: str(date) for timeframe, date in due.items()} == {
        "1d": day,
        "1w": week,
    }


def test_during_a_session_nothing_is_looked_up():
    _, _, runs = run({"timeframe": "5m"})

    assert runs.looked_at == []


@pytest.mark.parametrize(
    "more",
    [{"force": True}, {"period": "30d"}, {"mode": "backfill"}, {"start": "2026-01-02"}],
)
def test_history_and_force_need_no_session(more):
    result, requests, _ = run({"timeframe": "5m"} | more, now=kst("2026-11-21 10:00"))

    assert not result.no_session
    assert len(requests) == 2


def test_a_tick_in_the_evening_still_has_its_session():
    assert not run({"timeframe": "5m"}, now=kst("2026-11-20 20:45"))[0].no_session


def test_a_tick_that_comes_after_its_successor_asks_for_nothing():
    runs = FakeRuns()
    runs.successor = "run-9"

    result, requests, _ = run({"timeframe": "5m"}, runs)

    assert (result.superseded_by, result.published, requests) == ("run-9", 0, [])
    assert runs.opened.tick_of == PUBLISHED


@pytest.mark.parametrize(
    "trigger",
    [
        {"timeframe": "5m", "force": True},
        {"timeframe": "5m", "period": "30d"},
        {"timeframe": "5m", "mode": "backfill"},
    ],
)
def test_what_an_operator_asks_for_is_never_superseded(trigger):
    _, _, runs = run(trigger)

    assert runs.opened.tick_of is None


@pytest.mark.parametrize(
    ("now", "day", "week"),
    [
        # Thursday settles on Friday morning; in the evening it is missed.
        ("2026-11-20 10:30", "2026-11-18", "2026-11-13"),
        ("2026-11-20 17:59", "2026-11-18", "2026-11-13"),
        ("2026-11-20 18:00", "2026-11-19", "2026-11-13"),
        ("2026-11-23 09:05", "2026-11-20", "2026-11-20"),
    ],
)
def test_a_tick_tells_which_series_are_behind(now, day, week):
    result, _, runs = run({"timeframe": "5m"}, now=kst(now))

    assert list(result.behind) == [BEHIND]
    assert runs.due[Timeframe.MINUTE_5].isoformat() == day
    assert runs.due[Timeframe.WEEK_1].isoformat() == week


def test_a_heartbeat_is_answered_with_what_is_behind_and_starts_nothing():
    runs = FakeRuns()

    found = pulse(FakeStocks(), runs, lambda: CALENDAR, kst("2026-11-20 18:00"))

    assert found == Pulse(
        targets=2, behind=[BEHIND], last_run_at=kst("2026-11-20 10:25")
    )
    assert runs.due[Timeframe.MINUTE_5] == day("2026-11-19")
    assert runs.history == []


def test_a_heartbeat_is_answered_before_the_calendar_is_loaded():
    def missing():
        message = "no trading calendar was loaded yet"
        raise CalendarMissing(message)

    runs = FakeRuns()
    pulse(FakeStocks(targets=[]), runs, missing, NOW)

    assert runs.due == {}
