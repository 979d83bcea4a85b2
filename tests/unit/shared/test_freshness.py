"""When candles are due, by the market's clock and the schedules of pipeline.yaml."""

from __future__ import annotations

from datetime import time, timedelta

import pytest

from infra import topology
from shared.candles import Timeframe
from shared.freshness import COMPLETION, Due, DueTimes, Tick
from shared.sessions import Calendar
from tests.support.builders import CALENDAR, day, kst

M5, M30, M60 = Timeframe.MINUTE_5, Timeframe.MINUTE_30, Timeframe.MINUTE_60
DAY, WEEK = Timeframe.DAY_1, Timeframe.WEEK_1


def the_ticks():
    return topology.ticks(topology.load())


def at(due):
    return due and due.at


DUE = DueTimes(CALENDAR, the_ticks())


def with_hours(text, opens, closes):
    """The calendar with special hours on one day; without any it is closed."""
    hours = (opens, closes) if opens else None
    sessions = {**CALENDAR.sessions, day(text): hours}
    calendar = Calendar(sessions, CALENDAR.first, CALENDAR.last)
    return DueTimes(calendar, the_ticks())


def test_repairs_and_verifies_are_no_ticks():
    assert Tick.of("0 8 * * 6", {"mode": "repair", "timeframes": ["5m"]}) is None
    assert Tick.of("0 8 * * 6", {"timeframe": "5m", "stocks": ["005930"]}) is None
    assert len(the_ticks()) == 7


@pytest.mark.parametrize("payload", [{"timeframe": "7m"}, {"timeframes": "7m"}, {}])
def test_a_timeframe_that_is_none_is_refused(payload):
    with pytest.raises(ValueError, match="is not a valid Timeframe"):
        Tick.of("0 8 * * 6", payload)


@pytest.mark.parametrize(
    ("timeframe", "slot", "due_at"),
    [
        # Half a minute before the tick, the candle is not sure to be complete.
        (M5, "2026-11-20 09:00", "2026-11-20 09:10"),
        (M5, "2026-11-20 10:25", "2026-11-20 10:35"),
        # The closing auction, and the small candle after it.
        (M5, "2026-11-20 15:30", "2026-11-20 15:40"),
        (M5, "2026-11-20 15:35", "2026-11-20 15:45"),
        # The after-market.
        (M5, "2026-11-20 19:55", "2026-11-20 20:05"),
        (M30, "2026-11-20 09:00", "2026-11-20 09:32"),
        (M30, "2026-11-20 19:30", "2026-11-20 20:02"),
        (M60, "2026-11-20 09:00", "2026-11-20 10:03"),
        (M60, "2026-11-20 19:00", "2026-11-20 20:03"),
        # Days and weeks end with their trading.
        (DAY, "2026-11-20", "2026-11-20 20:45"),
        (DAY, "2026-09-11", "2026-09-11 15:45"),
        (WEEK, "2026-11-16", "2026-11-20 20:50"),
    ],
)
def test_a_candle_is_due_at_the_first_tick_after_its_end(timeframe, slot, due_at):
    assert at(DUE.due(timeframe, kst(slot))) == kst(due_at)


def test_a_tick_exactly_when_the_candle_is_complete_is_early_enough():
    # With seconds, so that the last of the ninety is at a full minute.
    hourly = Tick.of("3 9-20 * * 1-5", {"timeframe": "60m"})
    assert hourly
    due = DueTimes(CALENDAR, [hourly])
    end = kst("2026-11-20 10:03") - COMPLETION

    assert due.next_tick(M60, end + COMPLETION) == kst("2026-11-20 10:03")
    # 09:30 and ninety seconds is before the tick at 09:32.
    assert at(DUE.due(M30, kst("2026-11-20 09:00"))) == kst("2026-11-20 09:32")


def test_exam_day_opens_and_closes_an_hour_later():
    # 2026-11-19: 10:00 to 16:30, the after-market from 17:00.
    slots = CALENDAR.slots(M5, day("2026-11-19"))

    assert slots[0] == kst("2026-11-19 10:00")
    assert at(DUE.due(M5, slots[0])) == kst("2026-11-19 10:10")
    assert DUE.latest(M5, day("2026-11-19"), kst("2026-11-19 10:09")) is None
    # The candles of the closing auction are those of 16:30 and 16:35.
    assert kst("2026-11-19 16:35") in slots
    assert at(DUE.due(M5, kst("2026-11-19 16:35"))) == kst("2026-11-19 16:45")


def test_new_years_opening_is_at_ten():
    due = DUE.latest(M5, day("2026-01-02"), kst("2026-01-02 10:09:59"))

    assert due is None
    assert DUE.latest(M5, day("2026-01-02"), kst("2026-01-02 10:10"))


def test_a_closed_day_makes_nothing_due():
    closed = with_hours("2026-11-20", None, None)
    then = kst("2026-11-20 18:00")

    assert closed.latest(M5, day("2026-11-20"), then) is None
    # The session before it was settled on the morning of the closed day.
    assert closed.latest_of_all(M5, then) == Due(
        day("2026-11-19"), kst("2026-11-20 07:30"), kst("2026-11-20")
    )


def test_special_hours_move_what_is_due():
    short = with_hours("2026-11-20", time(9, 0), time(12, 0))

    assert short.newest_due_slot(M30, kst("2026-11-20 12:40")) == kst(
        "2026-11-20 12:00"
    )


def test_a_session_is_read_for_the_last_time_on_the_next_morning():
    assert at(DUE.final(M5, day("2026-11-19"))) == kst("2026-11-20 07:30")
    # Also on a weekend.
    assert at(DUE.final(M5, day("2026-11-20"))) == kst("2026-11-21 07:30")
    assert at(DUE.final(DAY, day("2026-11-20"))) == kst("2026-11-21 07:30")
    assert at(DUE.final(WEEK, day("2026-11-16"))) == kst("2026-11-21 07:30")


def test_a_week_is_read_after_its_last_session_whatever_day_that_is():
    # 2026-09-24 to 28 is Chuseok: the week's sessions are Monday to Wednesday.
    assert at(DUE.final(WEEK, day("2026-09-21"))) == kst("2026-09-24 07:30")
    assert at(DUE.due(WEEK, kst("2026-09-21"))) == kst("2026-09-23 20:50")


def test_a_week_beyond_the_calendar_is_not_due():
    sessions = {d: h for d, h in CALENDAR.sessions.items() if d <= day("2026-11-18")}
    due = DueTimes(Calendar(sessions, CALENDAR.first, day("2026-11-18")), the_ticks())

    assert at(due.due(WEEK, kst("2026-11-16"))) is None
    assert due.final(WEEK, day("2026-11-16")) is None


def test_the_last_due_time_moves_from_candle_to_candle_to_the_final_reading():
    friday = day("2026-11-20")

    assert DUE.latest(M60, friday, kst("2026-11-20 10:02:59")) is None
    for now, due_at, ready_at in (
        ("2026-11-20 10:03", "2026-11-20 10:03", "2026-11-20 10:01:30"),
        ("2026-11-21 07:29", "2026-11-20 20:03", "2026-11-20 20:01:30"),
        ("2026-11-21 07:30", "2026-11-21 07:30", "2026-11-21 00:00"),
        ("2026-11-24 12:00", "2026-11-21 07:30", "2026-11-21 00:00"),
    ):
        due = Due(friday, kst(due_at), kst(ready_at))
        assert DUE.latest(M60, friday, kst(now)) == due


def test_of_candles_that_are_due_at_one_tick_the_newest_counts():
    """At 16:02 the tick asks for 15:30; the one of an hour is due at the next tick."""
    evening = Tick.of("40 20 * * 1-5", {"timeframe": "60m"})
    due = DueTimes(CALENDAR, [evening] if evening else [])

    assert due.latest(M60, day("2026-11-20"), kst("2026-11-20 21:00")) == Due(
        day("2026-11-20"), kst("2026-11-20 20:40"), kst("2026-11-20 20:01:30")
    )


def test_the_newest_session_with_something_due_is_found():
    # Today has opened, and nothing of it is due: the morning settled Thursday.
    early = kst("2026-11-20 09:04")
    settling = Due(day("2026-11-19"), kst("2026-11-20 07:30"), kst("2026-11-20"))
    assert DUE.latest_of_all(M5, early) == settling
    assert DUE.newest_due_slot(M5, early) == kst("2026-11-19 19:55")

    later = kst("2026-11-20 09:12")
    assert DUE.latest_of_all(M5, later) == Due(
        day("2026-11-20"), kst("2026-11-20 09:10"), kst("2026-11-20 09:06:30")
    )
    assert DUE.newest_due_slot(M5, later) == kst("2026-11-20 09:00")


def test_where_schedules_are_paused_nothing_is_due():
    paused = DueTimes(CALENDAR, [])
    now = kst("2026-11-20 12:00")

    assert paused.next_tick(M5, now) is None
    assert at(paused.due(M5, kst("2026-11-20 09:00"))) is None
    assert paused.latest(M5, day("2026-11-20"), now) is None
    assert paused.latest_of_all(M5, now) is None
    assert paused.newest_due_slot(M5, now) is None


def test_where_schedules_are_paused_no_one_looks_back_further_than_weeks():
    first, now = day("2026-10-12"), kst("2026-11-20 12:00")
    known = {each: hours for each, hours in CALENDAR.sessions.items() if each >= first}
    paused = DueTimes(Calendar(known, first, CALENDAR.last), [])

    assert paused.latest_of_all(M5, now) is None
    assert paused.newest_due_slot(M5, now) is None


def test_a_schedule_that_never_fires_hides_no_other():
    never = Tick.of("0 9 30 2 *", {"timeframe": "5m"})
    due = DueTimes(CALENDAR, [tick for tick in (never, *the_ticks()) if tick])
    now = kst("2026-11-20 10:31")

    assert due.next_tick(M5, now) == DUE.next_tick(M5, now)


def test_the_next_tick_is_the_earliest_of_all_schedules():
    assert DUE.next_tick(M60, kst("2026-11-20 20:04")) == kst("2026-11-20 20:40")
    assert DUE.next_tick(M60, kst("2026-11-20 20:41")) == kst("2026-11-21 07:30")
    # Weekends have the morning tick only.
    saturday = kst("2026-11-21 07:31")
    assert DUE.next_tick(M5, saturday) - saturday < timedelta(days=1)
