"""What is reported, by rows that are just about to be told differently."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.candles import CandleSession, Timeframe
from shared.daily_reports import NO_REPORT, span
from shared.database import session_counts
from shared.database.report_store import ReportStore
from shared.freshness import Due
from shared.reports import Doubt, Mark, StockName
from shared.session_map import Detail
from tests.support.builders import day, kst
from tests.support.reports import a_report
from tests.support.rows import execute, insert

# A made-up clock runs this far ahead of PostgreSQL's.
OFFSET = timedelta(days=3)
M5, M30 = Timeframe.MINUTE_5, Timeframe.MINUTE_30
DAY, WEEK = Timeframe.DAY_1, Timeframe.WEEK_1
MONDAY, THURSDAY, FRIDAY = day("2026-11-16"), day("2026-11-19"), day("2026-11-20")
READY = kst("2026-11-20 10:26:30")
DUE = {frame: Due(FRIDAY, kst("2026-11-20 10:30"), READY) for frame in Timeframe}


@pytest.fixture
def store(engine):
    return ReportStore(engine, OFFSET)


def stocks(engine, *codes, **values):
    """Targets, the last one first."""
    known = {"market_code": "0", "market_name": "KOSPI", "is_target": True, **values}
    insert(
        engine,
        "stocks",
        *({"stock_code": code, "stock_name": f"n{code}", **known} for code in codes),
    )


def series(engine, code, frame="5m", **values):
    known = {"covered_from": MONDAY, "settled_through": THURSDAY, "oldest": MONDAY}
    row = {"stock_code": code, "timeframe": frame, **known, **values}
    insert(engine, "series", row)


def candles(engine, code, *instants, frame="5m", **values):
    prices = {"open": 100, "high": 110, "low": 90, "close": 105, "volume": 7}
    known = {"stock_code": code, "timeframe": frame, "session": "regular", **prices}
    insert(
        engine,
        "candles",
        *({**known, "opened_at": kst(at), **values} for at in instants),
    )


def of(store, *frames, behind=THURSDAY):
    return {each.stock.code: each.facts for each in store.series(frames, behind)}


# Series


def test_stocks_and_their_series_are_told_in_the_order_of_their_codes(store, engine):
    stocks(engine, "000003", "000001", "000002")

    codes = ["000001", "000002", "000003"]
    assert [stock.code for stock in store.stocks()] == codes
    assert [each.stock.code for each in store.series([M5], FRIDAY)] == codes


def test_a_halt_stands_in_either_column_of_the_stock_list(store, engine):
    stocks(engine, "000001", state="증거금100%|거래정지")
    stocks(engine, "000002", audit_info="거래정지")
    stocks(engine, "000003", state="대용정지|관리종목", audit_info="투자주의")
    stocks(engine, "000004")

    facts = of(store, M5)

    assert [facts[code].halted for code in sorted(facts)] == [True, True, False, False]


def test_the_newest_candle_is_looked_up_where_a_verdict_may_need_it(store, engine):
    cases = {
        "000001": ({}, {}),
        "000002": ({}, {"settled_through": THURSDAY - timedelta(days=1)}),
        "000003": ({}, {"settled_through": None}),
        "000004": ({"listed": False}, {}),
        "000005": ({}, {"ended": True}),
    }
    for code, (stock, proofs) in cases.items():
        stocks(engine, code, **stock)
        series(engine, code, **proofs)
        candles(engine, code, "2026-11-19 09:00", "2026-11-19 09:05")
        candles(engine, code, "2026-11-20 00:00", frame="1d")

    newest = {code: each.series.newest for code, each in of(store, M5).items()}

    needed = kst("2026-11-19 09:05")
    assert newest == dict.fromkeys(cases, needed) | {"000001": None}


def test_what_is_no_target_is_reported_if_it_was_ever_loaded(store, engine):
    stocks(engine, "000001", "000002", is_target=False)
    series(engine, "000001")

    assert of(store, M5).keys() == {"000001"}


def test_a_timeframe_is_settled_as_far_as_all_its_series_are(store, engine):
    stocks(engine, "000001", "000002")
    series(engine, "000001")
    series(engine, "000002", settled_through=MONDAY)
    series(engine, "000001", "1d")

    counts = store.counts(DUE)

    assert counts[M5].settled_through == MONDAY
    assert counts[DAY].settled_through is None


# Why they are late


def run(engine, run_id, written_at, trigger=None, **values):
    row = {"run_id": run_id, "message_id": run_id, "requested_at": written_at}
    trigger = trigger or {"timeframe": "5m"}
    insert(
        engine, "runs", row | {"written_at": written_at, "trigger": trigger, **values}
    )


def task(engine, run_id, code, frame="5m", **values):
    row = {"run_id": run_id, "stock_code": code, "timeframe": frame, "request": {}}
    insert(engine, "tasks", row | {"state": "failed", **values})


def test_late_series_are_told_by_the_error_of_their_newest_task(store, engine):
    codes = [f"00000{n}" for n in range(1, 6)]
    stocks(engine, *reversed(codes), "000009")
    for code in (*codes, "000009"):
        series(engine, code, asked_at=READY if code == "000009" else MONDAY)
    minute = timedelta(minutes=1)
    run(engine, "older", READY - 60 * minute)
    run(engine, "newer", READY - 50 * minute)
    for code in codes:
        task(engine, "older", code, error_code="kiwoom_unavailable")
    task(engine, "newer", "000003", error_code="kiwoom_8050")
    # None of them has a task.
    for n in range(25):
        run(engine, f"oldest-{n}", READY - (100 + n) * minute)
        run(engine, f"closed-{n}", READY - n * minute, no_session=True)
        run(engine, f"superseded-{n}", READY - n * minute, superseded_by="newer")

    groups = store.late_groups({M5: DUE[M5]})

    assert [(each.error_code, each.run_id, each.count) for each in groups] == [
        ("kiwoom_unavailable", "older", 4),
        ("kiwoom_8050", "newer", 1),
    ]
    assert [stock.code for stock in groups[0].examples] == [
        "000001",
        "000002",
        "000004",
    ]
    assert groups[0].examples[0].name == "n000001"


def test_why_a_week_is_late_is_known_however_many_ticks_other_candles_had(
    store, engine
):
    stocks(engine, "000001")
    series(engine, "000001", "1w", asked_at=MONDAY)
    morning = kst("2026-11-20 07:30")
    run(engine, "morning", morning, {"timeframes": ["5m", "1d", "1w"]})
    task(engine, "morning", "000001", "1w", error_code="token_refused")
    for n in range(60):
        run(engine, f"tick-{n}", morning + timedelta(minutes=5 * n))

    (group,) = store.late_groups({WEEK: DUE[WEEK]})

    assert (group.error_code, group.run_id) == ("token_refused", "morning")


def test_the_last_task_of_a_series_is_that_of_its_newest_run(store, engine):
    for n, frame in enumerate(("5m", "5m", "5m", "1d")):
        run(engine, f"run-{n}", READY - timedelta(minutes=abs(n - 1)))
        task(engine, f"run-{n}", "000001", frame, error_code=f"code_{n}")

    assert store.last_error("000001", M5).run_id == "run-1"
    assert store.last_error("000001", DAY).error_code == "code_3"
    assert store.last_error("000001", WEEK) is None


# What came of runs


def test_a_run_is_told_by_its_own_tasks(store, engine):
    for run_id in ("run-2", "run-1"):
        run(engine, run_id, READY)
    codes = [f"00000{n}" for n in range(9)]
    for code in codes[:6]:
        task(engine, "run-1", code, state="dead", error_code="b", error_message="?")
    task(engine, "run-1", codes[6], error_code="a")
    # Twelve hundred rows are two pages.
    kinds = dict.fromkeys(("inserted", "updated", "unchanged", "rejected"), 300)
    task(engine, "run-1", codes[7], state="done", requests=3, **kinds)
    task(engine, "run-1", codes[8], "1w", state="no_data")
    task(engine, "run-2", codes[0], state="dead", error_code="c")

    found = store.runs.of("run-1")

    assert [(each.timeframe, each.state, each.tasks) for each in found.groups] == [
        (M5, "dead", 6),
        (M5, "done", 1),
        (M5, "failed", 1),
        (WEEK, "no_data", 1),
    ]
    assert found.groups[1].least_requests == 2
    assert [(each.error_code, each.tasks, each.message) for each in found.errors] == [
        ("b", 6, "?"),
        ("a", 1, ""),
    ]
    assert found.errors[0].examples == tuple(f"{code} 5m" for code in codes[:5])
    assert found.open_tasks == 1
    # Of two that were recorded at once, one comes first each time.
    assert [each.run_id for each in store.runs.newest(9)] == ["run-1", "run-2"]


def test_a_run_is_at_work_as_long_as_one_of_its_tasks_is(store, engine):
    cases = {
        "complete": [("done", "no_data"), ("no_data",), ()],
        "running": [("queued",), ("done", "running"), ("dead", "failed")],
        "incomplete": [("done", "dead"), ("incomplete", "no_data")],
    }
    expected = {"closed": "no_session", "late": "superseded"}
    run(engine, "closed", READY, no_session=True)
    run(engine, "late", READY, superseded_by="run")
    for state, all_tasks in cases.items():
        for tasks in all_tasks:
            run_id = f"{state} {tasks}"
            expected[run_id] = state
            run(engine, run_id, READY)
            for n, of_task in enumerate(tasks):
                ended = None if of_task in {"queued", "running", "failed"} else READY
                task(engine, run_id, f"00000{n}", state=of_task, finished_at=ended)

    found = store.runs.newest(20)

    assert {each.run_id: each.state for each in found} == expected
    assert all(each.seconds is None for each in found if each.state == "running")
    done = [each.finished_at for each in found if each.state == "incomplete"]
    assert done == [READY + OFFSET] * 2


# Accounts


OVER_AT = kst("2026-11-20 00:00")


def test_series_with_the_same_proofs_are_one_account(store, engine):
    stocks(engine, "000002", "000001", "000003")
    series(engine, "000001", accounted_for=400)
    series(engine, "000002", accounted_for=400)
    # That there is nothing older is known of one only.
    series(engine, "000003", accounted_for=400, history_exhausted=True)
    series(engine, "000001", "1d", covered_from=None)

    one, other = store.accounts(M5, THURSDAY, OVER_AT)
    both = sorted((one, other), key=lambda account: account.codes)

    assert [account.codes for account in both] == [("000001", "000002"), ("000003",)]
    assert [account.accounted_for for account in both] == [400, 400]
    assert [account.facts.series.oldest for account in both] == [None, MONDAY]
    assert [account.facts.series.history_exhausted for account in both] == [False, True]
    assert store.accounts(DAY, THURSDAY, OVER_AT) == []


def test_a_listing_counts_where_it_is_later_than_what_is_covered(store, engine):
    stocks(engine, "000001", listed_on=MONDAY)
    stocks(engine, "000002", "000003", listed_on=THURSDAY)
    series(engine, "000001", accounted_for=400)
    # Candles of before the listing are counted, and not expected.
    series(engine, "000002", accounted_for=400)
    series(engine, "000003", accounted_for=400, oldest=THURSDAY)

    found = {each.codes[0]: each for each in store.accounts(M5, THURSDAY, OVER_AT)}

    listed = {code: each.facts.listed_on for code, each in found.items()}
    assert listed["000001"] is None
    assert THURSDAY in listed.values()
    assert found["000001"].accounted_for == 400
    assert [each.accounted_for for each in found.values()].count(None) == 1


@pytest.mark.parametrize(
    ("stock", "proofs", "is_open"),
    [
        ({}, {}, True),
        ({}, {"settled_through": None}, True),
        ({}, {"settled_through": FRIDAY}, False),
        ({}, {"asked_at": OVER_AT - timedelta(seconds=1)}, False),
        ({}, {"asked_at": None}, False),
        ({}, {"ended": True}, False),
        ({"listed": False}, {}, False),
    ],
)
def test_open_is_what_was_asked_for_when_it_was_over_and_is_not_settled(
    store, engine, stock, proofs, is_open
):
    stocks(engine, "000001", **stock)
    series(engine, "000001", **{"asked_at": OVER_AT, **proofs})

    (account,) = store.accounts(M5, FRIDAY, OVER_AT)

    assert account.is_open is is_open


def test_altered_is_a_series_with_more_settled_candles_or_fewer_than_were_sealed(
    store, engine
):
    stored = {
        "000001": ["2026-11-19 09:00", "2026-11-19 09:05", "2026-11-20 09:00"],
        "000002": ["2026-11-19 09:00"],
        "000003": ["2026-11-19 09:00", "2026-11-19 09:05", "2026-11-19 09:10"],
        "000004": ["2026-11-19 09:00", "2026-11-19 09:05"],
    }
    for code, instants in stored.items():
        series(engine, code, settled_through=None if code == "000004" else THURSDAY)
        candles(engine, code, *instants)
        for frame in ("5m", "1d"):
            row = {"stock_code": code, "timeframe": frame, "session_date": THURSDAY}
            insert(
                engine,
                "session_seals",
                row | {"candles": 2, "digest": "\\x" + "0" * 64},
            )

    assert store.altered(M5) == {"000002", "000003"}


# Reports of days


def test_due_times_are_counted_of_series_that_ticks_ask_for(store, engine):
    at = kst("2026-11-20 10:30")
    stocks(engine, "000001", "000002", "000003", "000004")
    stocks(engine, "000005", is_target=False)
    stocks(engine, "000006", listed=False)
    proofs = {
        "000002": {"loaded_on": FRIDAY},
        "000003": {"ended": True},
        "000004": {"covered_from": None},
    }
    began = at - OFFSET
    run(engine, "tick", began)
    for code in [f"00000{n}" for n in range(1, 7)]:
        series(engine, code, **proofs.get(code, {}))
        ended = {"started_at": began, "finished_at": began + timedelta(seconds=5)}
        task(engine, "tick", code, state="done", **ended)

    patience = timedelta(seconds=90)

    assert store.daily.punctuality({M5: [at], DAY: []}, patience) == (1, 1)


def test_a_task_is_of_the_day_on_which_it_ended_however_old_its_run(store, engine):
    since, until = span(FRIDAY)
    run(engine, "old", since - OFFSET - timedelta(days=10))
    for n, ended in enumerate((since, until - timedelta(seconds=1), until)):
        values = {"state": "dead", "requests": 10**n, "finished_at": ended - OFFSET}
        task(engine, "old", f"00000{n}", **values)

    tally = store.daily.tally(since, until)

    assert (tally.dead_tasks, tally.requests) == (2, 11)


def test_a_day_without_a_report_breaks_the_chain_though_it_was_chained_over(store):
    wednesday = a_report(day=THURSDAY - timedelta(days=1))

    assert store.daily.write(wednesday)
    assert store.daily.write(a_report(day=FRIDAY, previous=wednesday.chain))
    assert store.daily.unlinked() == (2, [FRIDAY])
    # Nor does a chain begin twice, or fork.
    for previous in (NO_REPORT, wednesday.chain):
        report = a_report(day=FRIDAY + timedelta(days=1), previous=previous)
        assert not store.daily.write(report)


def test_a_chain_begins_with_its_first_report_and_no_other(store, engine):
    store.daily.write(a_report(day=THURSDAY, previous="ab" * 32))
    store.daily.write(a_report(day=FRIDAY + timedelta(days=1), previous=NO_REPORT))

    assert store.daily.unlinked() == (2, [THURSDAY, FRIDAY + timedelta(days=1)])


# What else happened


def an_action(engine, frame, effective_by, **values):
    insert(
        engine,
        "corporate_actions",
        {
            "stock_code": "000001",
            "timeframe": frame,
            "after_date": effective_by - timedelta(days=1),
            "effective_by": effective_by,
            "ratio": 0.5,
            "evidence": {},
            "run_id": "r",
            **values,
        },
    )


def a_revision(engine, frame, at, **values):
    prices = dict.fromkeys(("open", "high", "low", "close", "volume"), 1)
    row = {"run_id": "r", "stock_code": "000001", "timeframe": frame, **prices}
    insert(engine, "revisions", row | {"opened_at": kst(at), **values})


def a_refusal(engine, frame, at, **values):
    row = {"run_id": "r", "stock_code": "000001", "timeframe": frame, "reason": "no"}
    opened_at = at and kst(at)
    insert(
        engine, "quarantine", row | {"raw": f"{at}", "opened_at": opened_at, **values}
    )


def test_a_session_is_marked_for_what_happened_in_its_timeframe(store, engine):
    for frame in ("1d", "5m"):
        an_action(engine, frame, THURSDAY if frame == "1d" else MONDAY)
        a_revision(engine, frame, "2026-11-19" if frame == "1d" else "2026-11-17")
        a_refusal(engine, frame, "2026-11-19" if frame == "1d" else "2026-11-18")
    for at in ("2026-11-15", "2026-11-20"):
        an_action(engine, "1d", day(at))
        a_revision(engine, "1d", at)
        a_refusal(engine, "1d", at)

    all_three = Mark.REBUILT | Mark.REVISED | Mark.QUARANTINED
    assert store.marks(DAY, MONDAY, THURSDAY) == {"000001": {THURSDAY: all_three}}
    assert store.marks(M5, MONDAY, THURSDAY)["000001"] == {
        MONDAY: Mark.REBUILT,
        day("2026-11-17"): Mark.REVISED,
        day("2026-11-18"): Mark.QUARANTINED,
    }


def test_the_history_of_a_series_is_told_newest_first(store, engine):
    for n, at in enumerate(("2026-11-17", "2026-11-18", "2026-11-19", "2026-11-20")):
        when = kst("2026-11-25") - timedelta(hours=n)
        an_action(engine, "5m", day(at))
        a_revision(engine, "5m", at, revised_at=when)
        a_refusal(engine, "5m", at, refused_at=when)
    an_action(engine, "1d", MONDAY)
    a_refusal(engine, "5m", None, refused_at=kst("2026-11-24"))

    told = store.history("000001", M5, day("2026-11-18"), THURSDAY)

    # Actions are of the whole series; a row that does not tell its time, of any day.
    assert [each.effective_by.day for each in told.actions] == [20, 19, 18, 17]
    assert [each.opened_at for each in told.revisions] == [
        kst("2026-11-18"),
        kst("2026-11-19"),
    ]
    assert [each.opened_at for each in told.quarantine] == [
        kst("2026-11-18"),
        kst("2026-11-19"),
        None,
    ]


# Seals


def a_broken_seal(engine, code, frame, session, **values):
    row = {"stock_code": code, "timeframe": frame, "session_date": session}
    insert(engine, "broken_seals", row | {"sealed": 2, "found": 1, **values})


def test_broken_seals_are_told_newest_first_also_of_a_stock_that_is_gone(store, engine):
    stocks(engine, "000001")
    found_at = kst("2026-11-20 09:00")
    a_broken_seal(engine, "000001", "5m", THURSDAY, found_at=found_at)
    a_broken_seal(
        engine, "000002", "5m", MONDAY, found_at=found_at + timedelta(minutes=1)
    )

    told = store.broken_seals()

    assert [each.stock for each in told] == [
        StockName(code="000002", name="000002"),
        StockName(code="000001", name="n000001"),
    ]
    assert store.count_broken_seals() == 2


def test_the_seal_of_a_day_or_a_week_is_that_of_its_year(store, engine):
    stocks(engine, "000001", "000002")
    for frame in ("1d", "1w"):
        a_broken_seal(engine, "000001", frame, day("2026-01-01"))
    a_broken_seal(engine, "000002", "5m", THURSDAY)

    assert store.broken_seal("000001", DAY, THURSDAY)
    assert store.broken_seal("000001", WEEK, MONDAY)
    assert store.broken_seal("000001", M5, THURSDAY) is None


# Whom to doubt


def test_doubted_are_listed_targets_that_contradict_and_targets_that_vanished(
    store, engine
):
    unproven = {"unproven_on": FRIDAY, "unproven_ratio": 0.5}
    stocks(engine, "000001", listed=False, absences=2)
    stocks(engine, "000002", listed=False, absences=2, is_target=False)
    stocks(engine, "000003", listed=True, absences=2)
    # It was delisted, as the master says.
    stocks(engine, "000004", listed=False)
    stocks(engine, "000005", "000006")
    stocks(engine, "000007", is_target=False)
    for code in ("000001", "000005", "000007"):
        series(engine, code, **unproven)
    series(engine, "000006")

    assert store.doubts() == [
        Doubt(stock=StockName(code="000001", name="n000001")),
        Doubt(stock=StockName(code="000005", name="n000005"), timeframe=M5),
    ]


# The broker's limits, and the clock


def test_the_pace_of_a_call_is_that_of_the_key_that_waits_longest(store, engine):
    now = kst("2026-11-20 10:30")
    row = {"api_id": "ka10080", "next_free_at": now}
    slowed = {"slowdown": 2.0, "slowed_at": now}
    insert(
        engine,
        "rate_slots",
        {**row, "app_key_id": "a", **slowed},
        {
            **row,
            "app_key_id": "b",
            "next_free_at": now + timedelta(seconds=9),
            "slowdown": 1.0,
            "slowed_at": now - timedelta(hours=1),
        },
    )

    (rate,) = store.rates()

    assert rate.next_free_at == now + OFFSET + timedelta(seconds=9)
    assert (rate.slowdown, rate.slowed_at) == (2.0, now + OFFSET)
    assert rate.app_keys == 2


def test_a_task_that_is_not_over_keeps_its_run_among_those_that_are_counted(
    store, engine
):
    """A collection of a whole market began hours ago, and asks all the time."""
    insert(
        engine,
        "rate_slots",
        {"app_key_id": "a", "api_id": "ka10080", "next_free_at": kst("2026-11-20")},
    )
    now = execute(engine, "SELECT now()").scalar()
    for number, state in enumerate(("queued", "running", "failed", "dead")):
        run(engine, state, now - timedelta(hours=1))
        task(engine, state, "000001", state=state)
        done = {"state": "done", "requests": 10**number, "finished_at": now}
        task(engine, state, "000002", **done)

    (rate,) = store.rates()

    assert rate.requests == 111


def test_instants_that_postgresql_wrote_are_moved_to_the_clock_of_the_pipeline(
    store, engine
):
    stocks(engine, "000001")
    at = kst("2026-11-20 09:00")
    an_action(engine, "5m", THURSDAY, detected_at=at)
    a_revision(engine, "5m", "2026-11-19", revised_at=at)
    a_refusal(engine, "5m", "2026-11-19", refused_at=at)
    a_broken_seal(engine, "000001", "5m", THURSDAY, found_at=at)
    seal = {"stock_code": "000001", "timeframe": "5m", "session_date": THURSDAY}
    sealed = {"sealed_at": at, "first_sealed_at": at - timedelta(hours=1)}
    insert(
        engine,
        "session_seals",
        seal | {"candles": 2, "digest": "\\x" + "0" * 64, **sealed},
    )

    history = store.history("000001", M5, THURSDAY, THURSDAY)
    seal = store.seal("000001", M5, THURSDAY)

    assert {
        history.actions[0].detected_at,
        history.revisions[0].revised_at,
        history.quarantine[0].refused_at,
        store.broken_seals()[0].found_at,
        seal.sealed_at,
        seal.first_sealed_at + timedelta(hours=1),
    } == {at + OFFSET}


# Candles and slots


def test_candles_are_of_one_part_of_the_session_and_of_a_range(store, engine):
    series(engine, "000001", settled_through=None)
    candles(engine, "000001", "2026-11-19 09:00", "2026-11-19 15:30")
    candles(engine, "000001", "2026-11-19 16:00", session="after")
    first, beyond = kst("2026-11-19 09:00"), kst("2026-11-19 16:00")

    def found(until=beyond, limit=3, **values):
        page = store.candles("000001", M5, first, until, limit=limit, **values)
        return [each.opened_at.hour + 9 for each in page.candles], page.more

    later = beyond + timedelta(seconds=1)
    assert found() == ([9, 15], False)
    assert found(later) == ([9, 15, 16], False)
    assert found(later, limit=2) == ([9, 15], True)
    assert found(later, session=CandleSession.AFTER) == ([16], False)
    # Nothing of it is final.
    assert found(later, settled=True) == ([], False)


def test_a_settled_range_ends_where_one_asked_for_its_end(store, engine):
    series(engine, "000001")
    candles(
        engine, "000001", "2026-11-18 09:00", "2026-11-19 09:00", "2026-11-20 09:00"
    )

    def found(until):
        first = kst("2026-11-16")
        page = store.candles("000001", M5, first, until, settled=True, limit=9)
        return [each.opened_at for each in page.candles]

    assert found(kst("2026-11-21")) == [
        kst("2026-11-18 09:00"),
        kst("2026-11-19 09:00"),
    ]
    assert found(kst("2026-11-19")) == [kst("2026-11-18 09:00")]


def test_a_slot_has_a_candle_or_is_proven_to_have_none(store, engine):
    candles(engine, "000001", "2026-11-19 09:00", "2026-11-20 09:00")
    absent = {"stock_code": "000001", "timeframe": "5m", "run_id": "r"}
    for at, confirmations in (("2026-11-19 09:05", 2), ("2026-11-20 09:05", 1)):
        row = {"opened_at": kst(at), "confirmations": confirmations}
        insert(engine, "absent_slots", absent | row)

    told = store.slots("000001", M5, MONDAY, THURSDAY)

    assert told.candles == {kst("2026-11-19 09:00")}
    assert told.confirmations == {kst("2026-11-19 09:05"): 2}


def test_a_day_without_trades_explains_minutes_and_no_day(store, engine):
    candles(engine, "000001", "2026-11-18", frame="1d", volume=0)
    candles(engine, "000001", "2026-11-19", frame="1d")
    # Minutes have no volume of a whole day.
    candles(engine, "000001", "2026-11-19 09:00", volume=0)

    def without(frame):
        told = store.slots("000001", frame, MONDAY, FRIDAY)
        return told.days_without_trades

    assert without(M5) == {day("2026-11-18")}
    assert without(DAY) == frozenset()


def counted(store, *arguments):
    return {
        code: {
            day: (each.candles, each.absent, each.confirmed) for day, each in of.items()
        }
        for code, of in store.sessions(*arguments).items()
    }


def test_letters_of_a_few_stocks_are_read_by_their_seals_where_that_is_wanted(
    store, engine
):
    series(engine, "000001", "30m")
    candles(engine, "000001", "2026-11-19 09:00", frame="30m")
    seal = {"stock_code": "000001", "timeframe": "30m", "session_date": THURSDAY}
    insert(
        engine,
        "session_seals",
        seal | {"candles": 7, "on_grid": 5, "digest": "\\x" + "0" * 64},
    )

    def told(detail):
        return counted(store, M30, MONDAY, FRIDAY, ["000001"], detail)["000001"]

    assert told(Detail.LETTERS) == {THURSDAY: (1, 0, 0)}
    assert told(Detail.SEALED_LETTERS) == {THURSDAY: (5, 0, 0)}


def test_sessions_are_counted_of_each_stock_in_one_timeframe(store, engine):
    for code in ("000001", "000002"):
        candles(engine, code, "2026-11-19 09:00", frame="30m")
        for frame, at, n in (
            ("30m", "2026-11-19 09:30", 1),
            ("30m", "2026-11-19 10:00", 2),
            ("5m", "2026-11-19 09:30", 1),
            ("5m", "2026-11-18 09:30", 1),
        ):
            row = {"stock_code": code, "timeframe": frame, "run_id": "r"}
            slot = {"opened_at": kst(at), "confirmations": n}
            insert(engine, "absent_slots", row | slot)
    candles(engine, "000001", "2026-11-19 10:30", frame="30m")
    candles(engine, "000001", "2026-11-18 10:30", "2026-11-19 10:30", frame="5m")

    assert counted(store, M30, MONDAY, FRIDAY) == {
        "000001": {THURSDAY: (2, 2, 1)},
        "000002": {THURSDAY: (1, 2, 1)},
    }


def test_five_minutes_count_where_the_grid_has_a_slot(store, engine):
    row = {"session_date": THURSDAY, "source": "x"}
    opens_at, closes_at = kst("2026-11-19 09:00"), kst("2026-11-19 15:30")
    insert(
        engine, "market_sessions", row | {"opens_at": opens_at, "closes_at": closes_at}
    )
    series(engine, "000001")
    slots = ["15:15", "15:30", "15:35", "16:00"]
    # While orders are gathered, and in the pause after the session.
    beside = ["15:20", "15:25", "15:40", "15:55"]
    candles(engine, "000001", *(f"2026-11-19 {at}" for at in slots + beside))

    assert counted(store, M5, MONDAY, FRIDAY) == {"000001": {THURSDAY: (4, 0, 0)}}


def test_of_many_series_what_is_settled_is_told_by_seals(store, engine, monkeypatch):
    series(engine, "000001", "30m")
    # Of another timeframe, and not settled that far.
    series(engine, "000001", "5m", settled_through=MONDAY)
    for code, frame in (("000001", "30m"), ("000001", "5m"), ("000002", "30m")):
        candles(engine, code, "2026-11-19 09:00", "2026-11-20 09:00", frame=frame)
    seal = {"stock_code": "000001", "timeframe": "30m", "session_date": THURSDAY}
    insert(engine, "session_seals", seal | {"candles": 7, "digest": "\\x" + "0" * 64})
    by_candles = {THURSDAY: (1, 0, 0), FRIDAY: (1, 0, 0)}
    assert counted(store, M30, MONDAY, FRIDAY)["000001"] == by_candles

    # One series of thirty minutes was ever loaded.
    monkeypatch.setattr(session_counts, "MANY_SERIES", 1)
    assert counted(store, M30, MONDAY, FRIDAY)["000001"] == by_candles
    monkeypatch.setattr(session_counts, "MANY_SERIES", 0)
    by_seals = counted(store, M30, MONDAY, FRIDAY)

    assert by_seals == {"000001": {THURSDAY: (7, 0, 0), FRIDAY: (1, 0, 0)}}
