"""Old days of the ledger become counts, and its newest runs are found at once."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from functions.reference_sync.prune import prune
from infra.local import progress
from shared.database import ledger_pruning
from shared.database.ledger_pruning import LedgerPruning
from tests.support import ledger

NOW = datetime.now(UTC)


@pytest.fixture
def query(engine):
    def query(statement, **values):
        with engine.begin() as connection:
            result = connection.execute(text(statement), values)
            return [tuple(row) for row in result] if result.returns_rows else []

    return query


@pytest.fixture
def record(query):
    """Record a run of so many days ago, with tasks in these states."""

    def record(run_id, *states, days=91, timeframe="5m", published=None, **columns):
        columns = {"no_session": False, "superseded_by": None} | columns
        query(
            "INSERT INTO runs (run_id, message_id, trigger, requested_at, written_at,"
            " published_at, no_session, superseded_by) SELECT :run_id, 'm', '{}', at, at,"
            " CASE WHEN cast(:superseded_by AS text) IS NULL AND NOT :no_session"
            "      THEN now() - make_interval(days => :published) END,"
            " :no_session, cast(:superseded_by AS text)"
            " FROM (SELECT now() - make_interval(days => :days) AS at) AS recorded",
            run_id=run_id,
            days=days,
            published=days if published is None else published,
            **columns,
        )
        for n, state in enumerate(states):
            query(
                "INSERT INTO tasks (run_id, stock_code, timeframe, request, state,"
                " attempts, requests, inserted, missing, error_code, started_at,"
                " finished_at) SELECT :run_id, :code, :timeframe, '{}', :state, 2, 3, 4,"
                " 1, CASE WHEN cast(:state AS text) = 'dead' THEN 'kiwoom_1511' END, written_at,"
                " written_at + interval '1.5 s' FROM runs WHERE run_id = :run_id",
                run_id=run_id,
                code=f"{n:06}",
                timeframe=timeframe,
                state=state,
            )

    return record


DAYS = "SELECT * FROM ledger_days ORDER BY day"


def test_what_a_day_recorded_is_told_alike_before_and_after_it_is_removed(
    engine, record, query
):
    record("a", "done", "done", "dead", "no_data", "incomplete", "queued")
    record("b", "done", timeframe="1d", days=100)
    record("c", days=100, no_session=True)
    record("d", days=100, superseded_by="c")
    record("new", "done", "dead", days=89)
    before = query(DAYS)

    pruned = prune(LedgerPruning(engine), NOW)

    assert (pruned.runs, pruned.tasks, pruned.is_done) == (4, 7, True)
    assert query("SELECT run_id, count(*) FROM tasks GROUP BY 1") == [("new", 2)]
    assert query("SELECT run_id FROM runs") == [("new",)]
    assert query(DAYS) == before
    figures = (
        "SELECT runs, no_session, superseded, tasks, done, incomplete, no_data, dead,"
        " unfinished, attempts, requests, seconds, inserted, missing, error_codes"
        " FROM ledger_days ORDER BY day"
    )
    codes = {"kiwoom_1511": 1}
    assert query(figures) == [
        (3, 1, 1, 1, 1, 0, 0, 0, 0, 2, 3, 1.5, 4, 1, {}),
        (1, 0, 0, 6, 2, 1, 1, 1, 1, 12, 18, 9.0, 24, 6, codes),
        (1, 0, 0, 2, 1, 0, 0, 1, 0, 4, 6, 3.0, 8, 2, codes),
    ]


def test_a_large_run_goes_in_batches_that_can_be_cut_off_anywhere(
    engine, record, query, monkeypatch
):
    monkeypatch.setattr(ledger_pruning, "TASKS_AT_ONCE", 3)
    monkeypatch.setattr(ledger_pruning, "RUNS_AT_ONCE", 2)
    record("a", *["done"] * 7)
    record("b", "done", "done")
    record("c", "dead")
    before = query(DAYS)
    pruning, batches = LedgerPruning(engine), []

    while sum(removed := pruning.remove_tasks(90)):
        batches.append(removed)
        assert query(DAYS) == before

    assert sum(runs for runs, _ in batches) == 3
    assert max(tasks for _, tasks in batches) == 3
    assert query("SELECT sum(tasks) FROM task_days") == [(10,)]


def test_a_day_is_kept_until_it_is_ninety_days_old_in_seoul(engine, record, query):
    record("a", "done", days=90)
    record("b", "done", days=91)

    prune(LedgerPruning(engine), NOW)

    assert query("SELECT run_id FROM runs") == [("a",)]


def test_a_rebuild_that_was_published_again_is_not_removed(engine, record, query):
    """Another timeframe found the action of an old run, which gets one task more."""
    record("a", "done", "queued", published=0)

    assert prune(LedgerPruning(engine), NOW).tasks == 0
    assert query("SELECT count(*) FROM tasks") == [(2,)]


def test_a_run_that_gets_a_task_at_this_moment_waits_for_another_night(
    engine, record, query
):
    record("a", "done")
    with engine.begin() as adding:
        adding.execute(text("UPDATE runs SET published_at = NULL"))

        assert LedgerPruning(engine).remove_tasks(90) == (0, 0)
    assert query("SELECT count(*) FROM tasks") == [(1,)]


def test_pages_that_no_attempt_will_continue_go_within_a_day(engine, query):
    for name, hours in (("old", 25), ("new", 23)):
        query(
            "WITH chain AS (INSERT INTO staged_chains (run_id, stock_code, timeframe,"
            " anchor, read_at) VALUES (:name, '005930', '1d', '2026-11-20', :read_at)"
            " RETURNING chain_id) INSERT INTO staged_pages SELECT chain_id, 1, '', '{}'"
            " FROM chain",
            name=name,
            read_at=NOW - timedelta(hours=hours),
        )

    assert prune(LedgerPruning(engine), NOW).chains == 1
    assert query("SELECT run_id FROM staged_chains") == [("new",)]
    assert query("SELECT count(*) FROM staged_pages") == [(1,)]


NEWEST = "SELECT * FROM run_states ORDER BY requested_at DESC LIMIT 20"


def nodes(plan):
    """A plan, and all that it is made of."""
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def touched(plan):
    """How many rows the leaves of a plan have read."""
    if "Plans" in plan:
        return sum(map(touched, plan["Plans"]))
    removed = plan.get("Rows Removed by Filter", 0)
    return (plan["Actual Rows"] + removed) * plan["Actual Loops"]


def test_the_newest_runs_are_found_without_counting_the_others(engine, query):
    ledger.fill(engine, runs=3_000, stocks=10, days=30)
    explained = f"EXPLAIN (ANALYZE, FORMAT json) {NEWEST}"

    ((plans,),) = query(explained)

    # 20 runs, and the ten tasks of each.
    assert touched(plans[0]["Plan"]) <= 20 + 20 * 10


def test_the_states_of_large_runs_are_counted_without_reading_their_tasks(
    engine, query
):
    ledger.fill(engine, runs=30, stocks=1_000, days=30)

    ((plans,),) = query(f"EXPLAIN (ANALYZE, FORMAT json) {NEWEST}")

    counted = [each for each in nodes(plans[0]["Plan"]) if each.get("Heap Fetches")]
    assert "tasks_states" in json.dumps(plans)
    assert counted == []


def test_the_screen_reads_the_latest_runs_and_those_that_are_not_over(
    engine, record, query, monkeypatch
):
    monkeypatch.setattr(progress, "LATEST", 2)
    record("first", "done", days=9)
    record("long", "done", "queued", days=8)
    for n in range(4):
        record(f"tick-{n}", "done", days=7 - n)

    def shown(since, always=()):
        since = NOW - timedelta(days=since)
        found = progress.read(engine, since, timedelta(0), lambda _: 1, always)
        return [run.run_id for run in found.runs]

    assert shown(30) == ["long", "tick-2", "tick-3"]
    assert shown(30, ["first"]) == ["first", "long", "tick-2", "tick-3"]
    assert shown(4.5) == ["tick-3"]
