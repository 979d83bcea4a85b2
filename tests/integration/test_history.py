"""History is right: outages, corporate actions and revisions, on a real database."""

from __future__ import annotations

from threading import Event, Thread

import pytest

from functions.reference_sync.reference_data import bundled_calendar
from shared.candles import Timeframe
from shared.coverage import ROWS_PER_PAGE
from shared.database.engine import new_engine, transaction
from shared.database.session_store import SessionStore
from shared.errors import KiwoomUnavailable, NoCandles, StaleSeries
from shared.messages import CollectRequest
from shared.settings import DatabaseSettings
from tests.support.builders import day, kst
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
        world.at(now)
        world.tick()
    world.at("2026-11-17 20:45")
    world.tick()

    assert is_true(world)
    assert world.query("SELECT * FROM revisions") == []


@pytest.mark.parametrize(
    ("back", "sessions"),
    [("2026-11-17 21:00", 1), ("2026-11-23 21:00", 5), ("2026-12-29 21:00", 30)],
)
def test_one_tick_after_an_outage_restores_everything(world, back, sessions):
    loaded(world)
    world.at(back)

    for timeframe in ALL:
        asked = world.asked()
        world.tick(timeframe)
        # The sessions that were missed, and the one that proves the basis.
        rows = {"5m": 126, "30m": 22, "60m": 11, "1d": 1, "1w": 1}[timeframe]
        size = 900 if timeframe.endswith("m") else 600
        assert world.asked() - asked == -(-rows * (sessions + 1) // size)

    assert is_true(world)


@pytest.mark.parametrize("ratio", [5.0, 1.25, 0.1], ids=["split", "bonus", "reverse"])
def test_a_corporate_action_rebuilds_all_timeframes_from_one_tick(world, ratio):
    loaded(world)
    world.acts("005930", "2026-11-17", ratio)
    world.at("2026-11-17 10:00")

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
            # A settled week is known to its last day.
            {"1w": day("2026-11-13")}.get(timeframe, after),
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
    world.at("2026-11-17 10:00")
    world.tick("1d")
    asked = world.asked()

    world.tick()

    assert world.asked() - asked == 5
    assert world.query("SELECT count(*) FROM corporate_actions") == [(5,)]


def test_an_action_during_a_halt_is_found_when_trading_resumes(engine):
    halts = {"005930": (day("2026-11-17"), day("2026-11-23"))}
    world = loaded(PipelineHarness(engine, "2026-11-16 21:00", halts=halts))
    world.at("2026-11-18 21:00")
    world.tick()
    world.acts("005930", "2026-11-20", 5.0)
    world.at("2026-11-20 10:00")
    world.tick()
    world.at("2026-11-24 21:00")
    world.tick()

    assert is_true(world)


def test_an_action_between_two_steps_of_a_backfill(world):
    world.tick("1d", start="2026-06-01")
    world.acts("005930", "2026-11-17", 5.0)
    world.at("2026-11-17 10:00")

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
    world.at("2027-01-04 21:00")

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
    world.at("2026-11-17 21:00")
    world.tick("1d")
    stopped.set()
    thread.join()
    read_once()
    reader.dispose()

    assert seen == {0}
    assert is_true(world, ["1d"], starts={"1d": "2020-01-02"})


def test_a_revision_of_a_settled_candle_is_recorded_and_no_action(world):
    world.tick("1d", start="2026-06-01")
    world.at("2026-11-17 08:00")
    world.tick("1d")
    world.query(
        "UPDATE candles SET close = low WHERE opened_at = '2026-11-15 15:00+00'"
    )
    world.at("2026-11-17 21:00")

    world.tick("1d")

    assert is_true(world, ["1d"], starts={"1d": "2026-06-01"})
    assert world.query("SELECT opened_at, withdrawn FROM revisions") == [
        (kst("2026-11-16"), False)
    ]
    assert world.query("SELECT * FROM corporate_actions") == []


def test_a_day_that_was_read_before_it_settled_changes_without_a_revision(world):
    """The broker's last words about a session come after midnight."""
    world.tick("1d", start="2026-06-01")
    world.query(
        "UPDATE candles SET close = low WHERE opened_at = '2026-11-15 15:00+00'"
    )
    world.at("2026-11-17 08:00")

    world.tick("1d")

    assert is_true(world, ["1d"], starts={"1d": "2026-06-01"})
    assert world.query("SELECT * FROM revisions") == []
    assert world.query("SELECT settled_through FROM series") == [(day("2026-11-16"),)]


def test_what_is_settled_is_the_same_for_readers(world):
    world.tick("1d", "60m", start="2026-11-02")
    unsettled = (
        "SELECT timeframe, count(*) FROM regular_candles WHERE NOT is_settled"
        " GROUP BY 1 ORDER BY 1"
    )
    assert world.query(unsettled) == [("1d", 1), ("60m", 7)]

    world.at("2026-11-17 08:00")
    world.tick("1d", "60m")

    assert world.query(unsettled) == []


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


@pytest.fixture
def halted(engine):
    """Five-minute candles with two days on which trading was halted."""
    halts = {"005930": (day("2026-10-12"), day("2026-10-13"))}
    world = PipelineHarness(engine, "2026-11-16 21:00", halts=halts)
    world.tick("5m", start="2026-10-01")
    return world


def test_what_the_broker_does_not_have_is_remembered_by_any_reading(halted):
    assert halted.query("SELECT count(*) FROM absent_slots") == [(2 * (78 + 48),)]
    assert halted.query("SELECT state FROM run_states") == [("complete",)]
    asked = halted.asked()

    halted.tick("5m", mode="repair")

    assert halted.asked() == asked


def test_a_repair_remembers_what_the_broker_does_not_have(halted):
    halted.query("DELETE FROM absent_slots")
    asked = halted.asked()

    halted.tick("5m", mode="repair")

    assert halted.query("SELECT count(*) FROM absent_slots") == [(2 * (78 + 48),)]
    once = halted.asked() - asked
    assert once >= 1
    halted.tick("5m", mode="repair")
    assert halted.asked() - asked == once


def test_an_absence_is_looked_at_again_after_some_weeks(halted):
    halted.query("UPDATE absent_slots SET seen_at = seen_at - interval '6 weeks'")
    asked = halted.asked()

    halted.tick("5m", mode="repair")

    assert halted.asked() > asked
    assert halted.query("SELECT DISTINCT confirmations FROM absent_slots") == [(2,)]
    asked = halted.asked()
    halted.query("UPDATE absent_slots SET seen_at = seen_at - interval '11 weeks'")
    halted.tick("5m", mode="repair")
    assert halted.asked() == asked
    halted.query("UPDATE absent_slots SET seen_at = seen_at - interval '1 week'")
    halted.tick("5m", mode="repair")
    assert halted.asked() > asked


def test_force_asks_for_what_is_believed_to_be_absent(world):
    """As if the broker had lost a day for a while, and has found it again."""
    world.tick("1d", start="2026-06-01")
    world.query("DELETE FROM candles WHERE opened_at = '2026-10-14 15:00+00'")
    world.query(
        "INSERT INTO absent_slots (stock_code, timeframe, opened_at, run_id)"
        " VALUES ('005930', '1d', '2026-10-14 15:00+00', 'run')"
    )
    asked = world.asked()
    world.tick("1d", mode="repair")
    assert world.asked() == asked

    world.tick("1d", mode="repair", force=True)

    assert world.asked() - asked == 1
    assert is_true(world, ["1d"], starts={"1d": "2026-06-01"})
    assert world.query("SELECT count(*) FROM absent_slots") == [(0,)]


def test_force_asks_for_history_that_is_exhausted(world):
    world.tick("1d", start="2011-01-03")
    world.at("2026-11-17 21:00")
    world.tick("1d")
    assert world.query("SELECT history_exhausted FROM series") == [(True,)]
    world.query("DELETE FROM candles WHERE opened_at < '2020-01-01'")
    asked = world.asked()
    world.tick("1d", mode="backfill", start="2011-01-03")
    assert world.asked() - asked == 1

    world.tick("1d", mode="backfill", start="2011-01-03", force=True)

    assert is_true(world, ["1d"], starts={"1d": "2011-01-03"})


def test_a_repair_behind_a_corporate_action_puts_no_old_prices_in(world):
    world.acts("005930", "2026-09-01", 5.0)
    world.tick("1d", start="2026-03-02")
    before = world.stored("1d")
    world.query("DELETE FROM candles WHERE opened_at IN"
                " ('2026-06-09 15:00+00', '2026-06-10 15:00+00')")  # fmt: skip

    world.tick("1d", mode="repair")

    assert world.stored("1d") == before
    assert world.query("SELECT * FROM corporate_actions") == []


def test_a_spoilt_row_heals_with_the_next_tick(world):
    world.fails("corrupt", timeframe="1d")
    world.tick("1d", start="2026-06-01")
    assert world.query("SELECT count(*), max(opened_at) FROM quarantine") == [
        (1, kst("2026-11-16"))
    ]
    world.recovers()

    world.at("2026-11-17 08:00")
    world.tick("1d")

    assert is_true(world, ["1d"], starts={"1d": "2026-06-01"})
    assert world.query("SELECT settled_through FROM series") == [(day("2026-11-16"),)]


def test_a_spoilt_row_of_the_past_is_missing_until_a_repair(world):
    world.fails("corrupt", page=2)
    world.tick("1d", start="2022-01-03")
    ((slot,),) = world.query("SELECT opened_at FROM quarantine")
    assert world.query("SELECT state, missing, first_missing FROM run_states") == [
        ("incomplete", 1, slot)
    ]
    assert world.query("SELECT count(*) FROM absent_slots") == [(0,)]
    world.recovers()

    world.tick("1d", mode="repair")

    assert is_true(world, ["1d"], starts={"1d": "2022-01-03"})


def test_a_row_that_was_spoilt_once_costs_a_request_and_nothing_else(world):
    world.fails("corrupt", page=2, times=1)

    world.tick("1d", start="2022-01-03")

    assert world.asked() == 2 + 1
    assert is_true(world, ["1d"], starts={"1d": "2022-01-03"})
    assert world.query("SELECT state FROM run_states") == [("complete",)]
    assert world.query("SELECT * FROM quarantine") == []


def test_readers_get_the_regular_session_and_the_official_close(world, reference_data):
    world.store.calendar = SessionStore(world.engine).calendar
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


def phantom(world):
    """A candle of ours on a Saturday."""
    world.query(
        "INSERT INTO candles SELECT stock_code, timeframe, opened_at + interval '1 day', open,"
        " high, low, close, volume, turnover, session FROM candles"
        " WHERE opened_at = '2026-06-18 15:00+00'"
    )
    return kst("2026-06-20")


@pytest.mark.parametrize("ratio", [None, 5.0])
def test_a_candle_that_the_broker_took_back_leaves_to_the_revisions(world, ratio):
    """Whether the rest of the series moves at the same time or not."""
    world.tick("1d", start="2026-06-01")
    gone = phantom(world)
    last = world.stored("1d")[gone]
    if ratio:
        world.acts("005930", "2026-11-17", ratio)
    world.at("2026-11-17 21:00")

    world.tick("1d")

    assert is_true(world, ["1d"], starts={"1d": "2026-06-01"})
    assert world.query(
        "SELECT opened_at, close, withdrawn, last_seen_at FROM revisions"
    ) == [(gone, last[3], True, kst("2026-11-16 21:00"))]
    assert world.query(
        "SELECT withdrawn FROM tasks ORDER BY finished_at DESC LIMIT 1"
    ) == [(1,)]


# Whatever is believed


def test_a_verify_heals_what_was_changed_behind_our_back(world):
    world.tick("1d", start="2022-01-03")
    world.at("2026-11-17 08:00")
    world.tick("1d")
    world.query(
        "UPDATE candles SET close = low WHERE opened_at = '2023-06-14 15:00+00'"
    )
    world.query("DELETE FROM candles WHERE opened_at = '2024-06-12 15:00+00'")
    phantom(world)
    world.tick("1d")
    assert world.stored("1d") != world.truth("1d", "2022-01-03")
    asked = world.asked()

    world.tick("1d", mode="verify")

    assert world.asked() - asked == 2
    assert is_true(world, ["1d"], starts={"1d": "2022-01-03"})
    assert world.query(
        "SELECT state, inserted, updated, revised, withdrawn FROM tasks"
        " ORDER BY finished_at DESC LIMIT 1"
    ) == [("done", 1, 1, 1, 1)]
    assert world.query(
        "SELECT opened_at, withdrawn FROM revisions ORDER BY opened_at"
    ) == [(kst("2023-06-15"), False), (kst("2026-06-20"), True)]


def test_a_verify_that_finds_nothing_writes_nothing(world):
    world.tick("1d", start="2026-06-01")
    before = world.query("SELECT ctid::text, xmin::text FROM candles")

    world.tick("1d", mode="verify")

    assert world.query("SELECT ctid::text, xmin::text FROM candles") == before


def test_a_backfill_of_a_range_with_a_hole_is_incomplete(world):
    world.tick("1d", start="2026-06-01")
    world.query("DELETE FROM candles WHERE opened_at = '2026-09-14 15:00+00'")

    world.tick("1d", mode="backfill", start="2026-09-01", end="2026-10-01")

    assert world.query(
        "SELECT task.state, task.missing, task.first_missing[1], run_states.state"
        " FROM tasks AS task JOIN run_states USING (run_id)"
        " ORDER BY finished_at DESC LIMIT 1"
    ) == [("incomplete", 1, kst("2026-09-15"), "incomplete")]


def test_a_calendar_that_changed_meanwhile_is_not_stored_with(world):
    """An override must not be lost to an instance that still holds the old one."""
    world.trigger(["1d"], start="2026-06-01")
    (message,) = drained(world)
    sessions = SessionStore(world.engine)
    sessions.write(bundled_calendar())

    with pytest.raises(StaleSeries, match="calendar"):
        world.deliver(message)

    assert world.query("SELECT * FROM candles") == []
    world.store.calendar = sessions.calendar
    world.deliver(message)
    assert is_true(world, ["1d"], starts={"1d": "2026-06-01"})


# Two things at once


@pytest.mark.parametrize("timeframe", ["1d", "1w", "60m"])
def test_a_correction_of_the_night_before_a_split_is_a_revision_on_the_new_basis(
    world, timeframe
):
    """Our old value is told as it would be today, so that both can be compared."""
    start = START[timeframe]
    world.tick(timeframe, start=start)
    world.at("2026-11-17 08:00")
    world.tick(timeframe)
    settled = max(at for at in world.stored(timeframe) if at < kst("2026-11-16"))
    world.query(
        "UPDATE candles SET high = high + 700 WHERE opened_at = :settled",
        settled=settled,
    )
    ours = world.stored(timeframe)[settled]
    world.acts("005930", "2026-11-17", 5.0)
    world.at("2026-11-17 21:00")

    world.tick(timeframe)

    assert is_true(world, [timeframe])
    assert world.query("SELECT opened_at, high FROM revisions") == [
        (settled, round(ours[1] / 5))
    ]


def test_timeframes_that_find_one_action_at_once_rebuild_each_series_once(world):
    loaded(world)
    world.acts("005930", "2026-11-17", 5.0)
    world.at("2026-11-17 10:00")
    asked = world.asked()
    world.trigger(ALL)
    ticks = [world.deliver(message) for message in drained(world)]

    follow_ups = drained(world)

    assert sum(tick.move is not None for tick in ticks) == 5
    keys = [
        CollectRequest.from_bytes(message).timeframe.value for message in follow_ups
    ]
    assert len(keys) == len(set(keys))
    for message in follow_ups:
        world.deliver(message)
    asked = world.asked() - asked
    assert is_true(world)
    assert world.query("SELECT count(*) FROM corporate_actions") == [(5,)]
    assert world.query(
        "SELECT count(*) FROM (SELECT timeframe FROM tasks WHERE request ->> 'mode' ="
        " 'rebuild' GROUP BY 1 HAVING count(*) > 1) AS twice"
    ) == [(0,)]
    # The whole of each series at most twice: by its tick, and by one rebuild.
    assert asked <= 2 * sum(
        -(-len(world.stored(timeframe)) // ROWS_PER_PAGE[Timeframe(timeframe)])
        for timeframe in ALL
    )


def drained(world):
    messages = list(world.queue)
    world.queue.clear()
    return messages


def test_a_move_that_weeks_have_proven_is_known_to_days_whose_pages_look_alike(world):
    """The days of ours that a tick reads stand on the new basis already."""
    world.tick("1d", start="2020-01-02")
    world.tick("1w", start="2020-01-06")
    world.acts("005930", "2026-11-17", 5.0)
    world.at("2026-11-17 10:00")
    world.query(
        "UPDATE candles SET open = round(open / 5.0), high = round(high / 5.0),"
        " low = round(low / 5.0), close = round(close / 5.0), volume = volume * 5"
        " WHERE timeframe = '1d' AND opened_at >= '2026-09-01'"
    )

    world.tick("1w")

    assert is_true(world, ["1d", "1w"], starts={"1d": "2020-01-02", "1w": "2020-01-06"})


def test_a_young_stock_is_not_missed_before_it_was_listed(world):
    world.tick("1d", start="2011-01-03")
    asked = world.asked()

    world.tick("1d", mode="repair")

    assert world.asked() == asked
    assert world.query("SELECT * FROM absent_slots") == []


def test_an_end_of_history_is_believed_once_it_was_seen_on_two_days(world):
    world.tick("1d", start="2011-01-03")
    known = "SELECT covered_from, end_seen_on, history_exhausted FROM series"
    first = day("2012-01-02")
    assert world.query(known) == [(first, day("2026-11-16"), False)]

    world.at("2026-11-17 21:00")
    world.tick("1d")

    assert world.query(known) == [(day("2011-01-03"), day("2026-11-17"), True)]
    asked = world.asked()
    world.at("2026-11-18 21:00")
    world.tick("1d")
    assert world.asked() - asked == 1


@pytest.mark.parametrize("kind", ["blank", "empty"])
@pytest.mark.parametrize("page", [1, 2, 3])
def test_a_blank_answer_anywhere_is_no_end(world, kind, page):
    world.fails(kind, page=page, times=1)
    world.trigger(["1d"], start="2020-01-02")
    (message,) = drained(world)
    error = NoCandles if page == 1 else KiwoomUnavailable
    with pytest.raises(error):
        world.deliver(message)

    world.deliver(message)

    assert is_true(world, ["1d"], starts={"1d": "2020-01-02"})
    assert world.query("SELECT history_exhausted FROM series") == [(False,)]
