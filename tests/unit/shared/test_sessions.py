from __future__ import annotations

import pytest

from shared.candles import CandleSession, Timeframe
from shared.sessions import Calendar, kst_date, week_of
from tests.support.builders import CALENDAR, day, kst

M5, M60, D1, W1 = (
    Timeframe.MINUTE_5,
    Timeframe.MINUTE_60,
    Timeframe.DAY_1,
    Timeframe.WEEK_1,
)


@pytest.mark.parametrize(("year", "count"), [(2025, 242), (2026, 244), (2027, 245)])
def test_a_year_has_as_many_sessions_as_the_exchange_says(year, count):
    sessions = CALENDAR.session_dates(day(f"{year}-01-01"), day(f"{year}-12-31"))

    assert len(list(sessions)) == count


@pytest.mark.parametrize(
    "closed", ["2026-06-03", "2026-07-17", "2027-05-03", "2027-07-19", "2026-12-31"]
)
def test_holidays_that_other_calendars_miss_are_closed(closed):
    assert CALENDAR.session_on(day(closed)) is None


def test_the_entrance_exam_moves_the_session_by_an_hour():
    session = CALENDAR.session_on(day("2026-11-19"))

    assert session.opens_at == kst("2026-11-19 10:00")
    assert session.closes_at == kst("2026-11-19 16:30")


def test_years_that_nobody_described_have_every_weekday():
    assert CALENDAR.session_on(day("2019-05-01")) is not None
    assert CALENDAR.session_on(day("2019-05-04")) is None


def test_an_empty_calendar_still_knows_weekdays():
    assert Calendar([]).session_on(day("2026-11-20")) is not None


@pytest.mark.parametrize(
    ("now", "opened"),
    [
        ("2026-11-20 08:59", "2026-11-19"),
        ("2026-11-20 09:00", "2026-11-20"),
        ("2026-11-22 12:00", "2026-11-20"),
    ],
)
def test_the_latest_session_is_the_last_that_opened(now, opened):
    assert CALENDAR.latest_opened(kst(now)) == day(opened)


@pytest.mark.parametrize(
    ("timeframe", "now", "settled"),
    [
        (D1, "2026-11-20 20:29", "2026-11-19"),
        (D1, "2026-11-20 20:30", "2026-11-20"),
        (D1, "2026-11-23 08:00", "2026-11-20"),
        (W1, "2026-11-20 20:29", "2026-11-13"),
        (W1, "2026-11-20 20:30", "2026-11-20"),
        # Friday 2026-10-09 is a holiday: the week is over on Thursday evening.
        (W1, "2026-10-08 20:30", "2026-10-08"),
    ],
)
def test_candles_settle_half_an_hour_after_the_after_market(timeframe, now, settled):
    last = kst_date(kst(now))

    assert CALENDAR.settled_through(timeframe, kst(now), last) == day(settled)


@pytest.mark.parametrize(
    ("timeframe", "start", "slot"),
    [
        (M5, "2026-11-21", "2026-11-23 09:00"),
        (M5, "2026-11-19", "2026-11-19 10:00"),
        (D1, "2026-10-03", "2026-10-06"),
        (W1, "2026-11-17", "2026-11-23"),
        # Monday 2026-10-05 is a holiday: its week opens on Tuesday.
        (W1, "2026-10-05", "2026-10-06"),
    ],
)
def test_the_first_slot_is_where_the_first_candle_can_open(timeframe, start, slot):
    assert CALENDAR.first_slot(timeframe, day(start)) == kst(slot)


@pytest.mark.parametrize(
    ("timeframe", "opened_at", "session"),
    [
        (M5, "2026-11-20 09:00", CandleSession.REGULAR),
        (M5, "2026-11-20 15:30", CandleSession.REGULAR),
        (M5, "2026-11-20 15:35", CandleSession.REGULAR),
        (M5, "2026-11-20 16:00", CandleSession.AFTER),
        (M5, "2026-11-20 19:55", CandleSession.AFTER),
        (M60, "2026-11-20 15:00", CandleSession.REGULAR),
        (M60, "2026-11-20 16:00", CandleSession.AFTER),
        (M60, "2026-11-19 16:00", CandleSession.REGULAR),
        (D1, "2026-11-20", CandleSession.REGULAR),
    ],
)
def test_a_candle_is_placed_in_its_session(timeframe, opened_at, session):
    assert CALENDAR.place(timeframe, kst(opened_at)) is session


@pytest.mark.parametrize(
    ("timeframe", "opened_at", "reason"),
    [
        (M5, "2026-11-20 09:03", "not on the 5m grid"),
        (M5, "2026-11-20 08:55", "outside the session"),
        (M5, "2026-11-20 15:40", "outside the session"),
        (M5, "2026-11-20 20:00", "outside the session"),
        (M5, "2026-09-11 16:00", "outside the session"),
        (M5, "2026-11-21 10:00", "no session"),
        (D1, "2026-06-03", "no session"),
        (D1, "2026-11-20 09:00", "open at midnight"),
    ],
)
def test_a_candle_off_the_grid_or_the_session_is_refused(timeframe, opened_at, reason):
    with pytest.raises(ValueError, match=reason):
        CALENDAR.place(timeframe, kst(opened_at))


def test_a_week_is_monday_to_sunday():
    assert week_of(day("2026-11-22")) == (day("2026-11-16"), day("2026-11-22"))


@pytest.mark.parametrize(
    ("timeframe", "on", "count"),
    [
        (M5, "2026-09-11", 78),
        (Timeframe.MINUTE_30, "2026-09-11", 14),
        (M60, "2026-09-11", 7),
        (M5, "2026-11-20", 78 + 48),
        (Timeframe.MINUTE_30, "2026-11-20", 14 + 8),
        (M60, "2026-11-20", 7 + 4),
        (M5, "2026-01-02", 66),
        (M5, "2025-11-13", 78),
        (M60, "2025-11-13", 7),
        (D1, "2026-11-20", 1),
        (W1, "2026-11-20", 0),
        (W1, "2026-11-16", 1),
        (W1, "2026-10-06", 1),
        (M5, "2026-11-21", 0),
    ],
)
def test_a_session_has_as_many_slots_as_were_observed(timeframe, on, count):
    slots = CALENDAR.slots(timeframe, day(on))

    assert len(set(slots)) == count
    for slot in slots:
        CALENDAR.place(timeframe, slot)
