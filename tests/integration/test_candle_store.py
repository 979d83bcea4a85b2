from __future__ import annotations

from dataclasses import replace

import pytest
from shared.database.ledger import Ledger
from sqlalchemy import text

from shared.candles import RejectedRow
from shared.database.candle_store import CandleStore
from shared.errors import StaleSeries
from shared.runs import NewRun
from shared.series import Counts, Harvest, Series
from shared.sessions import KST
from tests.support.builders import CALENDAR, a_candle, a_request, day, kst

NOW = kst("2026-11-20 10:30")
COVERED = Series(
    covered_from=day("2026-11-16"),
    settled_through=day("2026-11-18"),
    oldest=day("2026-11-16"),
)
WEEK = tuple(a_candle(f"2026-11-{n}") for n in (16, 17, 18, 19, 20))


class House:
    """A ledger and a store on a real database."""

    def __init__(self, engine):
        self.engine = engine
        self.ledger = Ledger(engine)
        self.candles = CandleStore(engine, lambda: CALENDAR)
        self.runs = 0

    def task(self):
        self.runs += 1
        request = a_request(run_id=f"run-{self.runs}")
        run = NewRun(
            run_id=request.run_id,
            message_id=str(self.runs),
            trigger=b"{}",
            requests=[request],
            requested_at=NOW,
        )
        self.ledger.open_run(run)
        return request

    def store(self, candles, *, series=COVERED, rejected=(), request=None):
        with self.ledger.attempt(request or self.task()) as attempt:
            attempt.requests += 2
            harvest = Harvest(candles=tuple(candles), rejected=rejected, series=series)
            return self.candles.store(attempt, harvest)

    def rows(self, statement):
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]


@pytest.fixture
def house(engine):
    return House(engine)


def test_candles_come_back_as_they_were_stored(house):
    candle = a_candle(turnover=648_525_000_000)

    house.store([candle])

    (row,) = house.rows("SELECT * FROM candles")
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


def test_the_statement_counts_what_it_did(house):
    assert house.store(WEEK[:3]) == Counts(inserted=3)
    assert house.store(WEEK[:3]) == Counts(unchanged=3)
    changed = replace(WEEK[2], close=70_600)
    assert house.store([*WEEK[:2], changed, WEEK[3]]) == Counts(
        inserted=1, updated=1, unchanged=2
    )


def test_the_ledger_has_the_same_counts(house):
    house.store(WEEK[:2])
    house.store(WEEK)

    assert house.rows(
        "SELECT state, attempts, requests, inserted, updated, unchanged, rejected"
        " FROM tasks ORDER BY run_id"
    ) == [("done", 1, 2, 2, 0, 0, 0), ("done", 1, 2, 3, 0, 2, 0)]


def test_unchanged_candles_are_not_written_again(house):
    house.store(WEEK)
    before = house.rows("SELECT ctid::text, xmin::text FROM candles ORDER BY opened_at")

    house.store(WEEK)

    after = house.rows("SELECT ctid::text, xmin::text FROM candles ORDER BY opened_at")
    assert before == after


def test_a_forming_candle_is_overwritten_without_a_trace(house):
    house.store(WEEK)

    house.store([replace(WEEK[4], close=70_900)])

    assert house.rows("SELECT close FROM candles ORDER BY opened_at DESC LIMIT 1") == [
        (70_900,)
    ]
    assert house.rows("SELECT * FROM revisions") == []


def test_a_settled_candle_that_changes_leaves_its_old_values(house):
    house.store(WEEK)

    house.store([replace(WEEK[2], close=70_600, volume=1_001)])

    assert house.rows(
        "SELECT run_id, close, volume, last_seen_at < revised_at FROM revisions"
    ) == [("run-2", 70_500, 1_000, True)]


def test_refused_rows_are_kept_once(house):
    rejected = (RejectedRow(reason="high below low", raw='{"high": "1"}'),)

    assert house.store(WEEK, rejected=rejected).rejected == 1
    assert house.store(WEEK, rejected=rejected).rejected == 1

    assert house.rows("SELECT reason, raw FROM quarantine") == [
        ("high below low", '{"high": "1"}')
    ]


def test_series_and_candles_are_stored_together(house):
    house.store(WEEK)

    assert house.rows(
        "SELECT covered_from, settled_through, oldest, version, leased_by FROM series"
    ) == [(day("2026-11-16"), day("2026-11-18"), day("2026-11-16"), 1, None)]


def test_a_series_that_was_taken_over_is_not_written(house):
    request = house.task()
    with pytest.raises(StaleSeries), house.ledger.attempt(request) as attempt:
        with house.engine.begin() as connection:
            connection.execute(text("UPDATE series SET leased_by = 'another'"))
        house.candles.store(attempt, Harvest(candles=WEEK, rejected=(), series=COVERED))

    assert house.rows("SELECT * FROM candles") == []


def test_a_series_that_changed_meanwhile_is_not_written(house):
    request = house.task()
    with pytest.raises(StaleSeries), house.ledger.attempt(request) as attempt:
        with house.engine.begin() as connection:
            connection.execute(text("UPDATE series SET version = version + 1"))
        house.candles.store(attempt, Harvest(candles=WEEK, rejected=(), series=COVERED))

    assert house.rows("SELECT * FROM candles") == []


def test_more_candles_than_one_statement_takes_are_one_transaction(house):
    many = [
        a_candle(f"{2000 + n // 336}-{n % 336 // 28 + 1:02}-{n % 28 + 1:02}")
        for n in range(9_500)
    ]

    assert house.store(many).inserted == 9_500
    assert house.rows("SELECT count(DISTINCT xmin::text) FROM candles") == [(1,)]
