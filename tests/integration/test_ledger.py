from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest
from shared.database.ledger import Ledger, run_id_of
from sqlalchemy import text

from shared.candles import Timeframe
from shared.errors import (
    AttemptsExhausted,
    Busy,
    KiwoomRejected,
    KiwoomUnavailable,
    TokenRejected,
    UnknownTask,
)
from shared.runs import NewRun
from tests.support.builders import a_request, kst

NOW = kst("2026-11-20 10:30")


@pytest.fixture
def ledger(engine):
    return Ledger(engine, max_attempts=3)


@pytest.fixture
def query(engine):
    def query(statement):
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]

    return query


def opened(ledger, *requests, run_id="run-1"):
    run = a_run(run_id=run_id, requests=requests)
    return ledger.open_run(run).messages


def a_run(**fields):
    values = {"run_id": "run-1", "message_id": "42", "trigger": b'{"timeframe":"1d"}'}
    values |= {"requests": [a_request()], "requested_at": NOW}
    return NewRun(**values | fields)


def test_a_run_is_the_same_however_often_its_message_comes():
    assert run_id_of("42") == run_id_of("42")
    assert run_id_of("42") != run_id_of("43")
    assert run_id_of("42", "one emulator") != run_id_of("42", "another")


def test_a_run_is_written_with_its_tasks(ledger, query):
    requests = [a_request(), a_request("1w")]

    messages = opened(ledger, *requests)

    assert len(messages) == 2
    assert query("SELECT state, tasks, done FROM run_states") == [("running", 2, 0)]


def test_a_run_that_was_not_published_can_be_published_again(ledger):
    first = opened(ledger, a_request())

    again = opened(ledger, a_request(stock_code="000660"))

    assert again == first


def test_a_published_run_is_not_published_again(ledger, query):
    opened(ledger, a_request())
    ledger.mark_published("run-1")

    assert opened(ledger, a_request()) == []
    assert query("SELECT published_at IS NOT NULL FROM runs") == [(True,)]


def test_a_task_that_nobody_wrote_down_is_refused(ledger):
    with (
        pytest.raises(UnknownTask, match="publish a trigger"),
        ledger.attempt(a_request()),
    ):
        pytest.fail("the attempt began")


def test_only_one_works_at_a_series_at_a_time(ledger, query):
    opened(ledger, a_request())
    opened(ledger, a_request(run_id="run-2"), run_id="run-2")

    with ledger.attempt(a_request()):
        for run_id in ("run-1", "run-2"):
            with pytest.raises(Busy), ledger.attempt(a_request(run_id=run_id)):
                pytest.fail("a second attempt began")

    assert query("SELECT attempts FROM tasks ORDER BY run_id") == [(1,), (0,)]


def test_other_series_are_free(ledger):
    requests = [a_request(), a_request("1w"), a_request(stock_code="000660")]
    opened(ledger, *requests)

    with (
        ledger.attempt(requests[0]) as one,
        ledger.attempt(requests[1]) as two,
        ledger.attempt(requests[2]) as three,
    ):
        assert {one.request, two.request, three.request} == set(requests)


def test_a_killed_instance_keeps_its_series_only_for_a_while(ledger, engine, query):
    opened(ledger, a_request())
    killed = ledger.attempt(a_request())
    killed.__enter__()
    with engine.begin() as connection:
        connection.execute(text("UPDATE series SET leased_until = clock_timestamp()"))

    with ledger.attempt(a_request()) as attempt:
        assert attempt is not None

    assert query("SELECT attempts FROM tasks") == [(2,)]


def test_a_transient_failure_is_noted_and_may_be_tried_again(ledger, query):
    opened(ledger, a_request())

    with pytest.raises(KiwoomUnavailable), ledger.attempt(a_request()) as attempt:
        attempt.requests += 3
        raise KiwoomUnavailable("HTTP 500")

    assert query("SELECT state, attempts, requests, error_code FROM tasks") == [
        ("failed", 1, 3, "kiwoom_unavailable")
    ]
    assert query("SELECT leased_by FROM series") == [(None,)]
    with ledger.attempt(a_request()) as attempt:
        assert attempt.requests == 3


def test_a_task_that_fails_too_often_is_dead(ledger, query):
    opened(ledger, a_request())

    for error in (KiwoomUnavailable, KiwoomUnavailable, AttemptsExhausted):
        with pytest.raises(error) as raised, ledger.attempt(a_request()):
            raise KiwoomUnavailable("HTTP 500")

    assert raised.value.error_code == "kiwoom_unavailable"
    assert "failed 3 times, at last: HTTP 500" in str(raised.value)
    assert query("SELECT state, finished_at IS NOT NULL FROM tasks") == [("dead", True)]
    assert query("SELECT state, dead FROM run_states") == [("incomplete", 1)]


def test_a_permanent_failure_is_dead_at_once(ledger, query):
    opened(ledger, a_request())

    with pytest.raises(KiwoomRejected), ledger.attempt(a_request()):
        raise KiwoomRejected("ka10081", "1511", "base_dt")

    assert query("SELECT state, error_code FROM tasks") == [("dead", "kiwoom_1511")]


def test_a_mistake_of_ours_is_noted_too(ledger, query):
    opened(ledger, a_request())

    with pytest.raises(ZeroDivisionError), ledger.attempt(a_request()):
        raise ZeroDivisionError

    assert query("SELECT state, error_code, error_message FROM tasks") == [
        ("failed", "unforeseen", "ZeroDivisionError")
    ]


def test_a_busy_attempt_was_none(ledger, query):
    opened(ledger, a_request())

    for _ in range(5):
        with pytest.raises(Busy), ledger.attempt(a_request()):
            raise Busy("the queue is long")

    assert query("SELECT state, attempts FROM tasks") == [("queued", 0)]


def test_a_dead_task_that_is_put_back_has_all_its_tries_again(ledger, query):
    opened(ledger, a_request())
    with pytest.raises(KiwoomRejected), ledger.attempt(a_request()):
        raise KiwoomRejected("ka10081", "1511", "base_dt")

    with ledger.attempt(a_request()) as attempt:
        assert attempt is not None

    assert query("SELECT state, attempts FROM tasks") == [("running", 1)]


def test_a_stock_is_listed_unless_it_is_known_not_to_be(ledger, reference_data):
    gone = a_request(stock_code="091990")
    new = a_request(stock_code="0001A0")
    opened(ledger, gone, new)

    with ledger.attempt(gone) as one, ledger.attempt(new) as two:
        assert (one.listed, two.listed) == (False, True)


def test_a_token_that_died_is_no_fault_of_the_task(ledger, query):
    opened(ledger, a_request())

    for _ in range(9):
        with pytest.raises(TokenRejected), ledger.attempt(a_request()) as attempt:
            attempt.requests += 1
            raise TokenRejected("rejected", "7")

    assert query("SELECT state, attempts, requests, error_code FROM tasks") == [
        ("queued", 0, 9, "token_rejected")
    ]


def test_of_the_ticks_of_an_outage_the_first_to_arrive_does_all_the_work(ledger, query):
    """However they arrive: a run that begins now reads the market as it is now."""
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    order = [3, 0, 4, 1, 2]

    results = [
        ledger.open_run(
            a_run(
                run_id=f"run-{n}",
                requests=[a_request(run_id=f"run-{n}")],
                tick_of=an_hour_ago + timedelta(minutes=5 * n),
            )
        )
        for n in order
    ]

    assert [len(result.messages) for result in results] == [1, 0, 0, 0, 0]
    assert {result.superseded_by for result in results[1:]} == {"run-3"}
    assert query("SELECT state, count(*) FROM run_states GROUP BY 1 ORDER BY 1") == [
        ("running", 1),
        ("superseded", 4),
    ]
    assert ledger.unpublished_runs() == {}


def test_ticks_that_arrive_together_make_one_run(ledger, query):
    tick_of = datetime.now(UTC)

    def deliver(n):
        requests = [a_request(run_id=f"run-{n}")]
        run = a_run(run_id=f"run-{n}", requests=requests, tick_of=tick_of)
        return ledger.open_run(run)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(deliver, range(8)))

    assert sorted(len(result.messages) for result in results) == [0] * 7 + [1]


def test_a_redelivered_tick_is_not_superseded_by_itself(ledger):
    run = a_run(tick_of=datetime.now(UTC) - timedelta(minutes=1))
    first = ledger.open_run(run)

    assert ledger.open_run(run) == first
    assert len(first.messages) == 1


def test_the_next_tick_makes_a_run_of_its_own(ledger):
    ledger.open_run(a_run(tick_of=datetime.now(UTC)))

    second = ledger.open_run(
        a_run(
            run_id="run-2",
            requests=[a_request(run_id="run-2")],
            tick_of=datetime.now(UTC) + timedelta(seconds=1),
        )
    )

    assert len(second.messages) == 1


def test_series_of_targets_that_are_behind_are_counted(
    ledger, query, engine, reference_data
):
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO series (stock_code, timeframe, covered_from, settled_through)"
                " VALUES ('005930', '1d', '2026-01-01', '2026-11-18'),"
                " ('000660', '1d', '2026-01-01', NULL),"
                " ('035420', '1d', '2026-01-01', '2026-11-19'),"
                " ('035720', '1d', NULL, NULL),"
                " ('091990', '1d', '2026-01-01', '2023-12-28'),"
                " ('005930', '1w', '2026-01-01', '2026-11-13'),"
                " ('005930', '5m', '2026-01-01', '2026-11-18')"
            )
        )

    due = {
        Timeframe.DAY_1: date(2026, 11, 19),
        Timeframe.WEEK_1: date(2026, 11, 13),
        Timeframe.MINUTE_5: date(2026, 11, 19),
    }
    assert ledger.stale_series(due) == {"1d": 2, "5m": 1}
