from __future__ import annotations

import pytest
from sqlalchemy import text

from shared.database.ledger import Ledger, run_id_of
from shared.errors import (
    AttemptsExhausted,
    Busy,
    KiwoomRejected,
    KiwoomUnavailable,
    UnknownTask,
)
from tests.builders import a_request, kst

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
    return ledger.open_run(run_id, "42", b'{"timeframe":"1d"}', requests, NOW)


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


def test_a_dead_task_can_be_replayed(ledger, query):
    opened(ledger, a_request())
    with pytest.raises(KiwoomRejected), ledger.attempt(a_request()):
        raise KiwoomRejected("ka10081", "1511", "base_dt")

    with ledger.attempt(a_request()) as attempt:
        assert attempt is not None

    assert query("SELECT state, attempts FROM tasks") == [("running", 2)]


def test_a_stock_is_listed_unless_it_is_known_not_to_be(ledger, reference_data):
    gone = a_request(stock_code="091990")
    new = a_request(stock_code="0001A0")
    opened(ledger, gone, new)

    with ledger.attempt(gone) as one, ledger.attempt(new) as two:
        assert (one.listed, two.listed) == (False, True)
