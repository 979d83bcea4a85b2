from __future__ import annotations

from datetime import date, time, timedelta

import pytest

from shared.candles import CandleSession, Timeframe
from shared.errors import CalendarUnknown
from shared.sessions import USUAL_HOURS, Calendar, kst_date, week_of
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


# Five days of November 2026, of which Thursday is closed.
SHORT = Calendar(
    {date(2026, 11, at): USUAL_HOURS for at in (16, 17, 18, 20)},
    day("2026-11-16"),
    day("2026-11-20"),
)


def unknown(said):
    return pytest.raises(CalendarUnknown, match=f"^{said} is outside the trading cal")


@pytest.mark.parametrize("said", ["1985-12-31", "2028-01-03", "9999-12-31"])
def test_outside_of_the_span_no_day_is_guessed(said):
    at = day(said)

    for ask in (
        CALENDAR.has_session,
        CALENDAR.session_on,
        CALENDAR.latest,
        CALENDAR.next_session,
        lambda day: list(CALENDAR.session_dates(day, day)),
        lambda day: CALENDAR.first_slot(D1, day),
        lambda day: CALENDAR.slots(M5, day),
        lambda _: CALENDAR.latest_opened(kst(said)),
    ):
        with unknown(said):
            ask(at)
    assert not CALENDAR.knows(at)
    with pytest.raises(ValueError, match="is outside the trading calendar"):
        CALENDAR.place(D1, kst(said))


def test_an_unknown_day_says_the_span_and_the_remedy():
    with pytest.raises(CalendarUnknown) as caught:
        CALENDAR.session_on(day("2028-01-03"))

    assert caught.value.error_code == "calendar_unknown"
    assert "(1986-01-01 to 2027-12-31)" in str(caught.value)
    assert "`make calendar`" in str(caught.value)
    assert '{"open":"2028-01-03"}' in str(caught.value)


def test_a_range_is_known_where_every_day_is():
    assert len(list(CALENDAR.session_dates(day("2027-12-01"), day("2027-12-31")))) == 21
    with unknown("2028-01-01"):
        list(CALENDAR.session_dates(day("2027-12-01"), day("2028-01-01")))


def test_one_day_beyond_the_span_opens_no_other():
    alone = date(2028, 1, 5)
    calendar = Calendar(
        CALENDAR.sessions | {alone: USUAL_HOURS, date(2028, 1, 7): None},
        CALENDAR.first,
        CALENDAR.last,
    )

    assert calendar.session_on(alone) is not None
    assert calendar.session_on(date(2028, 1, 7)) is None
    assert calendar.latest(alone) == alone
    assert calendar.next_session(day("2027-12-30")) == alone
    assert len(calendar.slots(M60, alone)) == 11
    for said in ("2028-01-04", "2028-01-06"):
        with unknown(said):
            calendar.session_on(day(said))
    with unknown("2028-01-06"):
        calendar.latest(date(2028, 1, 7))


def test_a_search_may_reach_the_beginning_of_the_span():
    assert SHORT.latest(day("2026-11-16")) == day("2026-11-16")
    assert CALENDAR.latest(day("1986-01-03")) is None
    assert CALENDAR.latest_opened(kst("1986-01-01 12:00")) is None
    assert CALENDAR.settled_through(D1, kst("1986-01-04 20:00"), date.max) is None
    assert CALENDAR.slots(W1, day("1986-01-04")) == [kst("1986-01-04")]
    settled = SHORT.settled_through(W1, kst("2026-11-18 12:00"), day("2026-11-18"))
    assert settled is None


def test_a_search_may_reach_the_end_of_the_span():
    assert CALENDAR.first_slot(D1, day("2027-12-31")) == kst("2028-01-01")
    assert CALENDAR.next_session(day("2027-12-30")) is None
    assert CALENDAR.latest(day("2027-12-31")) == day("2027-12-30")


def test_a_week_that_may_go_on_beyond_the_span_is_not_settled():
    friday = day("2026-11-20")

    assert SHORT.settled_through(D1, kst("2026-11-21"), friday) == friday
    assert SHORT.settled_through(W1, kst("2026-11-21"), friday) is None


def test_the_next_session_is_the_first_after_a_day():
    assert CALENDAR.next_session(day("2026-11-20")) == day("2026-11-23")
    assert CALENDAR.next_session(day("2026-11-21")) == day("2026-11-23")
    assert CALENDAR.next_session(day("2026-02-13")) == day("2026-02-19")


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
        (D1, "2026-11-20 08:00", "2026-11-19"),
        (D1, "2026-11-20 23:59", "2026-11-19"),
        (D1, "2026-11-21 00:00", "2026-11-20"),
        (D1, "2026-11-23 23:59", "2026-11-20"),
        (M5, "2026-11-21 00:00", "2026-11-20"),
        (W1, "2026-11-20 23:59", "2026-11-13"),
        (W1, "2026-11-21 00:00", "2026-11-20"),
        # Friday 2026-10-09 is a holiday: Thursday is the last session of its week.
        (W1, "2026-10-08 23:59", "2026-10-02"),
        (W1, "2026-10-09 00:00", "2026-10-08"),
        # Saturdays were traded until 1998-12-05.
        (W1, "1998-12-05 23:59", "1998-11-28"),
        (W1, "1998-12-06 00:00", "1998-12-05"),
    ],
)
def test_a_session_settles_when_it_is_read_on_a_later_day(timeframe, now, settled):
    last = kst_date(kst(now))

    assert CALENDAR.settled_through(timeframe, kst(now), last) == day(settled)


def test_nothing_settles_beyond_the_last_day_that_was_read():
    settled = CALENDAR.settled_through(D1, kst("2026-11-21"), day("2026-11-18"))

    assert settled == day("2026-11-18")


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
        (D1, "1985-12-30", "outside the trading calendar"),
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


@pytest.mark.parametrize(
    ("timeframe", "on", "first", "last", "count"),
    [
        # The market closed at 15:00 until July 2016.
        (M5, "2016-07-29", "09:00", "15:05", 72),
        (Timeframe.MINUTE_30, "2016-07-29", "09:00", "15:00", 13),
        (M60, "2016-07-29", "09:00", "15:00", 7),
        (M5, "2016-08-01", "09:00", "15:35", 78),
        (M5, "2010-11-18", "10:00", "16:05", 72),
        (M5, "2016-01-04", "10:00", "15:05", 60),
        # Candles follow the clock where a session does not open on the hour.
        (M5, "1997-11-20", "09:30", "15:05", 66),
        (M60, "1997-11-20", "09:00", "15:00", 7),
        # Saturdays: the morning only.
        (M5, "1997-11-22", "09:30", "11:35", 24),
        (M60, "1997-11-22", "09:00", "11:00", 3),
    ],
)
def test_the_grid_follows_the_hours_of_the_session(timeframe, on, first, last, count):
    slots = CALENDAR.slots(timeframe, day(on))

    assert (slots[0], slots[-1]) == (kst(f"{on} {first}"), kst(f"{on} {last}"))
    assert len(set(slots)) == count
    for slot in slots:
        assert CALENDAR.place(timeframe, slot) is CandleSession.REGULAR
    assert CALENDAR.first_slot(timeframe, day(on)) == slots[0]


@pytest.mark.parametrize("minutes", range(0, 24 * 60, 55))
def test_every_slot_of_any_hours_has_a_place(minutes):
    opens = (kst("2026-11-20") + timedelta(minutes=minutes)).time()
    on = day("2026-11-20")
    calendar = Calendar({on: (opens, time(23, 55))}, on, on)

    for timeframe in (M5, Timeframe.MINUTE_30, M60):
        slots = calendar.slots(timeframe, on)
        assert slots == sorted(set(slots))
        for slot in slots:
            if kst_date(slot) == on:
                calendar.place(timeframe, slot)
