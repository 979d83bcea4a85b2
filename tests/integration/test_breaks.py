"""Breaks of history that a second pair of eyes has found, each with what is right."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import timedelta

import pytest

from functions.reference_sync.reference_data import bundled_calendar
from infra.local.broker.faults import How
from shared.candles import Timeframe
from shared.database.session_store import SessionStore
from shared.errors import KiwoomUnavailable
from shared.sessions import SessionOverride
from tests.integration.test_history_cases import (
    EVENING,
    MORNING,
    START,
    counted,
    load,
    persist,
    right,
    tick_at,
    triggered,
)
from tests.support.builders import day, kst
from tests.support.harness import STOCK, PipelineHarness

HALT = {STOCK: (day("2025-07-01"), day("2026-11-13"))}


@pytest.fixture
def harness(engine):
    return PipelineHarness(engine, EVENING)


@pytest.mark.parametrize("order", [("60m", "1d"), ("1d", "60m"), ("5m", "60m", "1d")])
def test_minutes_that_are_gone_are_rescaled_once(engine, order):
    """A long halt with a reduction; the days were followed all the while."""
    harness = PipelineHarness(engine, "2025-07-01 07:30", halts=HALT)
    for timeframe in order:
        start = "2025-01-02" if timeframe == "1d" else "2025-05-02"
        harness.tick(timeframe, start=start, force=True)
    minutes = [timeframe for timeframe in order if timeframe != "1d"]
    before = {timeframe: harness.stored(timeframe) for timeframe in minutes}
    for now in ("2026-03-03 20:45", "2026-11-13 20:45"):
        tick_at(harness, now, "1d")
    harness.acts(STOCK, "2026-11-16", 0.1)

    harness.at("2026-11-16 20:45")
    triggered(harness, *order)

    for timeframe in minutes:
        stored = harness.stored(timeframe)
        closes = {stored[at][3] / values[3] for at, values in before[timeframe].items()}
        assert closes == {10.0}, timeframe
    assert right(harness)


@pytest.mark.parametrize("ratios", [(0.1,), (0.1, 0.5)])
def test_a_dead_rebuild_that_is_replayed_rescales_nothing_twice(engine, ratios):
    """The days find actions in the halt; the minutes cannot be read until its end."""
    harness = PipelineHarness(engine, "2025-07-01 07:30", halts=HALT)
    harness.tick("60m", start="2025-05-02", force=True)
    harness.tick("1d", start="2025-01-02", force=True)
    before = harness.stored("60m")
    tick_at(harness, "2026-08-02 20:45", "1d")
    dead = []
    for ratio, date in zip(ratios, ("2026-08-03", "2026-08-05"), strict=False):
        harness.acts(STOCK, date, ratio)
        harness.at(f"{date} 20:45")
        harness.trigger(["1d"])
        harness.deliver(harness.queue.popleft())
        dead += harness.queue
        persist(harness)
        harness.queue.clear()
    harness.at("2026-11-16 20:45")
    triggered(harness, "60m", "1d")

    harness.queue.extend(dead)
    persist(harness)

    stored = harness.stored("60m")
    closes = {stored[at][3] / values[3] for at, values in before.items()}
    assert closes == {round(1 / math.prod(ratios))}
    assert right(harness)


@pytest.mark.parametrize("timeframe", ["1d", "5m"])
@pytest.mark.parametrize("attempts", [1, 5])
def test_a_rebuild_that_is_cut_short_is_no_rebuild(engine, timeframe, attempts):
    """A short page says "last" while the second of two actions is found."""
    harness = PipelineHarness(engine, EVENING, levels={STOCK: 937})
    harness.acts(STOCK, "2026-11-10", 3.0)
    load(harness, timeframe)
    tick_at(harness, "2026-11-17 20:45", timeframe)
    harness.acts(STOCK, "2026-11-18", 1.7)
    harness.fails("last", rows=90, times=attempts)

    for now in ("2026-11-18 20:45", "2026-11-19 07:30", "2026-11-19 20:45"):
        harness.at(now)
        triggered(harness, timeframe)
        harness.recovers()
    persist(harness)
    triggered(harness, timeframe, mode="repair")

    assert right(harness)


def test_a_lie_about_the_end_is_contradicted_by_our_own_candles(harness):
    """One outage over an evening and a morning; later someone wants older days."""
    load(harness, "1d")
    harness.fails("last", rows=50)
    tick_at(harness, "2026-11-17 20:45", "1d")
    tick_at(harness, "2026-11-18 07:30", "1d")
    harness.recovers()

    harness.at("2026-11-18 10:00")
    triggered(harness, "1d", mode="backfill", start="2020-01-06")

    assert harness.stored("1d").keys() == harness.truth("1d", "2020-01-06").keys()


@pytest.mark.parametrize("level", [900, 2000, 3000])
def test_the_last_shares_of_a_first_day_are_no_corporate_action(engine, level):
    """A stock's first session: its final volume comes after midnight."""
    harness = PipelineHarness(engine, EVENING, levels={STOCK: level})
    harness.tick("1d", start="2026-11-16")
    harness.tick("5m", start="2026-11-16")

    tick_at(harness, "2026-11-17 07:30", "1d", "5m")

    assert harness.query("SELECT * FROM corporate_actions") == []


def test_a_stock_halted_longer_than_the_broker_keeps_minutes_is_no_alarm(engine):
    """Its days tell that it did not trade: there is nothing to be had, and no fault."""
    harness = PipelineHarness(engine, "2025-07-01 07:30", halts=HALT)
    harness.tick("60m", start="2025-05-02", force=True)
    harness.tick("1d", start="2025-05-02", force=True)
    harness.query(
        "INSERT INTO stocks (stock_code, stock_name, market_code, market_name, state)"
        " VALUES (:s, 'x', '0', 'KOSPI', '거래정지')",
        s=STOCK,
    )
    tick_at(harness, "2026-10-15 20:45", "1d")

    before = harness.stored("60m")
    tick_at(harness, "2026-10-16 20:45", "60m")

    assert harness.stored("60m") == before
    assert harness.query("SELECT DISTINCT state FROM run_states") == [("complete",)]


@pytest.mark.parametrize("rows", [2, 13])
def test_what_was_not_read_again_is_not_settled(harness, rows):
    harness.tick("60m", start=START["60m"])
    harness.fails("last", rows=rows)
    harness.at("2026-11-17 07:30" if rows == 2 else "2026-11-17 20:45")
    triggered(harness, "60m")
    harness.recovers()

    assert right(harness)


def test_a_short_answer_after_a_long_outage_settles_nothing(harness):
    harness.at("2026-10-30 20:45")
    harness.tick("5m", start="2026-10-12")
    harness.fails("last", rows=200)
    harness.at("2026-11-17 20:45")
    triggered(harness, "5m")
    harness.recovers()

    harness.at("2026-11-18 20:45")
    triggered(harness, "5m")

    states = harness.query(
        "SELECT state FROM tasks JOIN runs USING (run_id) ORDER BY written_at"
    )
    assert harness.judge().wrong == [], states


def test_a_stock_without_a_trade_in_the_last_slot_is_no_alarm_every_morning(harness):
    load(harness, "5m")
    harness.withdraws("5m", "2026-11-17 19:55", alone=True)
    for now in ("2026-11-17 20:45", "2026-11-18 07:30", "2026-11-18 20:45"):
        tick_at(harness, now, "5m")

    assert harness.query("SELECT DISTINCT state FROM tasks") == [("done",)]
    assert right(harness)


def test_an_end_that_was_disproved_was_never_seen(harness):
    """One lie ends a first load, another one a backfill long after it was healed."""
    harness.at("2026-11-17 07:30")
    harness.fails("last", rows=100)
    triggered(harness, "1d", start=START["1d"])
    harness.recovers()
    tick_at(harness, "2026-11-18 07:30", "1d")
    harness.fails("last", rows=3)
    harness.at("2026-11-19 10:00")
    triggered(harness, "1d", mode="backfill", start="2020-01-06")

    assert harness.query("SELECT history_exhausted FROM series") == [(False,)]


def test_older_candles_disprove_an_end_that_was_seen_twice(harness):
    """The broker had lost its old days for half a week; a verify finds them again."""
    lost = {"through": "2026-03-31", "until": "2026-11-20 06:00"}
    harness.withdraws("1d", "1985-01-04", **lost)
    harness.at("2026-11-17 07:30")
    triggered(harness, "1d", start=START["1d"])
    for now in ("2026-11-18 20:45", "2026-11-19 20:45"):
        tick_at(harness, now, "1d")
    tick_at(harness, "2026-11-22 09:00", "1d", mode="verify")

    harness.at("2026-11-23 10:00")
    triggered(harness, "1d", mode="backfill", start="2020-01-06")

    assert harness.stored("1d").keys() == harness.truth("1d", "2020-01-06").keys()


def test_a_verify_that_is_cut_short_is_no_verify(harness):
    load(harness, "1d")
    harness.query(
        "UPDATE candles SET volume = volume + 7 WHERE opened_at = :at",
        at=min(harness.stored("1d")),
    )
    harness.fails("last", rows=90, times=1)

    harness.at("2026-11-22 09:00")
    triggered(harness, "1d", mode="verify")

    assert right(harness)


@pytest.mark.parametrize("is_open", [False, True])
def test_pages_read_with_another_calendar_are_read_again(harness, is_open):
    """An operator closes or opens a day between two attempts at a first load."""
    sessions = SessionStore(harness.engine)
    closed = SessionOverride(day("2026-11-05"), None)
    sessions.write(bundled_calendar(), override=closed if is_open else None)
    harness.store.calendar = sessions.calendar
    harness.at("2026-11-17 07:30")
    harness.trigger(["1d"], start="2020-01-06")
    (message,) = harness.queue
    harness.fails("server_error", page=3)
    with suppress(KiwoomUnavailable):
        harness.deliver(message)
    harness.recovers()
    change = {"forget": day("2026-11-05")} if is_open else {"override": closed}
    sessions.write(bundled_calendar(), **change)
    harness.store.calendar = SessionStore(harness.engine).calendar

    harness.deliver(message)

    assert (kst("2026-11-05") in harness.stored("1d")) is is_open
    assert harness.query("SELECT state FROM tasks") == [("done",)]


def test_a_stale_answer_after_an_action_moves_nothing_for_good(engine):
    """Minutes that are gone are moved back with it, and must come forward again."""
    harness = PipelineHarness(engine, "2026-10-30 20:45")
    harness.tick("60m", start="2025-11-10")
    tick_at(harness, "2027-01-05 20:45", "60m")
    harness.acts(STOCK, "2027-01-06", 5.0)
    tick_at(harness, "2027-01-06 20:45", "60m")
    harness.fails("stale", as_of=kst("2027-01-05 20:45"))
    tick_at(harness, "2027-01-07 07:30", "60m")
    harness.recovers()

    for now in ("2027-01-07 20:45", "2027-01-08 07:30"):
        tick_at(harness, now, "60m")

    assert right(harness)


def test_minutes_of_the_week_in_which_a_halt_began_are_rescaled_too(engine):
    """A week tells of the action: it ends on its last day, not on the one it opens."""
    halt = {STOCK: (day("2025-07-03"), day("2026-11-13"))}
    harness = PipelineHarness(engine, "2025-07-05 07:30", halts=halt)
    harness.tick("60m", start="2025-05-02", force=True)
    harness.tick("1w", start="2024-01-02", force=True)
    before = harness.stored("60m")
    harness.acts(STOCK, "2026-08-03", 0.1)

    harness.at("2026-11-16 20:45")
    triggered(harness, "1w")

    stored = harness.stored("60m")
    assert {stored[at][3] / values[3] for at, values in before.items()} == {10.0}


@pytest.mark.parametrize(
    ("timeframe", "page"),
    [("5m", 2), ("5m", 3), ("60m", 2), ("1d", 2), ("1w", 2)],
)
@pytest.mark.parametrize("rows", [1, 10])
def test_rows_that_are_lost_between_two_pages_are_read_all_the_same(
    harness, timeframe, page, rows
):
    start = {"5m": "2026-10-19", "60m": "2026-05-04", "1w": "2012-01-02"}
    harness.fails("cut", page=page, row=0, rows=rows, times=1)

    tick_at(
        harness, "2026-11-17 07:30", timeframe, start=start.get(timeframe, "2022-01-03")
    )

    assert harness.broker.faults[0].shown == 1
    assert right(harness)


def test_between_the_pages_of_a_thin_stock_nothing_is_believed_without_proof(engine):
    thin = PipelineHarness(engine, "2026-11-17 07:30", thin={STOCK: 0.3})

    thin.tick("5m", start="2026-08-03")

    assert thin.query("SELECT state FROM tasks") == [("done",)]
    known = "SELECT opened_at FROM absent_slots UNION SELECT opened_at FROM candles"
    explained = {at for (at,) in thin.query(known)}
    newest, oldest = max(thin.stored("5m")), min(thin.stored("5m"))
    first, last = oldest.date(), day("2026-11-16")
    slots = {
        slot
        for date in thin.calendar.session_dates(first, last)
        for slot in thin.calendar.slots(Timeframe.MINUTE_5, date)
        if oldest <= slot <= newest
    }
    assert slots <= explained
    assert right(thin)


def test_where_pages_are_known_to_join_no_request_is_spent(engine):
    thin = PipelineHarness(engine, "2026-11-17 07:30", thin={STOCK: 0.3})
    thin.tick("5m", start="2026-08-03")
    first = thin.asked()

    thin.tick("5m", mode="rebuild")

    pages = math.ceil(len(thin.stored("5m")) / 900)
    assert pages < first <= 2 * pages
    assert thin.asked() - first == pages


@pytest.mark.parametrize("how", [How.BAD_OHLC, How.NO_DATE])
def test_a_row_that_stays_spoilt_while_an_action_is_found_is_not_left_behind(
    harness, how
):
    """Far back, where no tick reads: it is missing, and Saturday's repair heals it."""
    load(harness, "5m")
    harness.acts(STOCK, "2026-11-18", 5.0)
    harness.fails("corrupt", opens=kst("2026-11-04 10:30"), how=how)
    tick_at(harness, "2026-11-18 20:45", "5m")
    harness.recovers()

    tick_at(harness, "2026-11-21 07:30", "5m")
    triggered(harness, "5m", mode="repair")

    assert right(harness)


def test_a_repair_finds_an_action_although_a_whole_page_of_ours_is_lost(harness):
    """Its page has nothing in common with ours, and the next tick only that page."""
    load(harness, "5m")
    tick_at(harness, "2026-11-18 07:30", "5m")
    page = sorted(harness.truth("5m", START["5m"]), reverse=True)[:900]
    harness.query("DELETE FROM candles WHERE opened_at >= :at", at=page[-1])
    harness.acts(STOCK, "2026-11-18", 5.0, shown_from="2026-11-18 07:31")

    harness.at("2026-11-18 07:35")
    triggered(harness, "5m", mode="repair")
    tick_at(harness, "2026-11-18 20:45", "5m")

    assert right(harness)


def test_a_week_at_the_end_of_a_page_that_is_dated_anew_is_one_candle(harness):
    harness.at("2026-11-17 07:30")
    harness.tick("1w", start="2012-01-02")
    week = sorted(harness.stored("1w"), reverse=True)[599]
    shown_on = f"{week + timedelta(days=1):%Y-%m-%d}"
    harness.redates(f"{week:%Y-%m-%d}", shown_on, since="2026-11-17 12:00")

    tick_at(harness, "2026-11-17 20:45", "1w")

    assert right(harness)


@pytest.mark.parametrize("days", [1, 40])
def test_a_stock_whose_oldest_days_were_taken_back_follows_an_action(harness, days):
    """All that is read ends later than ours does: for good, as another day tells."""
    load(harness, "1d")
    last = sorted(harness.stored("1d"))[days - 1]
    gone = {"through": f"{last:%Y-%m-%d}", "since": "2026-11-17 20:00", "alone": True}
    harness.withdraws("1d", "1985-01-04", **gone)
    harness.acts(STOCK, "2026-11-18", 5.0)

    tick_at(harness, "2026-11-18 20:45", "1d")
    tick_at(harness, "2026-11-22 09:00", "1d", mode="verify")

    assert right(harness)


SESSIONS = ("11-19", "11-20", "11-21", "11-23", "11-24", "11-25", "11-26", "11-27")


def test_a_first_load_with_one_old_page_settles_all_the_same(harness):
    """Its first page is older than an action, and the next ones are not."""
    harness.acts(STOCK, "2026-11-18", 5.0)
    harness.fails("stale", page=1, as_of=kst("2026-11-17 20:00"))
    tick_at(harness, "2026-11-18 20:45", "5m", start=START["5m"])
    harness.recovers()

    for date in SESSIONS:
        tick_at(harness, f"2026-{date} 07:30", "5m")

    assert right(harness)
    settled = harness.query("SELECT settled_through FROM series")
    assert settled == [(day("2026-11-26"),)]


def test_a_second_action_while_the_broker_is_at_the_first_is_no_lasting_doubt(harness):
    """Older prices move by both at once, which no newer ones ever did."""
    load(harness, "1d")
    rest_from = "2026-11-19 06:00"
    harness.acts(STOCK, "2026-11-18", 5.0, recent_days=30, rest_from=rest_from)
    harness.acts(STOCK, "2026-11-19", 2.0)
    tick_at(harness, "2026-11-18 20:45", "1d")

    for date in SESSIONS:
        tick_at(harness, f"2026-{date} 07:30", "1d")

    assert right(harness)
    settled = harness.query("SELECT settled_through FROM series")
    assert settled == [(day("2026-11-26"),)]


# What is read for the first time has nothing of ours that would prove its basis.


def days_later(harness, *timeframes):
    """Two days of ordinary ticks, and a Saturday with its repair."""
    harness.recovers()
    for date in ("2026-11-19", "2026-11-20"):
        for clock in ("07:30", "20:45"):
            harness.at(f"{date} {clock}")
            triggered(harness, *timeframes)
    harness.at("2026-11-21 07:30")
    triggered(harness, *timeframes)
    triggered(harness, *timeframes, mode="repair")


@pytest.mark.parametrize(
    ("timeframe", "start"), [("1d", "2022-01-03"), ("5m", START["5m"])]
)
def test_an_old_second_page_of_a_first_load_is_read_again(harness, timeframe, start):
    harness.acts(STOCK, "2026-11-18", 5.0)
    harness.fails("stale", page=2, as_of=kst("2026-11-17 20:00"))
    harness.at("2026-11-18 20:45")
    triggered(harness, timeframe, start=start)

    days_later(harness, timeframe)

    assert right(harness)
    assert harness.query("SELECT settled_through, unproven_on FROM series") == [
        (day("2026-11-20"), None)
    ]


@pytest.mark.parametrize("ratio", [5.0, 0.5])
def test_a_first_load_while_only_recent_days_are_adjusted(harness, ratio):
    shown = {"recent_days": 14, "rest_from": "2026-11-19 06:00"}
    harness.acts(STOCK, "2026-11-18", ratio, **shown)
    harness.at("2026-11-18 20:45")
    triggered(harness, "5m", start="2026-10-12")

    days_later(harness, "5m")

    assert right(harness)
    assert harness.query("SELECT unproven_on FROM series") == [(None,)]


def test_an_old_page_of_a_backfill_moves_no_candle_of_ours(harness):
    load(harness, "1d")
    tick_at(harness, "2026-11-17 20:45", "1d")
    harness.acts(STOCK, "2026-11-18", 5.0)
    tick_at(harness, "2026-11-18 20:45", "1d")
    tick_at(harness, "2026-11-19 07:30", "1d")
    harness.fails("stale", page=2, as_of=kst("2026-11-17 20:00"))
    triggered(harness, "1d", mode="backfill", start="2019-01-02")

    days_later(harness, "1d")

    assert right(harness)


@pytest.mark.parametrize("kept", [358, 350, 300])
def test_minutes_that_are_kept_for_less_than_a_year_end_there(engine, kept):
    """The end of the broker's minutes moves on every night; ours remain."""
    keeping = PipelineHarness(engine, MORNING, retention=timedelta(days=kept))
    triggered(keeping, "60m")

    costs = []
    for date in SESSIONS:
        keeping.at(f"2026-{date} 07:30")
        costs.append(counted(keeping, lambda: triggered(keeping, "60m")))

    assert keeping.query("SELECT state FROM tasks WHERE state <> 'done'") == []
    assert keeping.query("SELECT history_exhausted FROM series") == [(True,)]
    # One look more on another day, and if that is blank, the whole series.
    assert sum(costs) <= len(SESSIONS) + 2 + math.ceil(kept / 365 * 9)
    assert costs[-1] == 1
    assert right(keeping)


def test_a_new_stock_whose_first_day_was_taken_back_ends_where_the_broker_does(harness):
    """Ours is older than the end that every answer shows; an operator doubts it."""
    harness.withdraws("1d", "1985-01-04", through="2026-11-10", alone=True)
    load(harness, "1d")
    gone = {"through": "2026-11-11", "since": "2026-11-18 03:00", "alone": True}
    harness.withdraws("1d", "1985-01-04", **gone)
    harness.at("2026-11-18 07:30")
    triggered(harness, "1d", mode="backfill", start=START["1d"], force=True)

    for date in SESSIONS:
        harness.at(f"2026-{date} 07:30")
        costs = counted(harness, lambda: triggered(harness, "1d"))
    triggered(harness, "1d", mode="verify")

    assert costs == 1
    states = harness.query(
        "SELECT state FROM tasks JOIN runs USING (run_id) ORDER BY written_at"
    )
    assert states[-1] == ("done",)
    assert right(harness)


def test_a_forced_backfill_while_recent_days_are_adjusted_settles_nothing(harness):
    """Older days follow when only minutes of the last week are read any more."""
    load(harness, "5m")
    shown = {"recent_days": 14, "rest_from": "2026-11-19 18:00"}
    harness.acts(STOCK, "2026-11-18", 5.0, **shown)
    tick_at(harness, "2026-11-18 20:45", "5m")
    harness.at("2026-11-18 21:00")
    triggered(harness, "5m", mode="backfill", start="2026-10-12", force=True)

    days_later(harness, "5m")

    assert right(harness)
    assert harness.query("SELECT settled_through FROM series") == [(day("2026-11-20"),)]


@pytest.mark.parametrize("timeframe", ["5m", "60m"])
def test_a_stock_that_stopped_trading_before_the_last_slot_is_asked_for_once(
    harness, timeframe
):
    """What follows its last candle is neither served nor proven to be absent."""
    load(harness, timeframe)
    harness.withdraws("5m", "2026-11-20 17:00", through="2026-11-20 19:55")
    for date in ("2026-11-18", "2026-11-19", "2026-11-20", "2026-11-21"):
        tick_at(harness, f"{date} 07:30", timeframe)

    asked = counted(harness, lambda: triggered(harness, timeframe, mode="repair"))

    assert asked == 1
    assert harness.query("SELECT DISTINCT state FROM tasks") == [("done",)]
    assert right(harness)


def test_a_jump_with_which_trading_resumes_hides_no_late_adjustment(engine):
    """The market itself steps where our candles end to be on the old basis."""
    harness = PipelineHarness(engine, EVENING, levels={STOCK: 937})
    for date in ("2026-11-18", "2026-11-19", "2026-11-20"):
        jump = dict.fromkeys(("open", "high", "low", "close"), 7_000)
        harness.corrects("1d", date, jump, alone=True)
    load(harness, "1d")
    tick_at(harness, "2026-11-17 20:45", "1d")
    harness.acts(STOCK, "2026-11-18", 0.1, shown_from="2026-11-19 12:00")
    harness.at("2026-11-18 20:45")
    triggered(harness, "1d")

    days_later(harness, "1d")

    assert right(harness)
    assert harness.query("SELECT round(ratio) FROM corporate_actions") == [(10,)]
