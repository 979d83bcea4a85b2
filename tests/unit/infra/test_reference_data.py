from __future__ import annotations

import ast
import json
from datetime import date
from pathlib import Path
from time import process_time

import pytest

from functions.reference_sync.reference_data import (
    CALENDAR,
    bundled_calendar,
    target_stocks,
)
from infra.load_stocks import read
from shared.sessions import DAY

ROOT = Path(__file__).parents[3]
TABLE = bundled_calendar()


# The package has not caught up with pandas.
pytestmark = pytest.mark.filterwarnings("ignore:Series.values")
SATURDAY = 5
# What the exchange announced, from its own list of closed days.
CLOSED = {
    2025: "01-01 01-27 01-28 01-29 01-30 03-03 05-01 05-05 05-06 06-03 06-06 08-15 "
    "10-03 10-06 10-07 10-08 10-09 12-25 12-31",
    2026: "01-01 02-16 02-17 02-18 03-02 05-01 05-05 05-25 06-03 07-17 08-17 09-24 "
    "09-25 10-05 10-09 12-25 12-31",
    2027: "01-01 02-08 02-09 03-01 05-03 05-05 05-13 07-19 08-16 09-14 09-15 09-16 "
    "10-04 10-11 12-27 12-31",
}
# Sessions of the years as they are known from the exchange's indices.
SESSIONS = dict(
    enumerate(
        [
            *(249, 241, 246, 244, 247, 249, 249, 247, 246, 248),
            *(253, 251, 248, 248, 247, 245, 248, 246, 243, 244),
            *(246, 248, 248, 246, 245, 244, 242, 244, 245),
        ],
        1999,
    )
)
EXAMINATIONS = [
    *("2010-11-18", "2011-11-10", "2012-11-08", "2013-11-07", "2014-11-13"),
    *("2015-11-12", "2016-11-17", "2017-11-23", "2018-11-15", "2019-11-14"),
    *("2020-12-03", "2021-11-18", "2022-11-17", "2023-11-16", "2024-11-14"),
    *("2025-11-13", "2026-11-19", "2027-11-18"),
]


@pytest.fixture(scope="module")
def make_calendar():
    pytest.importorskip("exchange_calendars")
    from infra import make_calendar  # noqa: PLC0415 - development only

    return make_calendar


def days_of(year):
    first = date(year, 1, 1)
    days = (first + DAY * n for n in range(366))
    return [day for day in days if day.year == year]


def hours_on(on):
    session = TABLE.session_on(on)
    return f"{session.opens_at:%H:%M}-{session.closes_at:%H:%M}"


def test_the_calendar_is_the_one_that_is_generated(make_calendar):
    table = json.loads(CALENDAR.read_text(encoding="utf-8"))

    assert table == make_calendar.generate(
        int(table["first"][:4]), int(table["last"][:4])
    )


def test_generating_again_drops_no_year(make_calendar, tmp_path):
    path = tmp_path / "calendar.json"
    table = json.loads(CALENDAR.read_text(encoding="utf-8"))
    path.write_text(json.dumps(table | {"last": "2029-12-31"}), encoding="utf-8")

    make_calendar.main(path)

    again = bundled_calendar(path)
    assert (again.first, again.last) == (date(1986, 1, 1), date(2029, 12, 31))
    assert sum(day <= TABLE.last for day in again.sessions) == len(TABLE.sessions)


def test_the_sessions_are_those_of_the_package_but_for_what_it_lacks(make_calendar):
    import exchange_calendars  # noqa: PLC0415 - development only

    package = exchange_calendars.get_calendar(
        "XKRX", start="1986-01-01", end="2027-12-31"
    )
    theirs = {stamp.date() for stamp in package.sessions}
    ours = set(TABLE.sessions)

    assert theirs - ours == {day for day in make_calendar.CLOSED if day.year > 2000}
    assert {day.weekday() for day in ours - theirs} == {SATURDAY}


def test_the_span_is_data_of_its_own():
    assert (TABLE.first, TABLE.last) == (date(1986, 1, 1), date(2027, 12, 31))


@pytest.mark.parametrize("year", CLOSED)
def test_weekdays_are_closed_where_the_exchange_says_so_and_nowhere_else(year):
    closed = [
        f"{day:%m-%d}"
        for day in days_of(year)
        if day.weekday() < SATURDAY and not TABLE.has_session(day)
    ]

    assert closed == CLOSED[year].split()


def test_each_year_has_as_many_sessions_as_the_exchange_had():
    found = {year: sum(map(TABLE.has_session, days_of(year))) for year in SESSIONS}

    assert found == SESSIONS


@pytest.mark.parametrize("year", range(1986, 1999))
def test_saturdays_were_traded_until_december_1998(year):
    days = days_of(year)
    saturdays = [day for day in days if day.weekday() == SATURDAY]
    traded = [day for day in saturdays if TABLE.has_session(day)]

    assert len(traded) >= 45
    assert 287 < sum(map(TABLE.has_session, days)) < 298


def test_the_last_saturday_is_1998_12_05():
    saturdays = [day for day in TABLE.sessions if day.weekday() == SATURDAY]

    assert max(saturdays) == date(1998, 12, 5)
    assert not any(day.weekday() > SATURDAY for day in TABLE.sessions)
    # Holidays and the ends of years were no sessions.
    for closed in ("1990-05-05", "1990-12-29", "1991-12-28", "1997-03-01"):
        assert not TABLE.has_session(date.fromisoformat(closed))
    # The first session of 1998 was a Saturday.
    assert TABLE.latest(date(1998, 1, 4)) == date(1998, 1, 3)


@pytest.mark.parametrize("on", EXAMINATIONS)
def test_on_the_day_of_the_examination_everything_is_an_hour_later(on):
    closes = "16:00" if on < "2016-08" else "16:30"

    assert hours_on(date.fromisoformat(on)) == f"10:00-{closes}"


@pytest.mark.parametrize("year", range(2000, 2028))
def test_the_first_session_of_a_year_opens_at_ten(year):
    first = min(filter(TABLE.has_session, days_of(year)))
    closes = "15:00" if year <= 2016 else "15:30"

    assert hours_on(first) == f"10:00-{closes}"


def test_no_other_session_of_our_century_has_unusual_hours():
    unusual = {
        day
        for day in TABLE.sessions
        if day.year > 2000
        and hours_on(day)
        != ("09:00-15:00" if day < date(2016, 8, 1) else "09:00-15:30")
    }
    firsts = {min(filter(TABLE.has_session, days_of(y))) for y in range(2001, 2028)}
    others = unusual - firsts - set(map(date.fromisoformat, EXAMINATIONS))

    # The day after the attacks of September 2001, and examinations before 2010.
    assert sorted(map(str, others)) == [
        *("2001-09-12", "2001-11-07", "2002-11-06", "2003-11-05", "2004-11-17"),
        *("2005-11-23", "2006-11-16", "2007-11-15", "2008-11-13", "2009-11-12"),
        "2017-11-16",
    ]


@pytest.mark.parametrize(
    ("on", "hours"),
    [
        ("1986-02-03", "10:00-15:30"),
        ("1990-06-07", "09:40-15:20"),
        # Clocks were an hour ahead of KST.
        ("1988-07-01", "08:40-14:20"),
        ("1990-06-09", "09:40-11:40"),
        ("1997-11-22", "09:30-11:30"),
        ("1998-12-04", "09:30-15:00"),
        ("1998-12-07", "09:00-15:00"),
        ("2001-09-12", "12:00-15:00"),
        ("2016-07-29", "09:00-15:00"),
        ("2016-08-01", "09:00-15:30"),
    ],
)
def test_sessions_have_the_hours_of_their_time(on, hours):
    assert hours_on(date.fromisoformat(on)) == hours


def test_the_calendar_is_loaded_in_no_time():
    began = process_time()
    bundled_calendar()

    # 3 ms of our own; generous, as a busy machine is slow in that too.
    assert process_time() - began < 0.3


def test_the_targets_are_thirty():
    targets = target_stocks()

    assert len({stock.stock_code for stock in targets}) == 30
    assert [s.stock_code for s in targets if not s.listed] == ["091990"]
    assert [s.market_code for s in targets].count("0") == 20


def imported(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def test_no_function_imports_what_only_development_needs():
    heavy = {
        "pandas",
        "exchange_calendars",
        "numpy",
        "infra",
        "alembic",
        "yaml",
        "rich",
    }

    for folder in ("functions", "shared"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not heavy & set(imported(path)), path


def test_a_master_is_read_from_files(tmp_path):
    entry = {"name": "동화약품", "marketCode": "0", "regDay": "19760324"}
    master = {"000020": entry, "069500": entry | {"marketCode": "8"}, "20": entry}
    (tmp_path / "kospi_code.json").write_text(json.dumps(master), encoding="utf-8")

    (stock,) = read(tmp_path)

    assert (stock.stock_code, stock.stock_name, stock.market_name) == (
        "000020",
        "동화약품",
        "거래소",
    )


def test_a_folder_without_a_master_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="kospi_code.json"):
        read(tmp_path)
