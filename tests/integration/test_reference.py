"""The calendar and the master on a real database."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, time
from threading import Thread

import pytest
from sqlalchemy import event, text

from functions.reference_sync.reference_data import bundled_calendar, target_stocks
from shared.candles import Timeframe
from shared.database.engine import transaction
from shared.database.session_store import SessionStore, lock_version
from shared.database.stock_store import StockStore
from shared.errors import CalendarMissing, CalendarUnknown
from shared.sessions import KST, USUAL_HOURS, Calendar, SessionOverride
from shared.stocks import MasterChanges, Stock
from tests.support.builders import day, kst
from tests.support.harness import PipelineHarness

TABLE = bundled_calendar()
YEARS = "SELECT extract(year FROM session_date)::int, count(*) FROM market_sessions GROUP BY 1"
STATE = "SELECT first_day, last_day, version FROM calendar_state"
LATE = (time(10), time(15, 30))


@pytest.fixture
def sessions(engine):
    store = SessionStore(engine)
    store.write(TABLE)
    return store


class Stored:
    """A database with candles in every slot of 005930, settled through 2026-11-20."""

    def __init__(self, engine):
        self.engine = engine

    def query(self, statement, **values):
        with self.engine.begin() as connection:
            result = connection.execute(text(statement), values)
            return [tuple(row) for row in result] if result.returns_rows else []

    def collect(self, *timeframes, start):
        for timeframe in map(Timeframe, timeframes):
            slots = [
                slot
                for on in TABLE.session_dates(day(start), day("2026-11-20"))
                for slot in TABLE.slots(timeframe, on)
            ]
            self.query(
                "INSERT INTO candles SELECT '005930', :t, at, p, p + 9, p - 9, p + 1, 5,"
                " NULL, session, false FROM unnest(cast(:slots AS timestamptz[]),"
                " cast(:prices AS integer[]), cast(:sessions AS text[]))"
                " AS t (at, p, session)",
                t=timeframe.value,
                slots=slots,
                prices=[70_000 + 10 * at for at in range(len(slots))],
                sessions=[TABLE.place(timeframe, slot).value for slot in slots],
            )
            self.query(
                "INSERT INTO series (stock_code, timeframe, covered_from,"
                " settled_through, oldest, asked_at) VALUES ('005930', :t, :start,"
                " '2026-11-20', :start, '2026-11-21 07:30+09') ON CONFLICT (stock_code, timeframe) DO UPDATE"
                " SET covered_from = :start, settled_through = '2026-11-20'",
                t=timeframe.value,
                start=day(start),
            )

    def candles(self, timeframe):
        rows = self.query(
            "SELECT opened_at, open, high, low, close, volume, turnover, session,"
            " rescaled FROM candles WHERE timeframe = :t",
            t=timeframe,
        )
        return {row[0].astimezone(KST): row[1:] for row in rows}


@pytest.fixture
def stored(engine):
    return Stored(engine)


def close(sessions, said):
    return sessions.write(TABLE, override=SessionOverride(day(said), None))


def open_(sessions, said, hours=USUAL_HOURS):
    return sessions.write(TABLE, override=SessionOverride(day(said), hours))


def forget(sessions, said):
    return sessions.write(TABLE, forget=day(said))


def version(stored):
    return stored.query(STATE)[0][2]


def test_the_years_have_as_many_sessions_as_the_exchange_had(sessions, stored):
    years = dict(stored.query(YEARS))

    assert (years[1997], years[2016], years[2025]) == (292, 246, 242)
    assert (years[2026], years[2027]) == (244, 245)
    assert stored.query(STATE) == [(TABLE.first, TABLE.last, 1)]


def test_the_stored_calendar_is_the_table(sessions):
    stored = sessions.calendar()

    assert stored.sessions == TABLE.sessions
    assert (stored.first, stored.last, stored.version) == (TABLE.first, TABLE.last, 1)
    for at in ("1988-07-01", "1998-12-05", "2026-11-19"):
        assert stored.session_on(day(at)) == TABLE.session_on(day(at))


def test_before_the_first_sync_a_message_waits(engine):
    with pytest.raises(CalendarMissing, match="make reference"):
        SessionStore(engine).calendar()


def test_the_same_calendar_again_changes_nothing(sessions, stored):
    assert sessions.write(TABLE) == 0
    assert version(stored) == 1


def statements(engine):
    said = []
    event.listen(
        engine, "before_cursor_execute", lambda *arguments: said.append(arguments[2])
    )
    return said


def test_ten_thousand_sessions_are_written_and_read_by_few_statements(engine):
    store = SessionStore(engine)
    said = statements(engine)

    store.write(TABLE)
    written = len(said)
    store.calendar()

    assert written < 20
    assert len(said) == written + 1


def test_the_calendar_is_read_again_only_when_it_changed(engine, sessions):
    first = sessions.calendar()
    said = statements(engine)

    assert sessions.calendar() is first
    assert said == ["SELECT version FROM calendar_state"]

    # Another instance writes.
    close(SessionStore(engine), "2026-12-24")
    assert sessions.calendar().session_on(day("2026-12-24")) is None
    assert sessions.calendar().version == first.version + 1


def test_an_operator_wins_and_survives_the_next_sync(sessions, stored):
    assert close(sessions, "2026-12-24") == 1
    assert open_(sessions, "2026-12-31") == 1
    assert sessions.write(TABLE) == 0

    assert sessions.calendar().session_on(day("2026-12-24")) is None
    assert sessions.calendar().session_on(day("2026-12-31")) is not None
    assert stored.query(
        "SELECT session_date FROM market_sessions WHERE source = 'operator'"
    ) == [(day("2026-12-31"),)]
    assert stored.query(
        "SELECT session_date, opens_at IS NULL FROM session_overrides ORDER BY 1"
    ) == [(day("2026-12-24"), True), (day("2026-12-31"), False)]


def test_an_operator_may_change_his_mind(sessions):
    close(sessions, "2026-12-24")
    open_(sessions, "2026-12-24", LATE)

    assert sessions.calendar().session_on(day("2026-12-24")).opens_at == kst(
        "2026-12-24 10:00"
    )


@pytest.mark.parametrize("said", ["2026-11-19", "2026-12-24", "2026-12-25"])
def test_what_is_withdrawn_leaves_the_day_as_the_table_has_it(sessions, stored, said):
    for override in (close, open_):
        override(sessions, said)
        forget(sessions, said)

        assert sessions.calendar().sessions == TABLE.sessions
        assert stored.query("SELECT count(*) FROM session_overrides") == [(0,)]
        assert stored.query("SELECT DISTINCT source FROM market_sessions") == [
            ("repository",)
        ]


def test_every_change_grows_the_version_and_nothing_else_does(sessions, stored):
    found = [version(stored)]
    for change in (
        lambda: close(sessions, "2026-12-24"),
        lambda: close(sessions, "2026-12-24"),
        lambda: open_(sessions, "2026-12-24"),
        lambda: forget(sessions, "2026-12-24"),
        lambda: forget(sessions, "2026-12-24"),
        # Closed already: the same hours, but now known beyond the table's word.
        lambda: close(sessions, "2028-01-03"),
    ):
        change()
        found.append(version(stored))

    assert found == [1, 2, 2, 3, 4, 4, 5]


def test_one_day_beyond_the_table_opens_just_that_day(sessions, stored):
    open_(sessions, "2028-01-05")
    close(sessions, "2028-01-07")
    # A second instance reads what the first one wrote.
    calendar = SessionStore(stored.engine).calendar()

    assert (calendar.first, calendar.last) == (TABLE.first, TABLE.last)
    assert calendar.session_on(day("2028-01-05")) is not None
    assert calendar.session_on(day("2028-01-07")) is None
    for said in ("2028-01-03", "2028-01-04", "2028-01-06"):
        with pytest.raises(CalendarUnknown):
            calendar.session_on(day(said))
    assert sessions.write(TABLE) == 0

    forget(sessions, "2028-01-05")
    forget(sessions, "2028-01-07")
    calendar = sessions.calendar()
    assert calendar.sessions == TABLE.sessions
    with pytest.raises(CalendarUnknown):
        calendar.session_on(day("2028-01-05"))


def test_one_day_of_the_past_closes_no_other(sessions):
    before = sessions.calendar().sessions

    open_(sessions, "2010-11-18", (time(10), time(16, 30)))

    after = sessions.calendar().sessions
    differ = {at for at in before.keys() | after if before.get(at) != after.get(at)}
    assert differ == {day("2010-11-18")}


def test_days_that_an_earlier_release_let_in_break_nothing(sessions, stored):
    stored.query(
        "INSERT INTO session_overrides VALUES ('0001-01-01', '0001-01-01 00:00+00',"
        " '0001-01-01 06:30+00'), ('9999-12-31', NULL, NULL)"
    )

    sessions.write(TABLE)

    assert sessions.calendar().knows(date(9999, 12, 31))
    forget(sessions, "0001-01-01")
    forget(sessions, "9999-12-31")
    assert sessions.calendar().sessions == TABLE.sessions


def test_an_older_release_takes_no_year_away(sessions, stored):
    longer = Calendar(
        TABLE.sessions | {day("2028-01-03"): USUAL_HOURS},
        TABLE.first,
        day("2028-12-31"),
    )
    sessions.write(longer)

    assert sessions.write(TABLE) == 0
    assert sessions.calendar().last == day("2028-12-31")
    assert sessions.calendar().session_on(day("2028-01-03")) is not None


def test_a_longer_table_judges_no_day_that_was_not_known(engine, stored):
    store = SessionStore(engine)
    known = {at: hours for at, hours in TABLE.sessions.items() if at.year > 2024}
    store.write(Calendar(known, day("2025-01-01"), TABLE.last))
    stored.collect("1d", start="2026-11-16")
    before = stored.query("SELECT settled_through, version FROM series")
    stored.query(
        "INSERT INTO absent_slots SELECT '005930', '1d', at, 'r' FROM unnest(array["
        "'2018-12-25 00:00+09', '2018-12-26 00:00+09']::timestamptz[]) AS t (at)"
    )

    assert store.write(TABLE) == len(TABLE.sessions) - len(known)

    assert stored.query("SELECT settled_through, version FROM series") == before
    # Christmas was never a session: it has no slot that could be absent.
    assert stored.query("SELECT opened_at FROM absent_slots") == [(kst("2018-12-26"),)]


def test_the_version_cannot_grow_while_candles_are_stored(engine, sessions, stored):
    with transaction(engine) as storing:
        assert lock_version(storing) == 1
        writer = Thread(target=close, args=(sessions, "2026-12-24"))
        writer.start()
        writer.join(timeout=0.3)
        assert writer.is_alive()
    writer.join()
    assert version(stored) == 2


def test_a_day_that_is_closed_afterwards_is_judged_anew(sessions, stored):
    for timeframe in ("5m", "1d"):
        stored.collect(timeframe, start="2026-11-16")
    count = "SELECT count(*) FROM candles WHERE opened_at >= '2026-11-19 15:00+00'"
    assert stored.query(count) == [(126 + 1,)]

    close(sessions, "2026-11-20")

    assert stored.query(count) == [(0,)]
    assert stored.query(
        "SELECT reason, count(*), min(opened_at), max(opened_at) FROM quarantine"
        " WHERE timeframe = '5m' GROUP BY 1"
    ) == [
        (
            "the calendar was changed: closed",
            126,
            kst("2026-11-20 09:00"),
            kst("2026-11-20 19:55"),
        )
    ]
    assert stored.query("SELECT count(*) FROM quarantine") == [(127,)]
    assert stored.query("SELECT DISTINCT settled_through FROM series") == [
        (day("2026-11-19"),)
    ]


def test_a_day_that_opens_later_loses_the_candles_before(sessions, stored):
    for timeframe in ("5m", "30m", "60m"):
        stored.collect(timeframe, start="2026-11-16")

    open_(sessions, "2026-11-20", (time(10, 30), time(15, 30)))

    assert stored.query(
        "SELECT timeframe, count(*) FROM quarantine GROUP BY 1 ORDER BY 1"
    ) == [("30m", 3), ("5m", 18), ("60m", 1)]
    calendar = sessions.calendar()
    for timeframe in ("5m", "30m", "60m"):
        for opened_at in stored.candles(timeframe):
            calendar.place(Timeframe(timeframe), opened_at)


def test_a_day_that_is_opened_afterwards_is_read_by_the_next_tick(sessions, stored):
    close(sessions, "2026-11-18")
    stored.collect("1d", start="2026-11-16")
    assert stored.query("SELECT settled_through FROM series") == [(day("2026-11-20"),)]

    forget(sessions, "2026-11-18")

    assert stored.query("SELECT settled_through FROM series") == [(day("2026-11-17"),)]
    # Also on a day without a session, a tick finds something to ask for.
    assert stored.query("SELECT asked_at FROM series") == [(kst("2026-11-18"),)]


def test_who_asked_before_a_day_had_its_slots_has_proved_nothing_of_it(
    sessions, stored
):
    stored.collect("5m", start="2026-11-16")
    ((asked_at,),) = stored.query("SELECT asked_at FROM series")

    close(sessions, "2026-11-20")
    assert stored.query("SELECT asked_at FROM series") == [(asked_at,)]

    forget(sessions, "2026-11-20")
    assert stored.query("SELECT asked_at FROM series") == [(kst("2026-11-20"),)]

    # Of a day that is not covered, nothing was proved.
    close(sessions, "2025-11-20")
    forget(sessions, "2025-11-20")
    assert stored.query("SELECT asked_at FROM series") == [(kst("2026-11-20"),)]


@pytest.mark.parametrize(
    "changed", ["2026-10-05", "2026-10-07", "2026-10-09", "2026-10-10"]
)
def test_the_week_of_a_day_that_changed_is_read_again(sessions, stored, changed):
    """Friday 2026-10-09 is a holiday: the week settles on Thursday without it."""
    stored.query(
        "INSERT INTO series (stock_code, timeframe, covered_from, settled_through)"
        " VALUES ('005930', '1w', '2020-01-06', '2026-10-08'),"
        " ('000660', '1w', '2026-10-06', '2026-10-08'),"
        " ('000020', '1w', '2020-01-06', '2026-10-02')"
    )

    (open_ if not TABLE.has_session(day(changed)) else close)(sessions, changed)

    found = dict(stored.query("SELECT stock_code, settled_through FROM series"))
    assert found["005930"] == day("2026-10-04")
    assert found["000660"] is None
    assert found["000020"] == day("2026-10-02")


def test_what_was_absent_on_a_day_that_changed_is_requested_again(sessions, stored):
    stored.collect("1d", start="2026-11-16")
    stored.query(
        "INSERT INTO absent_slots SELECT '005930', '5m', at, 'r' FROM unnest(array["
        "'2026-11-18 09:00+09', '2026-11-19 10:00+09']::timestamptz[]) AS t (at)"
    )

    open_(sessions, "2026-11-18", LATE)

    assert stored.query("SELECT opened_at FROM absent_slots") == [
        (kst("2026-11-19 10:00"),)
    ]


def official_close(stored, said="2026-11-20"):
    ((price,),) = stored.query(
        "SELECT official_close FROM daily_candles WHERE session_date = :d", d=said
    )
    return price


def drop(stored, first, last="23:59", timeframe="5m", said="2026-11-20"):
    stored.query(
        "DELETE FROM candles WHERE timeframe = :t AND opened_at BETWEEN :a AND :b",
        t=timeframe,
        a=kst(f"{said} {first}"),
        b=kst(f"{said} {last}"),
    )


def test_the_official_close_is_the_price_of_the_closing_auction(sessions, stored):
    stored.collect("1d", "5m", start="2026-11-16")
    auction = stored.candles("5m")[kst("2026-11-20 15:30")]

    assert official_close(stored) == auction[3]
    assert official_close(stored) != stored.candles("1d")[kst("2026-11-20")][3]


def test_without_a_trade_in_the_auction_it_is_the_last_regular_price(sessions, stored):
    stored.collect("1d", "5m", start="2026-11-16")
    drop(stored, "12:00", "15:35")

    last = stored.candles("5m")[kst("2026-11-20 11:55")]
    assert official_close(stored) == last[3]


def test_a_settled_day_proves_that_its_last_price_is_the_last(sessions, stored):
    stored.collect("1d", "30m", start="2026-11-16")
    drop(stored, "15:00", timeframe="30m")

    last = stored.candles("30m")[kst("2026-11-20 14:30")]
    assert official_close(stored) == last[3]

    # Without that proof the day might go on.
    stored.query("UPDATE series SET settled_through = '2026-11-19'")
    assert official_close(stored) is None


def test_the_official_close_comes_from_the_finest_minutes_there_are(sessions, stored):
    stored.collect("1d", "60m", "30m", "5m", start="2026-11-16")

    for timeframe, last in (("5m", "15:30"), ("30m", "15:30"), ("60m", "15:00")):
        candle = stored.candles(timeframe)[kst(f"2026-11-20 {last}")]
        assert official_close(stored) == candle[3]
        stored.query("DELETE FROM candles WHERE timeframe = :t", t=timeframe)
    assert official_close(stored) is None


def test_a_day_before_the_after_market_closed_officially(sessions, stored):
    stored.collect("1d", start="2026-09-01")

    assert (
        official_close(stored, "2026-09-11")
        == stored.candles("1d")[kst("2026-09-11")][3]
    )


def a_stock(code, market="0", **more):
    return Stock(
        stock_code=code,
        stock_name=code,
        market_code=market,
        market_name="거래소",
        **more,
    )


@pytest.fixture
def stocks(engine_of):
    return StockStore(engine_of("reference_sync"))


def names(stored, where="true"):
    return [
        row[0]
        for row in stored.query(
            f"SELECT stock_code FROM stocks WHERE {where} ORDER BY 1"
        )
    ]


def test_a_stock_is_unlisted_after_two_absences(stocks, stored):
    both, one = [a_stock("000010"), a_stock("000020")], [a_stock("000010")]
    stocks.replace_listed(both, ["0", "10"], 2)

    for listed in (one, both, one):
        assert stocks.replace_listed(listed, ["0", "10"], 2) == MasterChanges()
    assert stocks.replace_listed(one, ["0", "10"], 2).unlisted == ["000020"]
    assert names(stored, "NOT listed") == ["000020"]


def test_an_unlisted_stock_keeps_its_candles_and_can_come_back(stocks, stored):
    stored.collect("1d", start="2026-11-16")
    stocks.replace_listed([a_stock("005930"), a_stock("000010")], ["0"], 2)
    for _ in range(2):
        stocks.replace_listed([a_stock("000010")], ["0"], 2)
    stored.query("UPDATE series SET ended = true")
    assert stored.query("SELECT count(*) FROM candles") == [(5,)]

    stocks.replace_listed([a_stock("005930"), a_stock("000010")], ["0"], 2)

    assert names(stored, "listed") == ["000010", "005930"]
    assert stored.query("SELECT ended FROM series") == [(False,)]


OLD = day("1999-01-05")
NEW = day("2026-11-02")


def listed(stocks, *which):
    """A list of these, beside one that is always there."""
    return stocks.replace_listed([a_stock("000010"), *which], ["0", "10"], 2)


def delisted(stocks):
    for _ in range(2):
        listed(stocks)


@pytest.fixture
def history(stocks, stored):
    """A stock with candles and all that goes with them, then delisted."""
    listed(stocks, a_stock("005930", listed_on=OLD))
    stored.collect("1d", "1w", start="2026-11-02")
    stored.query("UPDATE series SET ended = true, history_exhausted = true")
    stored.query(
        "INSERT INTO absent_slots VALUES ('005930', '1d', '2026-11-03 00:00+09', 'r'),"
        " ('000660', '1d', '2026-11-03 00:00+09', 'r')"
    )
    delisted(stocks)
    return stored.candles("1d")


def test_a_relisted_stock_is_requested_again_with_what_was_absent(
    stocks, stored, history
):
    changes = listed(stocks, a_stock("005930", listed_on=OLD))

    assert changes.relisted == []
    assert stored.candles("1d") == history
    assert stored.query("SELECT DISTINCT ended FROM series") == [(False,)]
    assert stored.query("SELECT stock_code FROM absent_slots") == [("000660",)]


def test_another_listing_of_a_code_begins_a_new_history(stocks, stored, history):
    before = dict(stored.query("SELECT timeframe, version FROM series"))

    changes = listed(stocks, replace(a_stock("005930", listed_on=NEW), stock_name="신"))

    assert changes.relisted == ["005930"]
    assert stored.query("SELECT count(*) FROM candles") == [(0,)]
    assert stored.query(
        "SELECT stock_code, listed_on, stock_name, market_code FROM former_listings"
    ) == [("005930", OLD, "005930", "0")]
    former = stored.query(
        "SELECT opened_at, open, high, low, close, volume, turnover, session, rescaled"
        " FROM former_candles WHERE timeframe = '1d' AND listed_on = :d",
        d=OLD,
    )
    assert {row[0]: row[1:] for row in former} == history
    # Attempts that are under way find their series changed.
    assert dict(stored.query("SELECT timeframe, version FROM series")) == {
        timeframe: number + 1 for timeframe, number in before.items()
    }
    assert stored.query(
        "SELECT DISTINCT covered_from, settled_through, oldest, history_exhausted,"
        " ended FROM series"
    ) == [(None, None, None, False, False)]
    assert stored.query("SELECT stock_code FROM absent_slots") == [("000660",)]

    stored.collect("1d", start="2026-11-02")
    assert stored.candles("1d").keys() == history.keys()


def test_a_code_may_be_given_away_more_than_once(stocks, stored, history):
    listed(stocks, a_stock("005930", listed_on=NEW))
    stored.collect("1d", start="2026-11-16")
    delisted(stocks)

    listed(stocks, a_stock("005930", listed_on=day("2026-11-20")))

    assert stored.query(
        "SELECT listed_on, count(*) FROM former_candles WHERE timeframe = '1d'"
        " GROUP BY 1 ORDER BY 1"
    ) == [(OLD, len(history)), (NEW, 5)]


@pytest.mark.parametrize("again", [OLD, None])
def test_a_listing_date_that_is_the_same_or_unknown_goes_on(
    stocks, stored, history, again
):
    assert listed(stocks, a_stock("005930", listed_on=again)).relisted == []
    assert stored.candles("1d") == history


def test_a_listed_stock_keeps_its_history_whatever_its_listing_date(stocks, stored):
    listed(stocks, a_stock("005930", listed_on=OLD))
    stored.collect("1d", start="2026-11-16")

    assert listed(stocks, a_stock("005930", listed_on=NEW)).relisted == []
    assert stored.query("SELECT count(*) FROM candles") == [(5,)]


def test_what_becomes_of_a_target_is_told(stocks):
    target = a_stock("005930", is_target=True, listed_on=OLD)
    stocks.upsert_all([target, a_stock("000660")])

    def told(*which):
        changes = listed(stocks, a_stock("000660"), *which).targets
        return [(change.code, change.before, change.after) for change in changes]

    assert told(target) == []
    assert told() == [("target_absent", "005930", "")]
    assert told() == [("target_unlisted", "005930", "")]
    assert told() == []
    assert told(target) == [("target_relisted", "1999-01-05", "1999-01-05")]
    assert told(replace(target, stock_name="새")) == [
        ("target_renamed", "005930", "새")
    ]
    assert told(replace(target, stock_name="새", market_code="10")) == [
        ("target_moved", "0", "10")
    ]


def test_a_field_that_the_list_lacks_does_not_erase_what_is_known(stocks, stored):
    stocks.upsert_all([a_stock("005930", is_target=True, listed_on=OLD)])

    bare = Stock(stock_code="005930", stock_name="", market_code="0", market_name="")
    changes = listed(stocks, bare)

    assert changes == MasterChanges()
    assert stored.query(
        "SELECT stock_name, market_name, listed_on FROM stocks WHERE is_target"
    ) == [("005930", "거래소", OLD)]


def test_what_becomes_of_other_stocks_is_no_news(stocks):
    listed(stocks, a_stock("000020"))

    changes = listed(stocks, replace(a_stock("000020", "10"), stock_name="새"))

    assert changes == MasterChanges()
    listed(stocks)
    assert listed(stocks) == MasterChanges(unlisted=["000020"])


def test_the_master_does_not_decide_about_targets(stocks):
    stocks.upsert_all(target_stocks())

    stocks.replace_listed([a_stock("005930"), a_stock("000010")], ["0", "10"], 2)

    assert "005930" in stocks.targets()
    assert "000010" not in stocks.targets()


def test_a_code_that_is_repeated_is_written_once(stocks, stored):
    twice = [a_stock("247540", "0"), a_stock("000010"), a_stock("247540", "10")]

    assert stocks.upsert_all(twice) == 2
    stocks.replace_listed(twice, ["0", "10"], 2)

    assert stored.query(
        "SELECT market_code FROM stocks WHERE stock_code = '247540'"
    ) == [("0",)]


def test_a_stock_may_move_to_another_market(stocks, stored):
    stocks.replace_listed([a_stock("247540", "10")], ["0", "10"], 2)
    stocks.replace_listed([a_stock("247540", "0")], ["0", "10"], 2)

    assert stored.query("SELECT market_code, listed, absences FROM stocks") == [
        ("0", True, 0)
    ]


def test_adding_a_target_starts_its_first_load_by_itself(stocks, engine):
    world = PipelineHarness(engine, "2026-11-20 21:00")
    stocks.upsert_all([a_stock("005930", is_target=True), a_stock("000660")])
    world.tick("1w", stocks=["005930"])
    stocks.set_targets(["000660"], is_target=True)
    stocks.set_targets(["005930"], is_target=False)
    world.now = kst("2026-11-23 10:00")

    world.trigger(["1w"], stocks=stocks.targets())
    world.work()

    assert world.query(
        "SELECT stock_code, count(*) > 500 FROM candles GROUP BY 1 ORDER BY 1"
    ) == [
        ("000660", True),
        ("005930", True),
    ]
