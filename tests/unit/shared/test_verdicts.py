"""Is it there, and if not, why: every state, and each border between two of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.candles import Timeframe
from shared.freshness import DueTimes, Tick
from shared.series import Series
from shared.sessions import Calendar
from shared.verdicts import (
    REMEDIES,
    Judge,
    Reason,
    SeriesFacts,
    SessionFacts,
    State,
    settled,
)
from tests.support.builders import CALENDAR, day, kst

M5, M60, DAY, WEEK = (
    Timeframe.MINUTE_5,
    Timeframe.MINUTE_60,
    Timeframe.DAY_1,
    Timeframe.WEEK_1,
)
EVERY_TICK = [
    tick
    for cron, frames in (
        ("*/5 9-20 * * 1-5", ["5m"]),
        ("3 9-20 * * 1-5", ["60m"]),
        ("45 15,20 * * 1-5", ["1d"]),
        ("50 15,20 * * 1-5", ["1w"]),
        ("30 7 * * *", ["5m", "60m", "1d", "1w"]),
    )
    if (tick := Tick.of(cron, {"timeframes": frames}))
]
THURSDAY, FRIDAY = day("2026-11-19"), day("2026-11-20")
# A Friday morning: Thursday was settled at 07:30.
NOW = kst("2026-11-20 10:31")
NOTHING = SessionFacts()


def a_judge(timeframe=M5, now=NOW, ticks=EVERY_TICK):
    return Judge(DueTimes(CALENDAR, ticks), timeframe, now)


def a_series(*, asked="2026-11-20 10:30:05", newest="2026-11-20 10:25", **values):
    """A series that was loaded from August on, settled yesterday and asked just now."""
    facts = {
        key: values.pop(key)
        for key in ("listed", "halted", "listed_on", "is_target")
        if key in values
    }
    series = Series(
        **{
            "covered_from": day("2026-08-03"),
            "wanted_from": day("2026-08-03"),
            "settled_through": THURSDAY,
            "oldest": day("2026-08-03"),
            "newest": kst(newest) if newest else None,
            **values,
        }
    )
    return SeriesFacts(series=series, asked_at=asked and kst(asked), **facts)


def verdict(known, of, stored=NOTHING, **values):
    return a_judge(**values).session(known, of, stored)


def told(verdict):
    return verdict.state, verdict.reason


# Settled sessions


def test_a_candle_in_every_slot_is_complete():
    full = CALENDAR.slots(M5, THURSDAY)
    found = verdict(a_series(), THURSDAY, SessionFacts(candles=len(full)))

    assert told(found) == (State.COMPLETE, Reason.ALL_PRESENT)
    assert (found.expected, found.candles, found.missing) == (len(full), len(full), 0)


def test_slots_that_the_broker_has_nothing_for_make_it_thin_and_no_fault():
    found = settled(104, SessionFacts(candles=100, absent=4))

    assert told(found) == (State.THIN, Reason.BROKER_HAS_NONE)
    assert (found.explained, found.missing) == (4, 0)
    assert not found.state.is_problem


def test_thin_is_confirmed_once_a_repair_has_found_every_absence_again():
    assert settled(104, SessionFacts(100, 4, 3)).reason is Reason.BROKER_HAS_NONE
    assert settled(104, SessionFacts(100, 4, 4)).reason is Reason.CONFIRMED


def test_absences_beside_the_grid_explain_no_slot_twice():
    found = settled(104, SessionFacts(candles=100, absent=6))

    assert (found.explained, found.missing) == (4, 0)


def test_one_slot_that_nothing_explains_is_missing():
    found = settled(104, SessionFacts(candles=100, absent=3))

    assert told(found) == (State.MISSING, Reason.UNEXPLAINED)
    assert (found.explained, found.missing) == (3, 1)
    assert found.state.is_problem
    assert found.remedy == REMEDIES[Reason.UNEXPLAINED]


def test_without_any_candle_there_were_no_trades():
    assert told(settled(104, SessionFacts(absent=104))) == (
        State.NO_TRADES,
        Reason.BROKER_HAS_NONE,
    )


def test_a_daily_candle_without_volume_explains_every_minute_of_its_day():
    found = settled(104, SessionFacts(is_without_trades=True))

    assert told(found) == (State.NO_TRADES, Reason.DAY_WITHOUT_TRADES)
    assert (found.explained, found.missing) == (104, 0)
    # Where each absence was seen as well, that is known better.
    seen = settled(104, SessionFacts(absent=104, is_without_trades=True))
    assert seen.reason is Reason.BROKER_HAS_NONE


def test_more_candles_than_slots_explain_nothing():
    """A seal may be from before it was known which of its candles are in a slot."""
    found = settled(104, SessionFacts(candles=105))

    assert told(found) == (State.COMPLETE, Reason.ALL_PRESENT)
    assert found.explained == 0


def test_nothing_stored_and_nothing_explained_is_missing_not_without_trades():
    assert settled(104, SessionFacts()).state is State.MISSING


def test_what_the_broker_no_longer_keeps_is_lost():
    old = day("2025-11-24")
    known = a_series(covered_from=day("2025-01-02"), oldest=day("2025-01-02"))

    assert verdict(known, old).reason is Reason.LOST
    assert verdict(known, day("2025-11-25")).reason is Reason.UNEXPLAINED
    # Days are kept from the beginning.
    assert verdict(known, old, timeframe=DAY).reason is Reason.UNEXPLAINED
    # What is here is not lost.
    full = SessionFacts(len(CALENDAR.slots(M5, old)))
    assert verdict(known, old, full).reason is Reason.ALL_PRESENT
    assert a_slot("2025-11-24 10:00", known=known).reason is Reason.LOST


@given(st.integers(1, 120), st.integers(0, 120), st.integers(0, 120), st.booleans())
def test_expected_is_present_explained_or_missing(expected, candles, absent, traded):
    stored = SessionFacts(min(candles, expected), absent, 0, not traded)
    found = settled(expected, stored)

    assert found.candles + found.explained + found.missing == expected
    assert (found.missing > 0) == (found.state is State.MISSING)
    assert (found.candles == expected) == (found.state is State.COMPLETE)


# What was not asked for


def test_before_the_covered_days_nothing_was_asked_for():
    found = verdict(a_series(), day("2026-07-31"))

    assert told(found) == (State.NOT_ASKED, Reason.BEFORE_COVERAGE)


@pytest.mark.parametrize(
    "earlier",
    [
        {"listed_on": day("1975-06-11")},
        {"oldest": day("2026-07-01"), "history_exhausted": True},
    ],
)
def test_what_lies_before_the_covered_days_makes_them_begin_no_earlier(earlier):
    assert verdict(a_series(**earlier), day("2026-07-31")).reason is (
        Reason.BEFORE_COVERAGE
    )


def test_before_its_listing_a_stock_has_no_candles():
    known = a_series(listed_on=day("2026-09-01"))

    assert verdict(known, day("2026-08-31")).reason is Reason.BEFORE_LISTING
    assert verdict(known, day("2026-09-01")).state is State.MISSING


def test_the_week_of_a_listing_is_asked_for_whatever_day_that_was():
    known = a_series(listed_on=day("2026-11-11"), asked="2026-11-13 20:50:03")
    now = kst("2026-11-14 09:00")

    def of(monday):
        return verdict(known, day(monday), SessionFacts(1), timeframe=WEEK)

    assert of("2026-11-02").reason is Reason.BEFORE_LISTING
    assert of("2026-11-09").state is State.COMPLETE
    # Its reading on Saturday is waited for.
    known = replace(known, series=replace(known.series, settled_through=None))
    assert a_judge(WEEK, now).is_late(known)


def test_before_the_end_of_the_brokers_history_there_is_nothing():
    known = a_series(oldest=day("2026-09-01"), history_exhausted=True)
    once = a_series(oldest=day("2026-09-01"))

    assert verdict(known, day("2026-08-31")).reason is Reason.BEFORE_HISTORY
    # An end that was seen once is not believed.
    assert verdict(once, day("2026-08-31")).state is State.MISSING


def test_a_stock_that_left_the_exchange_has_no_candles_any_more():
    known = a_series(
        listed=False, settled_through=day("2026-11-10"), newest="2026-11-10 15:30"
    )

    assert verdict(known, day("2026-11-11")).reason is Reason.LEFT_THE_EXCHANGE
    assert verdict(known, day("2026-11-10")).state is State.MISSING
    ended = a_series(ended=True, settled_through=None, newest=None)
    assert verdict(ended, THURSDAY).reason is Reason.LEFT_THE_EXCHANGE
    # What is settled was asked for, whether it traded or not.
    idle = replace(known, series=replace(known.series, newest=kst("2026-11-09 15:30")))
    absent = SessionFacts(absent=len(CALENDAR.slots(M5, day("2026-11-10"))))
    assert verdict(idle, day("2026-11-10"), absent).state is State.NO_TRADES


@pytest.mark.parametrize("left", [{"listed": False}, {"ended": True}])
def test_the_last_day_of_a_stock_that_left_is_not_late(left):
    known = a_series(asked="2026-11-20 09:55:03", newest="2026-11-20 09:50", **left)
    stored = SessionFacts(candles=11)

    found = verdict(known, FRIDAY, stored)

    assert told(found) == (State.PROVISIONAL, Reason.END_NOT_PROVEN)
    assert not a_judge().is_late(known)


# Sessions that are not settled


def test_a_session_under_way_is_provisional():
    found = verdict(a_series(), FRIDAY, SessionFacts(candles=18))

    assert told(found) == (State.PROVISIONAL, Reason.AWAITS_FINAL_READING)
    assert found.due_at == kst("2026-11-21 07:30")
    slots = CALENDAR.slots(M5, FRIDAY)
    assert (found.expected, found.candles, found.missing) == (len(slots), 18, 0)


def test_before_anything_is_due_of_a_session_it_is_provisional():
    found = verdict(
        a_series(asked="2026-11-20 07:30:10"), FRIDAY, now=kst("2026-11-20 09:08")
    )

    assert told(found) == (State.PROVISIONAL, Reason.NOT_DUE)


def test_a_due_time_that_passed_without_an_answer_makes_it_late():
    found = verdict(a_series(asked="2026-11-20 10:20:05"), FRIDAY)

    assert told(found) == (State.LATE, Reason.NOT_ASKED_SINCE)
    assert found.due_at == kst("2026-11-20 10:25")
    assert found.remedy
    assert found.state.is_problem


def test_a_tick_may_take_ninety_seconds():
    known = a_series(asked="2026-11-20 10:25:05")

    def judged_at(now):
        judge = a_judge(now=kst(now))
        return judge.session(known, FRIDAY, NOTHING).state, judge.is_late(known)

    assert judged_at("2026-11-20 10:31:29") == (State.PROVISIONAL, False)
    assert judged_at("2026-11-20 10:31:30") == (State.LATE, True)


def test_an_older_due_time_is_not_forgotten_when_the_next_tick_begins():
    known = a_series(asked="2026-11-20 10:20:05")

    found = verdict(known, FRIDAY, now=kst("2026-11-20 10:30:01"))

    assert found.state is State.LATE


def test_asked_is_fresh_though_no_one_traded():
    known = a_series(newest="2026-11-13 15:30")

    found = verdict(known, FRIDAY)

    assert found.state is State.PROVISIONAL
    assert not a_judge().is_late(known)


def test_a_session_that_was_not_read_again_in_the_morning_is_late():
    known = a_series(asked="2026-11-19 20:55:04", settled_through=day("2026-11-18"))
    before = verdict(known, THURSDAY, now=kst("2026-11-20 07:31"))
    after = verdict(known, THURSDAY, now=kst("2026-11-20 07:31:30"))

    assert before.state is State.PROVISIONAL
    assert told(after) == (State.LATE, Reason.NOT_ASKED_SINCE)
    assert after.due_at == kst("2026-11-20 07:30")


def test_a_stock_whose_last_trades_prove_no_end_stays_provisional():
    known = a_series(settled_through=day("2026-11-18"), newest="2026-11-19 14:05")

    found = verdict(known, THURSDAY, SessionFacts(candles=40))

    assert told(found) == (State.PROVISIONAL, Reason.END_NOT_PROVEN)


@pytest.mark.parametrize(
    ("newest", "candles"),
    [("2026-11-19 15:20", 0), ("2026-11-20 10:25", 0), (None, 1)],
)
def test_one_candle_of_a_day_or_after_it_is_enough_not_to_give_it_up(newest, candles):
    known = a_series(settled_through=day("2026-11-18"), newest=newest)

    found = verdict(known, THURSDAY, SessionFacts(candles=candles))

    assert told(found) == (State.PROVISIONAL, Reason.END_NOT_PROVEN)


def test_a_session_that_is_over_and_was_not_served_is_missing():
    known = a_series(settled_through=day("2026-11-18"), newest="2026-11-18 19:55")

    found = verdict(known, THURSDAY)

    assert told(found) == (State.MISSING, Reason.NOT_SERVED)
    assert found.missing == found.expected == len(CALENDAR.slots(M5, THURSDAY))


def test_a_halted_stock_is_said_to_be_halted_and_is_no_fault():
    known = a_series(
        settled_through=day("2026-11-18"), newest="2026-11-18 19:55", halted=True
    )

    found = verdict(known, THURSDAY)

    assert told(found) == (State.NO_TRADES, Reason.HALTED)


def test_a_day_without_trades_that_no_answer_settled_is_explained():
    known = a_series(settled_through=day("2026-11-18"), newest="2026-11-18 19:55")

    found = verdict(known, THURSDAY, SessionFacts(is_without_trades=True))

    assert told(found) == (State.NO_TRADES, Reason.DAY_WITHOUT_TRADES)


def test_a_halted_stock_that_no_one_asked_for_is_late_all_the_same():
    known = a_series(
        asked="2026-11-19 10:00",
        settled_through=day("2026-11-18"),
        newest="2026-11-18 19:55",
        halted=True,
    )

    assert verdict(known, THURSDAY).state is State.LATE


def test_a_target_that_was_never_loaded_is_late_on_the_newest_session_due():
    never = SeriesFacts(series=Series())

    assert told(verdict(never, FRIDAY)) == (State.LATE, Reason.NEVER_LOADED)
    assert told(verdict(never, THURSDAY)) == (State.NOT_ASKED, Reason.BEFORE_COVERAGE)
    assert a_judge().is_late(never)
    # Friday has opened, and Thursday's last reading is what was due.
    early = kst("2026-11-20 09:04")
    assert verdict(never, FRIDAY, now=early).reason is Reason.BEFORE_COVERAGE
    assert verdict(never, THURSDAY, now=early).reason is Reason.NEVER_LOADED


def test_a_target_of_which_the_broker_has_nothing_is_not_late():
    asked = SeriesFacts(series=Series(), asked_at=kst("2026-11-20 10:30:03"))

    found = verdict(asked, FRIDAY)
    assert told(found) == (State.NO_TRADES, Reason.BROKER_HAS_NONE)
    assert found.explained == found.expected
    assert verdict(asked, THURSDAY).state is State.NOT_ASKED
    assert not a_judge().is_late(asked)


def test_before_its_first_session_a_target_is_not_late():
    coming = SeriesFacts(series=Series(), listed_on=day("2026-11-23"))

    assert verdict(coming, FRIDAY).reason is Reason.BEFORE_LISTING
    assert not a_judge().is_late(coming)
    assert a_judge(now=kst("2026-11-23 09:31")).is_late(coming)


def test_asked_between_two_ticks_is_fresh_once_the_candle_was_complete():
    early = a_series(asked="2026-11-20 10:26:29")
    enough = a_series(asked="2026-11-20 10:26:30")
    now = kst("2026-11-20 10:32")

    assert a_judge(now=now).is_late(early)
    assert verdict(early, FRIDAY, now=now).state is State.LATE
    assert not a_judge(now=now).is_late(enough)
    assert verdict(enough, FRIDAY, now=now).state is State.PROVISIONAL


def test_a_session_that_was_settled_before_the_morning_tick_is_fresh():
    """By a run at night, so that the tick at 07:30 has nothing to ask."""
    known = a_series(asked="2026-11-20 00:10:00")

    assert not a_judge(now=kst("2026-11-20 09:08")).is_late(known)


@pytest.mark.parametrize("not_awaited", [{"is_target": False}, {"listed": False}])
def test_what_no_tick_asks_for_is_not_late_for_never_being_loaded(not_awaited):
    never = SeriesFacts(series=Series(), **not_awaited)

    assert told(verdict(never, FRIDAY)) == (State.NOT_ASKED, Reason.BEFORE_COVERAGE)
    assert not a_judge().is_late(never)


def test_a_stock_that_is_no_target_any_more_is_not_asked_for():
    known = a_series(asked="2026-11-19 09:00", is_target=False)

    assert told(verdict(known, FRIDAY)) == (State.NOT_ASKED, Reason.NO_TARGET)
    assert not a_judge().is_late(known)
    # What was read of it stays judged.
    full = len(CALENDAR.slots(M5, THURSDAY))
    assert verdict(known, THURSDAY, SessionFacts(full)).state is State.COMPLETE


def test_where_schedules_are_paused_nothing_is_late():
    known = a_series(asked="2026-11-18 10:00", settled_through=day("2026-11-17"))
    never = SeriesFacts(series=Series())

    assert verdict(known, FRIDAY, ticks=[]).state is State.PROVISIONAL
    assert not a_judge(ticks=[]).is_late(known)
    assert not a_judge(ticks=[]).is_late(never)


def test_a_week_that_is_under_way_is_provisional_until_it_was_read_after_its_end():
    monday = day("2026-11-16")
    asked = a_series(asked="2026-11-19 20:50:03", newest="2026-11-16")
    asked = replace(
        asked, series=replace(asked.series, settled_through=day("2026-11-13"))
    )

    def state_at(now):
        return verdict(asked, monday, timeframe=WEEK, now=kst(now)).state

    assert state_at("2026-11-20 20:51:29") is State.PROVISIONAL
    assert state_at("2026-11-20 20:51:30") is State.LATE
    assert verdict(asked, day("2026-11-09"), SessionFacts(1), timeframe=WEEK).state is (
        State.COMPLETE
    )


# Series


@pytest.mark.parametrize("timeframe", [M5, M60, DAY, WEEK])
@given(
    asked=st.integers(0, 9 * 24 * 60),
    elapsed=st.integers(0, 9 * 24 * 60),
    settled_days=st.integers(0, 12),
)
def test_a_series_is_late_exactly_if_one_of_its_sessions_is(
    timeframe, asked, elapsed, settled_days
):
    since = kst("2026-11-10 00:00")
    now = since + timedelta(minutes=max(asked, elapsed))
    judge = a_judge(timeframe, now)
    asked_at = since + timedelta(minutes=asked)
    # What is settled was read after its day.
    through = CALENDAR.settled_through(
        timeframe, asked_at, asked_at.date() - timedelta(days=settled_days)
    )
    known = a_series(settled_through=through)
    known = replace(known, asked_at=asked_at)
    days = judge.sessions(day("2026-10-05"), day("2026-11-24"))

    states = {judge.session(known, each, SessionFacts(1)).state for each in days}

    assert judge.is_late(known) == (State.LATE in states)


def test_sessions_are_those_on_which_a_candle_opens_until_now():
    first = day("2026-11-09")

    assert a_judge(DAY).sessions(first, day("2026-11-30"))[-1] == FRIDAY
    assert a_judge(WEEK).sessions(first, day("2026-11-30")) == [
        day("2026-11-09"),
        day("2026-11-16"),
    ]
    early = a_judge(DAY, kst("2026-11-20 08:59"))
    assert early.sessions(first, FRIDAY)[-1] == THURSDAY


def test_before_the_first_session_of_a_calendar_there_is_none():
    begun = Calendar({FRIDAY: (time(9), time(15, 30))}, FRIDAY, day("2026-11-30"))

    def sessions(now):
        judge = Judge(DueTimes(begun, EVERY_TICK), M5, kst(now))
        return judge.sessions(day("1956-03-03"), FRIDAY)

    assert sessions("2026-11-20 08:59") == []
    assert sessions("2026-11-20 10:31") == [FRIDAY]


def test_sessions_are_counted_without_working_out_their_slots(monkeypatch):
    def slots(*_):
        pytest.fail("a range of forty years would take seconds")

    judge = a_judge()
    monkeypatch.setattr(type(CALENDAR), "slots", slots)

    assert len(judge.sessions(CALENDAR.first, FRIDAY)) > 10_000


# Slots


def a_slot(at, *, known=None, timeframe=M5, now=NOW, **facts):
    judge = a_judge(timeframe, now)
    return judge.slot(known or a_series(), kst(at), **{"has_candle": False, **facts})


def test_a_settled_candle_is_complete_and_one_of_today_provisional():
    assert a_slot("2026-11-19 10:00", has_candle=True).state is State.COMPLETE
    today = a_slot("2026-11-20 10:00", has_candle=True)
    assert told(today) == (State.PROVISIONAL, Reason.AWAITS_FINAL_READING)


def test_an_absent_slot_says_how_well_that_is_known():
    once = a_slot("2026-11-19 10:00", confirmations=1)
    twice = a_slot("2026-11-19 10:00", confirmations=2)

    assert told(once) == (State.NO_TRADES, Reason.BROKER_HAS_NONE)
    assert told(twice) == (State.NO_TRADES, Reason.CONFIRMED)
    whole = a_slot("2026-11-19 10:00", is_without_trades=True)
    assert told(whole) == (State.NO_TRADES, Reason.DAY_WITHOUT_TRADES)


@pytest.mark.parametrize(
    ("halted", "idle"), [(False, False), (False, True), (True, False)]
)
def test_a_slot_says_of_a_day_that_was_not_served_what_its_session_says(halted, idle):
    known = a_series(
        settled_through=day("2026-11-18"), newest="2026-11-18 19:55", halted=halted
    )
    session = verdict(known, THURSDAY, SessionFacts(is_without_trades=idle))

    slot = a_slot("2026-11-19 10:00", known=known, is_without_trades=idle)

    assert told(slot) == told(session)
    # The other candles of the day tell that the broker serves it.
    served = a_slot("2026-11-19 10:00", known=known, candles_of_day=1)
    assert told(served) == (State.PROVISIONAL, Reason.END_NOT_PROVEN)


def test_a_settled_slot_without_anything_is_missing():
    assert told(a_slot("2026-11-19 10:00")) == (State.MISSING, Reason.UNEXPLAINED)


def test_a_slot_that_was_asked_for_is_not_late_for_a_later_one():
    known = a_series(asked="2026-11-20 10:20:05")

    assert a_slot("2026-11-20 10:05", known=known).state is State.PROVISIONAL
    late = a_slot("2026-11-20 10:15", known=known)
    assert told(late) == (State.LATE, Reason.NOT_ASKED_SINCE)
    assert late.due_at == kst("2026-11-20 10:25")
    # The tick has its time here as well.
    early = a_slot("2026-11-20 10:15", known=known, now=kst("2026-11-20 10:26:29"))
    assert told(early) == (State.PROVISIONAL, Reason.NOT_DUE)
    late = a_slot("2026-11-20 10:15", known=known, now=kst("2026-11-20 10:26:30"))
    assert told(late) == (State.LATE, Reason.NOT_ASKED_SINCE)
    coming = a_slot("2026-11-20 10:25", known=known)
    assert told(coming) == (State.PROVISIONAL, Reason.NOT_DUE)
    assert coming.due_at == kst("2026-11-20 10:35")


def test_a_candle_that_was_read_while_it_formed_is_late_once_it_is_due():
    known = a_series(asked="2026-11-20 10:20:05")

    formed = a_slot("2026-11-20 10:10", known=known, has_candle=True)
    forming = a_slot("2026-11-20 10:15", known=known, has_candle=True)
    assert told(formed) == (State.PROVISIONAL, Reason.AWAITS_FINAL_READING)
    assert told(forming) == (State.LATE, Reason.NOT_ASKED_SINCE)
    assert (forming.expected, forming.candles) == (1, 1)
    assert forming.due_at == kst("2026-11-20 10:25")
    asked = replace(known, asked_at=kst("2026-11-20 10:25:02"))
    assert told(a_slot("2026-11-20 10:15", known=asked, has_candle=True)) == (
        State.PROVISIONAL,
        Reason.AWAITS_FINAL_READING,
    )


def test_a_candle_beside_the_grid_is_not_late():
    # The session is not: its last candle before the auction was asked for.
    known = a_series(asked="2026-11-20 15:25:05")
    now = kst("2026-11-20 15:32")

    found = a_slot("2026-11-20 15:20", known=known, now=now, has_candle=True)

    assert told(found) == (State.PROVISIONAL, Reason.AWAITS_FINAL_READING)
    assert not a_judge(now=now).is_late(known)


def test_an_instant_at_which_no_candle_opens_is_no_slot():
    assert a_slot("2026-11-19 16:32").reason is Reason.NOT_A_SLOT
    # Orders are gathered for the auction; a candle there is one all the same.
    assert a_slot("2026-11-18 15:20").reason is Reason.NOT_A_SLOT
    assert a_slot("2026-11-18 15:20", has_candle=True).state is State.COMPLETE


def test_a_slot_before_what_was_asked_for_says_so():
    assert a_slot("2026-07-31 10:00").reason is Reason.BEFORE_COVERAGE


def test_every_problem_has_a_remedy():
    problems = {
        Reason.NOT_ASKED_SINCE,
        Reason.NEVER_LOADED,
        Reason.UNEXPLAINED,
        Reason.NOT_SERVED,
        Reason.LOST,
    }
    assert REMEDIES.keys() == problems
