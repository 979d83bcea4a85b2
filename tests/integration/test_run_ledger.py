from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import text

from functions.reference_sync.reference_data import target_stocks
from shared.candles import Timeframe
from shared.database.engine import transaction
from shared.database.run_ledger import RunLedger, add_tasks, run_id_of
from shared.database.stock_store import StockStore
from shared.freshness import Due
from shared.messages import CollectRequest
from shared.runs import NewRun
from shared.series import Coverage
from tests.support.builders import a_request, day, kst

NOW = kst("2026-11-20 10:30")


@pytest.fixture
def ledger(engine_of):
    return RunLedger(engine_of("dispatcher"))


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


def test_what_is_known_of_series_is_read_for_many_at_once(ledger, engine):
    insert = text(
        "INSERT INTO series"
        " (stock_code, timeframe, covered_from, settled_through, ended)"
        " VALUES ('005930', '1d', '2025-01-02', '2026-11-19', false),"
        " ('000660', '1d', '2025-01-02', NULL, false),"
        " ('091990', '1d', NULL, NULL, true),"
        " ('005930', '1w', '2025-01-02', NULL, false),"
        " ('005380', '1d', '2025-01-02', NULL, false)"
    )
    with transaction(engine) as connection:
        connection.execute(insert)

    covered = ledger.coverage(
        ["005930", "000660", "035720", "091990"], [Timeframe.DAY_1]
    )

    since = date(2025, 1, 2)
    assert covered == {
        ("005930", Timeframe.DAY_1): Coverage(since, date(2026, 11, 19)),
        ("000660", Timeframe.DAY_1): Coverage(since, None),
        ("091990", Timeframe.DAY_1): Coverage(ended=True),
    }


def test_a_run_that_was_not_published_can_be_published_again(ledger):
    first = opened(ledger, a_request())

    again = opened(ledger, a_request(stock_code="000660"))

    assert again == first


def test_a_published_run_is_not_published_again(ledger, query):
    opened(ledger, a_request())
    ledger.mark_published("run-1")

    assert opened(ledger, a_request()) == []
    assert query("SELECT published_at IS NOT NULL FROM runs") == [(True,)]


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


# Thursday's days, as they were read on Friday morning.
THURSDAY = {
    Timeframe.DAY_1: Due(
        day("2026-11-19"), kst("2026-11-20 07:30"), kst("2026-11-20 00:00")
    )
}
ALL_LOADED = (
    "INSERT INTO series (stock_code, timeframe, covered_from, asked_at)"
    " SELECT stock_code, '1d', '2026-01-01', '2026-11-20 07:30+09' FROM stocks"
    " WHERE is_target AND listed"
)


@pytest.fixture
def loaded(engine, reference_data):
    """All listed targets are fresh; returns how one of them is changed."""

    def change(statement):
        with engine.begin() as connection:
            connection.execute(text(statement))

    change(ALL_LOADED)
    return change


def behind(ledger, due=THURSDAY):
    return [str(series) for series in ledger.behind(due)]


def test_where_all_is_fresh_nothing_is_behind(ledger, loaded):
    """One of the thirty was delisted in 2024, and is no alarm for ever."""
    assert behind(ledger) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            "asked_at = '2026-11-19 23:59:59+09'",
            "not asked for since 2026-11-19 23:59",
        ),
        ("asked_at = NULL", "not asked for"),
        ("covered_from = NULL, asked_at = NULL", "never loaded"),
        (
            "unproven_on = '2026-11-19', unproven_ratio = 0.2",
            "prices contradict each other since 2026-11-19 00:00",
        ),
    ],
)
def test_a_series_that_is_behind_is_named_with_the_reason(
    ledger, loaded, change, reason
):
    loaded(f"UPDATE series SET {change} WHERE stock_code = '005930'")

    assert behind(ledger) == [f"005930 삼성전자: {reason}"]


def test_each_timeframe_is_judged_by_what_is_due_of_it(ledger, loaded):
    loaded(
        "INSERT INTO series (stock_code, timeframe, covered_from, asked_at)"
        " SELECT stock_code, '1w', covered_from, '2026-11-14 07:30+09' FROM series"
    )

    def due(ready_at):
        return {Timeframe.WEEK_1: Due(day("2026-11-09"), kst(ready_at), kst(ready_at))}

    assert behind(ledger, due("2026-11-14")) == []
    assert len(behind(ledger, due("2026-11-21"))) == 29


def test_where_nothing_is_due_nothing_is_behind(ledger, loaded):
    loaded("DELETE FROM series")

    assert behind(ledger, {}) == []


def test_a_target_without_any_row_was_never_loaded(ledger, loaded):
    loaded("DELETE FROM series WHERE stock_code = '005930'")

    assert behind(ledger) == ["005930 삼성전자: never loaded"]


@pytest.mark.parametrize(
    ("state", "hours", "expected"),
    [
        ("queued", 1, []),
        ("running", 1, []),
        ("queued", 19, ["005930 삼성전자: never loaded"]),
        ("dead", 1, ["005930 삼성전자: never loaded"]),
    ],
)
def test_what_is_being_loaded_is_behind_only_after_a_while(
    ledger, loaded, state, hours, expected
):
    loaded("DELETE FROM series WHERE stock_code = '005930'")
    loaded(
        "INSERT INTO runs (run_id, message_id, trigger, requested_at, written_at)"
        f" VALUES ('r', 'm', '{{}}', now(), now() - interval '{hours} hours')"
    )
    loaded(
        "INSERT INTO tasks (run_id, stock_code, timeframe, request, state)"
        f" VALUES ('r', '005930', '1d', '{{}}', '{state}')"
    )

    assert behind(ledger) == expected


@pytest.mark.parametrize(
    "change",
    [
        # The broker has nothing of it.
        "UPDATE series SET covered_from = NULL",
        "UPDATE series SET asked_at = NULL, ended = true",
        "UPDATE stocks SET is_target = false",
        # Listed on the day after the one that is due.
        "DELETE FROM series; UPDATE stocks SET listed_on = '2026-11-20'",
    ],
)
def test_what_cannot_be_read_is_not_behind(ledger, loaded, change):
    for statement in change.split(";"):
        loaded(f"{statement} WHERE stock_code = '005930'")

    assert behind(ledger) == []


def test_a_target_that_vanished_is_named_until_it_is_no_target(ledger, loaded, engine):
    """Also after its series has ended: an operator decides whether it was delisted."""
    stocks = StockStore(engine)
    others = [stock for stock in target_stocks() if stock.stock_code != "005930"]
    listed = [stock for stock in others if stock.listed]

    stocks.replace_listed(listed, ["0", "10"], unlisted_after=2)
    assert behind(ledger) == []
    stocks.replace_listed(listed, ["0", "10"], unlisted_after=2)
    loaded("UPDATE series SET ended = true WHERE stock_code = '005930'")
    assert behind(ledger) == ["005930 삼성전자: vanished from the broker's list"]

    stocks.set_targets(["005930"], is_target=False)
    assert behind(ledger) == []


def test_the_newest_run_is_known_by_when_it_was_requested(ledger, loaded):
    assert ledger.last_requested_at() is None

    loaded(
        "INSERT INTO runs (run_id, message_id, trigger, requested_at)"
        " VALUES ('r', 'm', '{}', '2026-11-20 10:30+09')"
    )

    assert ledger.last_requested_at() == kst("2026-11-20 10:30")


OVER = {Timeframe.DAY_1: kst("2026-11-21"), Timeframe.WEEK_1: kst("2026-11-21")}


@pytest.mark.parametrize(
    ("asked_at", "ended", "unsettled"),
    [
        ("2026-11-21 08:00", False, False),
        ("2026-11-20 21:00", False, True),
        (None, False, True),
        ("2026-11-20 21:00", True, False),
    ],
)
def test_a_series_is_unsettled_until_it_was_asked_for_after_its_last_session(
    ledger, engine, asked_at, ended, unsettled
):
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO series (stock_code, timeframe, covered_from, asked_at,"
                " ended) VALUES ('005930', '1d', '2026-01-01', :asked_at, :ended)"
            ),
            {"asked_at": asked_at and kst(asked_at), "ended": ended},
        )

    over = {Timeframe.DAY_1: OVER[Timeframe.DAY_1]}
    assert ledger.is_unsettled(["005930"], over) is unsettled


def test_a_series_that_was_never_read_is_unsettled(ledger):
    assert ledger.is_unsettled(["005930"], OVER)
    assert not ledger.is_unsettled([], OVER)


def test_tasks_are_added_to_a_run_that_is_there(ledger, engine, query):
    """Two timeframes find one action, at different times."""

    def added(*timeframes):
        requests = [a_request(timeframe, run_id="run-9") for timeframe in timeframes]
        with transaction(engine) as connection:
            messages = add_tasks(connection, a_run(run_id="run-9", requests=requests))
        return [CollectRequest.from_bytes(m).timeframe.value for m in messages]

    assert added("1d", "1w") == ["1d", "1w"]
    ledger.mark_published("run-9")
    assert added("1d", "1w") == []
    assert query("SELECT published_at IS NULL FROM runs") == [(False,)]
    # Published anew as a whole; what is finished ignores its second message.
    assert added("1d", "5m") == ["1d", "1w", "5m"]
    assert query("SELECT published_at IS NULL FROM runs") == [(True,)]
