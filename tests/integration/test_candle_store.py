"""What storing leaves in the database; what the collector sees is a contract."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from fractions import Fraction

import pytest
from sqlalchemy import text

from shared.candles import RejectedRow
from shared.database.candle_store import CandleStore
from shared.database.run_ledger import RunLedger
from shared.database.task_ledger import TaskLedger
from shared.runs import NewRun
from shared.series import CollectedSeries, Period, PriceMove, Series, WriteCounts
from shared.sessions import KST
from tests.support.builders import CALENDAR, a_candle, a_request, day, kst

NOW = kst("2026-11-20 10:30")
COVERED = Series(
    covered_from=day("2026-11-16"),
    wanted_from=day("2026-11-16"),
    settled_through=day("2026-11-18"),
    oldest=day("2026-11-16"),
)
WEEK = tuple(a_candle(f"2026-11-{n}") for n in (16, 17, 18, 19, 20))
WHOLE = Period(kst("2026-11-16"), kst("2026-11-21"))


class Stores:
    """Ledgers and a store on a real database."""

    def __init__(self, engine):
        self.engine = engine
        self.runs = RunLedger(engine)
        self.tasks = TaskLedger(engine)
        self.candles = CandleStore(engine, lambda: CALENDAR)
        self.number = 0

    def task(self):
        self.number += 1
        request = a_request(run_id=f"run-{self.number}")
        run = NewRun(
            run_id=request.run_id,
            message_id=str(self.number),
            trigger=b"{}",
            requests=[request],
            requested_at=NOW,
        )
        self.runs.open_run(run)
        return request

    def store(self, candles, **values):
        with self.tasks.attempt(self.task()) as attempt:
            attempt.requests += 2
            known = {"series": COVERED, "calendar": CALENDAR.version, "read_at": NOW}
            collected = CollectedSeries(candles=tuple(candles), **{**known, **values})
            return self.candles.store(attempt, collected)

    def known(self):
        """The slots about which a repair would not ask."""
        with self.tasks.attempt(self.task()) as attempt:
            found = self.candles.known_slots(attempt, WHOLE)
            self.candles.store(
                attempt,
                CollectedSeries(
                    series=attempt.series, calendar=CALENDAR.version, read_at=NOW
                ),
            )
            return found

    def rows(self, statement):
        with self.engine.begin() as connection:
            result = connection.execute(text(statement))
            return [tuple(row) for row in result] if result.returns_rows else []


@pytest.fixture
def stores(engine):
    return Stores(engine)


def test_candles_come_back_as_they_were_stored(stores):
    candle = a_candle(turnover=648_525_000_000)

    stores.store([candle])

    (row,) = stores.rows("SELECT * FROM candles")
    assert row[2].astimezone(KST) == candle.opened_at
    assert row[:2] + row[3:] == (
        "005930",
        "1d",
        70_000,
        71_000,
        69_000,
        70_500,
        1_000,
        648_525_000_000,
        "regular",
        False,
    )


def test_the_statement_counts_what_it_did(stores):
    assert stores.store(WEEK[:3]).counts == WriteCounts(inserted=3)
    assert stores.store(WEEK[:3]).counts == WriteCounts(unchanged=3)
    changed = replace(WEEK[2], close=70_600)
    assert stores.store([*WEEK[:2], changed, WEEK[3]]).counts == WriteCounts(
        inserted=1, updated=1, unchanged=2, revised=1
    )


def test_the_ledger_has_the_same_counts(stores):
    stores.store(WEEK[:2])
    stores.store(WEEK)

    assert stores.rows(
        "SELECT state, attempts, requests, inserted, updated, unchanged, rejected"
        " FROM tasks ORDER BY run_id"
    ) == [("done", 1, 2, 2, 0, 0, 0), ("done", 1, 2, 3, 0, 2, 0)]


def test_unchanged_candles_are_not_written_again(stores):
    stores.store(WEEK)
    before = stores.rows(
        "SELECT ctid::text, xmin::text FROM candles ORDER BY opened_at"
    )

    stores.store(WEEK)

    after = stores.rows("SELECT ctid::text, xmin::text FROM candles ORDER BY opened_at")
    assert before == after


def test_a_forming_candle_is_overwritten_without_a_trace(stores):
    stores.store(WEEK)

    stores.store([replace(WEEK[4], close=70_900)])

    assert stores.rows("SELECT close FROM candles ORDER BY opened_at DESC LIMIT 1") == [
        (70_900,)
    ]
    assert stores.rows("SELECT * FROM revisions") == []


def test_a_settled_candle_that_changes_leaves_its_old_values(stores):
    stores.store(WEEK)

    stores.store([replace(WEEK[2], close=70_600, volume=1_001)])

    assert stores.rows(
        "SELECT run_id, close, volume, last_seen_at < revised_at FROM revisions"
    ) == [("run-2", 70_500, 1_000, True)]


def test_refused_rows_are_kept_once(stores):
    rejected = (RejectedRow(reason="high below low", raw='{"high": "1"}'),)

    assert stores.store(WEEK, rejected=rejected).counts.rejected == 1
    assert stores.store(WEEK, rejected=rejected).counts.rejected == 1

    assert stores.rows("SELECT reason, raw FROM quarantine") == [
        ("high below low", '{"high": "1"}')
    ]


def test_series_and_candles_are_stored_together(stores):
    stores.store(WEEK)

    assert stores.rows(
        "SELECT covered_from, settled_through, oldest, version, leased_by FROM series"
    ) == [(day("2026-11-16"), day("2026-11-18"), day("2026-11-16"), 1, None)]


def test_a_withdrawn_candle_leaves_its_last_values(stores):
    stores.store(WEEK)

    stores.store([WEEK[0], *WEEK[2:4]], complete=(WHOLE,))

    # The 17th was settled, the 20th was not.
    assert stores.rows(
        "SELECT run_id, opened_at, close, withdrawn, last_seen_at FROM revisions"
    ) == [("run-2", WEEK[1].opened_at, 70_500, True, NOW)]
    assert stores.rows("SELECT withdrawn FROM tasks ORDER BY run_id") == [(0,), (2,)]


def test_an_outlier_leaves_its_old_values_on_the_new_basis(stores):
    stores.store(WEEK)
    move = PriceMove(
        ratio=Fraction(1, 5),
        after=day("2026-11-18"),
        effective_by=day("2026-11-19"),
        evidence="{}",
    )
    served = [replace(candle, close=69_500) for candle in WEEK]

    stores.store(served, move=move, outliers=frozenset({WEEK[1].opened_at}))

    assert stores.rows("SELECT opened_at, open, close, volume FROM revisions") == [
        (WEEK[1].opened_at, 14_000, 14_100, 5_000)
    ]


def test_an_incomplete_task_tells_its_first_missing_slots(stores):
    slots = tuple(kst("2026-10-01") + timedelta(days=n) for n in range(12))

    stores.store([], expected=slots)

    ((state, missing, first),) = stores.rows(
        "SELECT state, missing, first_missing FROM tasks"
    )
    assert (state, missing, tuple(first)) == ("incomplete", 12, slots[:10])
    assert stores.rows(
        "SELECT state, incomplete, missing, first_missing FROM run_states"
    ) == [("incomplete", 1, 12, slots[0])]


def grows_older(stores, weeks):
    stores.rows(f"UPDATE absent_slots SET seen_at = seen_at - interval '{weeks} weeks'")


SLOT = WEEK[1].opened_at


def test_an_absence_is_believed_for_six_weeks(stores):
    stores.store([], absent=(SLOT,))
    grows_older(stores, 5)
    assert stores.known() == {SLOT}

    grows_older(stores, 1)
    assert stores.known() == set()


def test_an_absence_that_was_confirmed_is_believed_longer(stores):
    stores.store([], absent=(SLOT,))
    grows_older(stores, 6)

    stores.store([], absent=(SLOT,))

    assert stores.rows("SELECT confirmations FROM absent_slots") == [(2,)]
    grows_older(stores, 11)
    assert stores.known() == {SLOT}
    grows_older(stores, 1)
    assert stores.known() == set()


def test_an_absence_that_is_seen_again_at_once_is_not_confirmed(stores):
    """Every tick sees it: that is one and the same belief."""
    stores.store([], absent=(SLOT,))
    grows_older(stores, 1)

    stores.store([], absent=(SLOT,))

    assert stores.rows(
        "SELECT confirmations, seen_at < clock_timestamp() - interval '6 days'"
        " FROM absent_slots"
    ) == [(1, True)]


def test_an_absence_explains_however_old_it_is(stores):
    """A task is not incomplete because a belief has to be looked at again."""
    stores.store([], absent=(SLOT,))
    grows_older(stores, 20)

    assert stores.store([], expected=(SLOT,)).state == "done"


def test_readers_can_tell_what_is_settled(stores):
    stores.store(WEEK)

    assert stores.rows("SELECT is_settled FROM regular_candles ORDER BY opened_at") == [
        (True,),
        (True,),
        (True,),
        (False,),
        (False,),
    ]


def test_more_candles_than_one_statement_takes_are_one_transaction(stores):
    many = [
        a_candle(f"{2000 + n // 336}-{n % 336 // 28 + 1:02}-{n % 28 + 1:02}")
        for n in range(9_500)
    ]

    assert stores.store(many).counts.inserted == 9_500
    assert stores.rows("SELECT count(DISTINCT xmin::text) FROM candles") == [(1,)]
