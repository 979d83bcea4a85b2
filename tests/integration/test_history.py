"""History is right: outages, corporate actions and revisions, on a real database."""

from __future__ import annotations

from threading import Event, Thread

import pytest

from shared.database.engine import new_engine, transaction
from shared.settings import DatabaseSettings
from tests.support.builders import day
from tests.support.harness import ALL, PipelineHarness

START = {"5m": "2026-10-01", "30m": "2026-08-03", "60m": "2026-06-01"}
START |= {"1d": "2024-01-02", "1w": "2020-01-06"}


@pytest.fixture
def world(engine):
    return PipelineHarness(engine, "2026-11-16 21:00")


def loaded(world, **more):
    """Every timeframe of one stock, from its own start on."""
    for timeframe in ALL:
        world.tick(timeframe, start=START[timeframe], **more)
    return world


def is_true(world, timeframes=ALL, stock_code="005930", starts=START):
    """Whether every candle is what the broker says now."""
    for timeframe in timeframes:
        stored = world.stored(timeframe, stock_code)
        wanted = world.truth(timeframe, starts[timeframe], stock_code)
        assert stored == wanted, timeframe
    return True


def test_a_first_load_is_what_the_broker_has(world):
    assert is_true(loaded(world))


def test_a_forming_day_is_overwritten_until_it_has_settled(world):
    loaded(world)
    for now in ("2026-11-17 09:01", "2026-11-17 11:32", "2026-11-17 15:31"):
        world.now = world.now.fromisoformat(f"{now}+09:00")
        world.tick()
    world.now = world.now.fromisoformat("2026-11-17 20:45+09:00")
    world.tick()

    assert is_true(world)
    assert world.query("SELECT * FROM revisions") == []


@pytest.mark.parametrize(
    ("until", "sessions"),
    [("2026-11-17 21:00", 1), ("2026-11-23 21:00", 5), ("2026-12-29 21:00", 30)],
)
def test_one_tick_after_an_outage_restores_everything(world, until, sessions):
    loaded(world)
    world.now = world.now.fromisoformat(f"{until}+09:00")

    for timeframe in ALL:
        asked = world.asked()
        world.tick(timeframe)
        # The sessions that were missed, and the one that proves the joint.
        rows = {"5m": 126, "30m": 22, "60m": 11, "1d": 1, "1w": 1}[timeframe]
        size = 900 if timeframe.endswith("m") else 600
        assert world.asked() - asked == -(-rows * (sessions + 1) // size)

    assert is_true(world)


@pytest.mark.parametrize("ratio", [5.0, 1.25, 0.1], ids=["split", "bonus", "reverse"])
def test_a_corporate_action_rebuilds_all_timeframes_from_one_tick(world, ratio):
    loaded(world)
    world.acts("005930", "2026-11-17", ratio)
    world.now = world.now.fromisoformat("2026-11-17 10:00+09:00")

    outcomes = world.tick("5m")

    assert is_true(world)
    assert len(outcomes) == 5
    actions = world.query(
        "SELECT timeframe, after_date, effective_by, round(ratio::numeric, 3)::float,"
        " evidence ->> 'compared' IS NOT NULL FROM corporate_actions ORDER BY timeframe"
    )
    by, after = day("2026-11-17"), day("2026-11-16")
    assert actions == [
        (
            timeframe,
            {"1w": day("2026-11-09")}.get(timeframe, after),
            by,
            round(1 / ratio, 3),
            True,
        )
        for timeframe in sorted(ALL)
    ]
    assert world.query("SELECT * FROM revisions") == []


def test_after_a_rebuild_the_next_tick_is_an_ordinary_one(world):
    loaded(world)
    world.acts("005930", "2026-11-17", 5.0)
    world.now = world.now.fromisoformat("2026-11-17 10:00+09:00")
    world.tick("1d")
    asked = world.asked()

    world.tick()

    assert world.asked() - asked == 5
    assert world.query("SELECT count(*) FROM corporate_actions") == [(5,)]


def test_an_action_during_a_halt_is_found_when_trading_resumes(engine):
    halts = {"005930": (day("2026-11-17"), day("2026-11-23"))}
    world = loaded(PipelineHarness(engine, "2026-11-16 21:00", halts=halts))
    world.now = world.now.fromisoformat("2026-11-18 21:00+09:00")
    world.tick()
    world.acts("005930", "2026-11-20", 5.0)
    world.now = world.now.fromisoformat("2026-11-20 10:00+09:00")
    world.tick()
    world.now = world.now.fromisoformat("2026-11-24 21:00+09:00")
    world.tick()

    assert is_true(world)


def test_an_action_between_two_steps_of_a_backfill(world):
    world.tick("1d", start="2026-06-01")
    world.acts("005930", "2026-11-17", 5.0)
    world.now = world.now.fromisoformat("2026-11-17 10:00+09:00")

    world.tick("1d", mode="backfill", start="2025-06-02", end="2026-06-01")
    world.tick("1d")

    assert is_true(world, ["1d"], starts={"1d": "2025-06-02"})


def test_a_backfill_reaches_behind_an_old_action(world):
    world.acts("005930", "2026-09-01", 5.0)
    world.tick("1d", start="2026-08-03")

    world.tick("1d", mode="backfill", start="2024-01-02")

    assert is_true(world, ["1d"])


def test_what_the_broker_no_longer_serves_is_rescaled_and_marked(world):
    world.tick("60m", start="2025-12-01")
    old = world.stored("60m")
    world.acts("005930", "2027-01-04", 5.0)
    world.now = world.now.fromisoformat("2027-01-04 21:00+09:00")

    world.tick("60m")

    stored = world.stored("60m")
    served = world.truth("60m", "2025-12-01")
    assert {at: stored[at] for at in served} == served
    gone = {at: values for at, values in stored.items() if at not in served}
    assert len(gone) > 50
    for at, values in gone.items():
        assert values[-1]
        assert values[3] == round(old[at][3] / 5)
        assert values[4] == old[at][4]


def test_readers_never_see_two_bases_in_one_series(world, database_url):
    world.tick("1d", start="2020-01-02")
    world.acts("005930", "2026-11-17", 50.0)
    stopped, seen = Event(), set()
    reader = new_engine(DatabaseSettings(url=database_url))
    jumps = (
        "SELECT count(*) FROM (SELECT close::numeric / lag(close) OVER (ORDER BY opened_at)"
        " AS jump FROM candles WHERE timeframe = '1d') AS j WHERE jump NOT BETWEEN 0.5 AND 2"
    )

    def read_once():
        with transaction(reader) as connection:
            seen.add(connection.exec_driver_sql(jumps).scalar())

    def read():
        while not stopped.is_set():
            read_once()

    thread = Thread(target=read)
    thread.start()
    world.now = world.now.fromisoformat("2026-11-17 21:00+09:00")
    world.tick("1d")
    stopped.set()
    thread.join()
    read_once()
    reader.dispose()

    assert seen == {0}
    assert is_true(world, ["1d"], starts={"1d": "2020-01-02"})


def test_a_revision_of_a_settled_candle_is_recorded_and_no_action(world):
    world.tick("1d", start="2026-06-01")
    world.query(
        "UPDATE candles SET close = low WHERE opened_at = '2026-11-15 15:00+00'"
    )
    world.now = world.now.fromisoformat("2026-11-17 21:00+09:00")

    world.tick("1d")

    assert is_true(world, ["1d"], starts={"1d": "2026-06-01"})
    assert world.query("SELECT count(*) FROM revisions") == [(1,)]
    assert world.query("SELECT * FROM corporate_actions") == []


@pytest.mark.parametrize("timeframe", ALL)
@pytest.mark.parametrize("count", [1, 37, 500])
def test_what_was_deleted_is_healed_by_one_repair(world, timeframe, count):
    world.tick(timeframe, start=START[timeframe])
    before = world.stored(timeframe)
    world.query("SELECT setseed(0.42)")
    world.query(
        "DELETE FROM candles WHERE opened_at IN (SELECT opened_at FROM candles"
        " WHERE opened_at < '2026-11-13' ORDER BY md5(opened_at::text) LIMIT :count)",
        count=min(count, len(before) - 40),
    )
    asked = world.asked()

    world.tick(timeframe, mode="repair")

    assert world.stored(timeframe) == before
    size = 900 if timeframe.endswith("m") else 600
    assert world.asked() - asked <= -(-len(before) // size)
    asked = world.asked()
    world.tick(timeframe, mode="repair")
    assert world.asked() == asked


def test_a_repair_asks_where_something_is_missing_and_nowhere_else(world):
    world.tick("5m", start="2026-03-02")
    before = world.stored("5m")
    world.query("DELETE FROM candles WHERE opened_at = '2026-04-02 01:00+00'")
    world.query("DELETE FROM candles WHERE opened_at = '2026-10-15 01:00+00'")
    asked = world.asked()

    world.tick("5m", mode="repair")

    assert world.asked() - asked == 2
    assert world.stored("5m") == before


def test_what_the_broker_does_not_have_is_remembered(engine):
    halts = {"005930": (day("2026-10-12"), day("2026-10-13"))}
    world = PipelineHarness(engine, "2026-11-16 21:00", halts=halts)
    world.tick("5m", start="2026-10-01")
    asked = world.asked()

    world.tick("5m", mode="repair")
    once = world.asked() - asked
    world.tick("5m", mode="repair")

    assert once >= 1
    assert world.asked() - asked == once
    assert world.query("SELECT count(*) FROM absent_slots") == [(2 * (78 + 48),)]


def test_a_repair_behind_a_corporate_action_puts_no_old_prices_in(world):
    world.acts("005930", "2026-09-01", 5.0)
    world.tick("1d", start="2026-03-02")
    before = world.stored("1d")
    world.query("DELETE FROM candles WHERE opened_at IN"
                " ('2026-06-09 15:00+00', '2026-06-10 15:00+00')")  # fmt: skip

    world.tick("1d", mode="repair")

    assert world.stored("1d") == before
    assert world.query("SELECT * FROM corporate_actions") == []


def test_rows_that_the_broker_spoilt_are_healed_when_it_is_well_again(world):
    from infra.local.broker.faults import Fault, Kind  # noqa: PLC0415

    world.broker.faults = [Fault(kind=Kind.CORRUPT, api_id="ka10081")]
    world.tick("1d", start="2026-06-01")
    assert world.query("SELECT count(*) FROM quarantine") == [(1,)]
    world.broker.faults = []

    world.tick("1d", mode="repair")

    assert is_true(world, ["1d"], starts={"1d": "2026-06-01"})


def test_readers_get_the_regular_session_and_the_official_close(world, reference_data):
    world.tick("5m", start="2026-09-10")
    world.tick("1d", start="2026-09-08")
    days = {
        row[0]: row[1:]
        for row in world.query(
            "SELECT session_date, close, official_close FROM daily_candles"
        )
    }
    auction = {
        at.date(): values[3]
        for at, values in world.stored("5m").items()
        if f"{at:%H%M}" == "1530"
    }

    assert days[day("2026-09-08")][0] == days[day("2026-09-08")][1]
    since = {date: row for date, row in days.items() if date >= day("2026-09-14")}
    assert {date: row[1] for date, row in since.items()} == {
        date: close for date, close in auction.items() if date in since
    }
    assert any(close != official for close, official in since.values())
    regular = world.query("SELECT count(*) FROM regular_candles WHERE timeframe = '5m'")
    assert regular[0][0] == sum(
        values[6] == "regular" for values in world.stored("5m").values()
    )


def test_a_candle_that_the_broker_took_back_moves_with_the_others(world):
    world.tick("1d", start="2026-06-01")
    world.query(
        "INSERT INTO candles SELECT stock_code, timeframe, opened_at + interval '1 day', open,"
        " high, low, close, volume, turnover, session FROM candles"
        " WHERE opened_at = '2026-06-18 15:00+00'"
    )
    old = {
        at: values
        for at, values in world.stored("1d").items()
        if f"{at:%m%d}" == "0620"
    }
    world.acts("005930", "2026-11-17", 5.0)
    world.now = world.now.fromisoformat("2026-11-17 21:00+09:00")

    world.tick("1d")

    stored = world.stored("1d")
    for at, values in old.items():
        assert stored[at][3] == round(values[3] / 5)
        assert stored[at][-1]


def test_a_young_stock_is_not_missed_before_it_was_listed(world):
    world.tick("1d", start="2011-01-03")
    asked = world.asked()

    world.tick("1d", mode="repair")

    assert world.asked() == asked
    assert world.query("SELECT * FROM absent_slots") == []
