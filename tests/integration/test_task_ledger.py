from __future__ import annotations

import pytest
from sqlalchemy import text

from shared.database.run_ledger import RunLedger
from shared.database.task_ledger import TaskLedger
from shared.errors import (
    AttemptsExhausted,
    Busy,
    DatabaseMisconfigured,
    KiwoomRejected,
    KiwoomUnavailable,
    RateLimited,
    TokenRejected,
    UnknownTask,
)
from shared.runs import NewRun
from tests.support.builders import a_request, day, kst

NOW = kst("2026-11-20 10:30")


@pytest.fixture
def ledger(engine_of):
    return TaskLedger(engine_of("collector"), max_attempts=3)


@pytest.fixture
def opened(engine):
    def opened(*requests, run_id="run-1"):
        run = NewRun(
            run_id=run_id,
            message_id="42",
            trigger=b'{"timeframe":"1d"}',
            requests=requests,
            requested_at=NOW,
        )
        return RunLedger(engine).open_run(run).messages

    return opened


@pytest.fixture
def query(engine):
    def query(statement):
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]

    return query


def test_a_task_that_was_never_written_down_is_refused(ledger):
    with (
        pytest.raises(UnknownTask, match="publish a trigger"),
        ledger.attempt(a_request()),
    ):
        pytest.fail("the attempt began")


def test_only_one_works_at_a_series_at_a_time(ledger, query, opened):
    opened(a_request())
    opened(a_request(run_id="run-2"), run_id="run-2")

    with ledger.attempt(a_request()):
        for run_id in ("run-1", "run-2"):
            with pytest.raises(Busy), ledger.attempt(a_request(run_id=run_id)):
                pytest.fail("a second attempt began")

    assert query("SELECT attempts FROM tasks ORDER BY run_id") == [(1,), (0,)]


def test_other_series_are_free(ledger, opened):
    requests = [a_request(), a_request("1w"), a_request(stock_code="000660")]
    opened(*requests)

    with (
        ledger.attempt(requests[0]) as one,
        ledger.attempt(requests[1]) as two,
        ledger.attempt(requests[2]) as three,
    ):
        assert {one.request, two.request, three.request} == set(requests)


def test_a_killed_instance_keeps_its_series_only_for_a_while(
    ledger, engine, query, opened
):
    opened(a_request())
    killed = ledger.attempt(a_request())
    killed.__enter__()
    with engine.begin() as connection:
        connection.execute(text("UPDATE series SET leased_until = clock_timestamp()"))

    with ledger.attempt(a_request()) as attempt:
        assert attempt is not None

    assert query("SELECT attempts FROM tasks") == [(2,)]


def test_a_transient_failure_is_recorded_and_may_be_tried_again(ledger, query, opened):
    opened(a_request())

    with pytest.raises(KiwoomUnavailable), ledger.attempt(a_request()) as attempt:
        attempt.requests += 3
        raise KiwoomUnavailable("HTTP 500")

    assert query("SELECT state, attempts, requests, error_code FROM tasks") == [
        ("failed", 1, 3, "kiwoom_unavailable")
    ]
    assert query("SELECT leased_by FROM series") == [(None,)]
    with ledger.attempt(a_request()) as attempt:
        assert attempt.requests == 3


def test_a_task_that_fails_too_often_is_dead(ledger, query, opened):
    opened(a_request())

    for error in (KiwoomUnavailable, KiwoomUnavailable, AttemptsExhausted):
        with pytest.raises(error) as raised, ledger.attempt(a_request()):
            raise KiwoomUnavailable("HTTP 500")

    assert raised.value.error_code == "kiwoom_unavailable"
    assert "failed 3 times, at last: HTTP 500" in str(raised.value)
    assert query("SELECT state, finished_at IS NOT NULL FROM tasks") == [("dead", True)]
    assert query("SELECT state, dead FROM run_states") == [("incomplete", 1)]


def test_a_permanent_failure_is_dead_at_once(ledger, query, opened):
    opened(a_request())

    with pytest.raises(KiwoomRejected), ledger.attempt(a_request()):
        raise KiwoomRejected("ka10081", "1511", "base_dt")

    assert query("SELECT state, error_code FROM tasks") == [("dead", "kiwoom_1511")]


def test_a_bug_is_recorded_too(ledger, query, opened):
    opened(a_request())

    with pytest.raises(ZeroDivisionError), ledger.attempt(a_request()):
        raise ZeroDivisionError

    assert query("SELECT state, error_code, error_message FROM tasks") == [
        ("failed", "unforeseen", "ZeroDivisionError")
    ]


def test_what_the_deployment_does_not_allow_is_no_fault_of_the_task(
    ledger, query, opened
):
    opened(a_request())

    for _ in range(5):
        with pytest.raises(DatabaseMisconfigured), ledger.attempt(a_request()):
            raise DatabaseMisconfigured("permission denied", "make migrate")

    assert query("SELECT state, attempts FROM tasks") == [("queued", 0)]


def test_a_busy_attempt_is_not_counted(ledger, query, opened):
    opened(a_request())

    for _ in range(5):
        with pytest.raises(Busy), ledger.attempt(a_request()):
            raise Busy("the queue is long")

    assert query("SELECT state, attempts FROM tasks") == [("queued", 0)]


def test_a_dead_task_that_is_put_back_has_all_its_attempts_again(ledger, query, opened):
    opened(a_request())
    with pytest.raises(KiwoomRejected), ledger.attempt(a_request()):
        raise KiwoomRejected("ka10081", "1511", "base_dt")

    with ledger.attempt(a_request()) as attempt:
        assert attempt is not None

    assert query("SELECT state, attempts FROM tasks") == [("running", 1)]


def test_a_stock_is_listed_unless_it_is_known_not_to_be(ledger, reference_data, opened):
    gone = a_request(stock_code="091990")
    new = a_request(stock_code="0001A0")
    opened(gone, new)

    with ledger.attempt(gone) as one, ledger.attempt(new) as two:
        assert (one.listed, two.listed) == (False, True)


@pytest.mark.parametrize(
    "error", [TokenRejected("rejected", "7"), RateLimited("too many requests")]
)
def test_an_attempt_that_failed_by_no_fault_of_its_task_is_not_counted(
    ledger, query, opened, error
):
    opened(a_request())

    for _ in range(9):
        with pytest.raises(type(error)), ledger.attempt(a_request()) as attempt:
            attempt.requests += 1
            raise error

    assert query("SELECT state, attempts, requests, error_code FROM tasks") == [
        ("queued", 0, 9, error.error_code)
    ]


def test_a_stock_is_halted_where_the_master_says_so(
    ledger, query, engine, opened, reference_data
):
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE stocks SET state = '거래정지' WHERE stock_code = '005930'")
        )
    opened(a_request(), a_request(stock_code="000660"))

    with (
        ledger.attempt(a_request()) as one,
        ledger.attempt(a_request(stock_code="000660")) as two,
    ):
        assert (one.halted, two.halted) == (True, False)


def test_a_stock_is_known_from_its_listing_or_from_another_timeframe(
    ledger, engine, opened, reference_data
):
    with engine.begin() as connection:
        connection.execute(text("UPDATE stocks SET listed_on = '1975-06-11'"))
        connection.execute(
            text(
                "INSERT INTO series (stock_code, timeframe, oldest) VALUES"
                " ('005930', '1w', '1970-01-05'), ('005930', '1d', '1960-01-04'),"
                " ('000660', '1w', '1999-01-04')"
            )
        )
    requests = [a_request(stock_code=code) for code in ("005930", "000660")]
    opened(*requests)

    with ledger.attempt(requests[0]) as one, ledger.attempt(requests[1]) as two:
        # Not by its own series: that is what is in question.
        assert one.known_from == day("1970-01-05")
        assert two.known_from == day("1975-06-11")


def test_an_action_of_any_timeframe_is_known_to_all_series_of_the_stock(
    ledger, engine, opened, reference_data
):
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO corporate_actions VALUES"
                " ('005930', '1w', '2026-11-06', '2026-11-13', 0.2, '{}', 'run'),"
                " ('005930', '1d', '2026-11-11', '2026-11-12', 0.2, '{}', 'run')"
            )
        )
    requests = [a_request(stock_code=code) for code in ("005930", "000660")]
    opened(*requests)

    with ledger.attempt(requests[0]) as one, ledger.attempt(requests[1]) as two:
        assert (one.moved_on, two.moved_on) == (day("2026-11-13"), None)


def test_the_ends_of_a_series_are_those_of_its_candles(ledger, engine, opened):
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO candles (stock_code, timeframe, opened_at, open, high,"
                " low, close, volume, session) VALUES"
                " ('005930', '1d', '2026-11-16 00:00+09', 1, 1, 1, 1, 1, 'regular'),"
                " ('005930', '1d', '2026-11-18 00:00+09', 1, 1, 1, 1, 1, 'regular')"
            )
        )
        connection.execute(
            text(
                "INSERT INTO series (stock_code, timeframe, oldest)"
                " VALUES ('005930', '1d', '2020-01-02')"
            )
        )
    opened(a_request())

    with ledger.attempt(a_request()) as attempt:
        assert attempt.series.oldest == day("2026-11-16")
        assert attempt.series.newest == kst("2026-11-18")
