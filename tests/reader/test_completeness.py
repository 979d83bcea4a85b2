"""Incomplete data are refused, and the text says rightly what is lacking."""

from __future__ import annotations

import pickle
from datetime import timedelta

import pytest
from sqlalchemy import text

from shared.candles import Timeframe
from shared.database.engine import new_engine, transaction
from shared.sessions import midnight
from shared.settings import DatabaseSettings
from tests.support.seeded_market import CALENDAR
from tradesmart import IncompleteData, iter_candles, read_arrow, read_candles
from tradesmart.judgement import _pattern, microseconds
from tradesmart.request import parse

WEEK = ("2026-11-16", "2026-11-21")


def refused(*arguments, **options):
    with pytest.raises(IncompleteData) as caught:
        read_candles(*arguments, **options)
    return caught.value


def rows(error):
    columns = ["stock_code", "first", "last", "sessions", "state", "missing"]
    table = error.gaps[columns].astype({"first": str, "last": str})
    return table.to_numpy().tolist()


def states(frame):
    return frame.attrs["coverage"]["states"]


def test_a_candle_that_was_dropped_is_missing(a_market, execute):
    assert execute(
        "DELETE FROM candles WHERE stock_code = '000200' AND timeframe = '5m'"
        " AND opened_at = '2026-11-18 10:30+09'"
    )

    error = refused("targets", "5m", *WEEK, source=a_market)

    assert rows(error) == [["000200", "2026-11-18", "2026-11-18", 1, "missing", 1]]
    assert "000200 5m 2026-11-18: missing, 1 candles" in str(error)
    assert (
        '{"timeframe":"5m","mode":"repair","stocks":["000200"],'
        '"start":"2026-11-18","end":"2026-11-19"}'
    ) in str(error)


@pytest.mark.parametrize("timeframe", ["1d", "1w"])
def test_a_day_or_a_week_that_was_dropped_is_missing(a_market, execute, timeframe):
    assert execute(
        f"DELETE FROM candles WHERE stock_code = '000660' AND timeframe = '{timeframe}'"
        " AND opened_at = '2026-11-09 00:00+09'"
    )

    error = refused("targets", timeframe, "2026-11-02", "2026-11-16", source=a_market)

    assert rows(error) == [["000660", "2026-11-09", "2026-11-09", 1, "missing", 1]]


def test_a_dropped_candle_out_of_the_range_does_not_matter(a_market, execute):
    execute("DELETE FROM candles WHERE opened_at = '2026-11-18 10:30+09'")

    morning = ("2026-11-18T09:00+09:00", "2026-11-18T10:30+09:00")
    assert len(read_candles("000200", "5m", *morning, source=a_market)) == 18
    after = read_candles("000200", "5m", *WEEK, session="after", source=a_market)
    assert states(after) == {"complete": 5}


def test_all_that_is_lacking_of_the_after_market_is_seen_if_it_is_wanted(
    a_market, execute
):
    execute("DELETE FROM candles WHERE opened_at = '2026-11-18 18:00+09'")

    read_candles("000200", "5m", *WEEK, source=a_market)

    error = refused("000200", "5m", *WEEK, session="all", source=a_market)
    assert rows(error) == [["000200", "2026-11-18", "2026-11-18", 1, "missing", 1]]


def test_a_candle_off_the_grid_does_not_make_up_for_a_dropped_one(a_market, execute):
    execute(
        "UPDATE candles SET opened_at = '2026-11-18 15:25+09' WHERE timeframe = '5m'"
        " AND opened_at = '2026-11-18 10:30+09'"
    )

    assert len(refused("targets", "5m", *WEEK, source=a_market).gaps) == 3


def test_what_was_never_asked_for_is_refused_with_the_message_that_fetches_it(market):
    error = refused("005930", "5m", "2026-08-26", "2026-09-05", source=market)

    assert rows(error) == [
        ["005930", "2026-08-26", "2026-08-31", 4, "not asked for", 0]
    ]
    assert (
        '{"timeframe":"5m","mode":"backfill","stocks":["005930"],'
        '"start":"2026-08-26","end":"2026-09-01"}'
    ) in str(error)


def test_what_was_never_asked_for_can_be_accepted(market):
    span = ("2026-08-26", "2026-09-05")

    frame = read_candles("005930", "5m", *span, source=market, require="asked")

    assert states(frame) == {"not asked for": 4, "complete": 4}


def test_accepting_what_was_not_asked_for_accepts_nothing_else(a_market, execute):
    execute("DELETE FROM candles WHERE opened_at = '2026-09-03 10:30+09'")

    error = refused(
        "005930", "5m", "2026-08-26", "2026-09-05", source=a_market, require="asked"
    )

    assert rows(error) == [["005930", "2026-09-03", "2026-09-03", 1, "missing", 1]]


def test_without_a_start_all_that_is_covered_is_wanted(market):
    frame = read_candles("005930", "5m", source=market)

    assert str(frame.index[0].date()) == "2026-09-01"
    assert "not asked for" not in states(frame)


def test_without_a_start_nothing_is_returned_that_is_not_covered(a_market, execute):
    execute("UPDATE series SET covered_from = '2026-10-07' WHERE stock_code = '000660'")

    one = read_candles("000660", "5m", source=a_market)
    of_all = read_candles("targets", "5m", source=a_market).loc["000660"]
    for frame in (one, of_all):
        assert str(frame.index.min().date()) == "2026-10-07"
    assert "not asked for" not in states(one)
    weeks = read_candles("000660", "1w", source=a_market)
    assert str(weeks.index[0].date()) == "2026-10-06"
    everything = read_candles("000660", "5m", source=a_market, require=None)
    assert str(everything.index[0].date()) == "2026-09-01"


def test_the_error_travels_between_processes(market):
    error = refused("005930", "5m", "2026-08-26", "2026-09-05", source=market)

    copy = pickle.loads(pickle.dumps(error))

    assert str(copy) == str(error)
    assert copy.gaps.equals(error.gaps)


def test_everything_is_accepted_if_that_is_said(a_market, execute):
    execute("DELETE FROM candles WHERE opened_at = '2026-11-18 10:30+09'")

    frame = read_candles("005930", "5m", *WEEK, source=a_market, require=None)

    assert states(frame) == {"complete": 4, "missing": 1}
    (gap,) = frame.attrs["coverage"]["gaps"]
    assert (gap["stock_code"], str(gap["first"])) == ("005930", "2026-11-18")


def test_a_stock_without_a_series_was_not_asked_for(a_market, execute):
    execute("INSERT INTO stocks VALUES ('000100', '유한양행', '0', 'KOSPI')")

    error = refused(["000100", "005930"], "5m", *WEEK, source=a_market)

    assert rows(error) == [
        ["000100", "2026-11-16", "2026-11-20", 5, "not asked for", 0]
    ]


def test_thin_sessions_are_complete(a_market, execute):
    where = "timeframe = '5m' AND opened_at = '2026-11-18 10:30+09'"
    execute(
        "INSERT INTO absent_slots SELECT stock_code, timeframe, opened_at, 'run'"
        f" FROM candles WHERE {where}"
    )
    execute(f"DELETE FROM candles WHERE {where}")

    frame = read_candles("targets", "5m", *WEEK, source=a_market)

    assert states(frame) == {"complete": 12, "thin": 3}


def test_minutes_of_a_day_without_trades_are_complete(a_market, execute):
    execute(
        "UPDATE candles SET volume = 0 WHERE stock_code = '000660'"
        " AND timeframe = '1d' AND opened_at = '2026-11-18 00:00+09'"
    )
    execute(
        "DELETE FROM candles WHERE stock_code = '000660' AND timeframe = '5m'"
        " AND opened_at >= '2026-11-18 00:00+09' AND opened_at < '2026-11-19 00:00+09'"
    )

    frame = read_candles("targets", "5m", *WEEK, source=a_market)

    assert states(frame) == {"complete": 14, "no trades": 1}


def test_a_session_that_is_not_final_is_refused_if_an_end_is_given(a_market, execute):
    execute("UPDATE series SET settled_through = '2026-11-19' WHERE timeframe = '5m'")

    error = refused("005930", "5m", *WEEK, source=a_market)

    assert rows(error)[0][:5] == [
        "005930",
        "2026-11-20",
        "2026-11-20",
        1,
        "provisional",
    ]
    assert "settled=False" in str(error)
    read_candles("005930", "5m", *WEEK, source=a_market, settled=False)
    read_candles("005930", "5m", "2026-11-16", source=a_market)


@pytest.mark.parametrize("settled", [True, False])
def test_a_series_that_no_one_asked_for_since_is_late(a_market, at, settled):
    at("2026-11-24 08:00")

    error = refused("005930", "5m", "2026-11-16", source=a_market, settled=settled)

    assert rows(error) == [["005930", "2026-11-23", "2026-11-23", 1, "late", 0]]
    assert '{"timeframe":"5m","stocks":["005930"]}' in str(error)


def test_what_cannot_be_settled_yet_is_not_wanted_without_an_end(a_market, at):
    at("2026-11-23 11:00")

    assert len(read_candles("005930", "5m", "2026-11-16", source=a_market))
    error = refused("005930", "5m", "2026-11-16", source=a_market, settled=False)
    assert rows(error) == [["005930", "2026-11-23", "2026-11-23", 1, "late", 0]]


def test_nothing_is_lacking_before_a_stock_was_listed(a_market, execute):
    execute("UPDATE stocks SET listed_on = '2026-11-18' WHERE stock_code = '005930'")
    execute(
        "DELETE FROM candles WHERE stock_code = '005930' AND timeframe = '5m'"
        " AND opened_at < '2026-11-18 00:00+09'"
    )

    frame = read_candles("005930", "5m", *WEEK, source=a_market)

    assert states(frame) == {"not asked for": 2, "complete": 3}


def test_nothing_is_lacking_of_a_stock_that_has_left_with_all_its_history(
    a_market, execute
):
    execute("DELETE FROM candles WHERE stock_code = '000660'")
    execute(
        "UPDATE series SET ended = true, covered_from = NULL, settled_through = NULL"
        " WHERE stock_code = '000660'"
    )
    execute("UPDATE stocks SET listed = false WHERE stock_code = '000660'")

    frame = read_candles("targets", "5m", *WEEK, source=a_market)

    assert states(frame) == {"not asked for": 5, "complete": 10}


def test_nothing_is_lacking_before_the_brokers_history(a_market, execute):
    execute("UPDATE series SET history_exhausted = true WHERE timeframe = '5m'")

    frame = read_candles("005930", "5m", "2026-08-26", "2026-09-05", source=a_market)

    assert states(frame) == {"not asked for": 4, "complete": 4}


def test_stocks_that_lack_the_same_are_told_as_one(a_market, execute):
    execute("DELETE FROM candles WHERE opened_at = '2026-11-18 10:30+09'")

    error = refused("targets", "5m", *WEEK, source=a_market)

    assert len(error.gaps) == 3
    assert "000200, 000660, 005930 5m 2026-11-18: missing, 3 candles" in str(error)


def test_arrow_and_iterated_frames_are_refused_too(a_market, execute):
    execute("DELETE FROM candles WHERE opened_at = '2026-11-18 10:30+09'")

    with pytest.raises(IncompleteData):
        read_arrow("005930", "5m", *WEEK, source=a_market)
    with pytest.raises(IncompleteData, match="3 candles"):
        next(iter_candles("targets", "5m", *WEEK, source=a_market))


def test_half_a_rebuild_is_never_read(a_market, monkeypatch):
    from tradesmart.postgres import Database  # noqa: PLC0415

    engine = new_engine(DatabaseSettings(url=a_market))
    known = Database.known

    def rebuilt_meanwhile(*arguments):
        found = known(*arguments)
        with transaction(engine) as connection:
            connection.execute(text("DELETE FROM candles WHERE stock_code = '005930'"))
        return found

    monkeypatch.setattr(Database, "known", rebuilt_meanwhile)
    frame = read_candles("005930", "5m", *WEEK, source=a_market)
    engine.dispose()

    assert states(frame) == {"complete": 5}


@pytest.mark.parametrize("timeframe", list(Timeframe))
def test_slots_are_those_of_the_calendar_on_every_day(timeframe):
    known = {}

    class Judge:
        calendar = CALENDAR

    request = parse(
        *("005930", timeframe, None, None),
        session="all",
        settled=True,
        require=None,
        tz="UTC",
        columns=None,
        wide=None,
    )
    for day in CALENDAR.session_dates(CALENDAR.first, CALENDAR.last - timedelta(31)):
        slots = _pattern(Judge, day, request, known) + microseconds(midnight(day))

        assert slots.tolist() == list(map(microseconds, CALENDAR.slots(timeframe, day)))
