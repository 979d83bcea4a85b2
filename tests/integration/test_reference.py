"""The calendar and the master on a real database."""

from __future__ import annotations

import pytest

from functions.reference_sync.reference_data import market_sessions, target_stocks
from shared.database.session_store import SessionStore
from shared.database.stock_store import StockStore
from shared.sessions import MarketSession
from shared.stocks import Stock
from tests.support.builders import day
from tests.world import World

YEARS = "SELECT extract(year FROM session_date)::int, count(*) FROM market_sessions GROUP BY 1"


@pytest.fixture
def sessions(engine):
    store = SessionStore(engine, lambda: 0.0)
    store.write(market_sessions(), "repository")
    return store


@pytest.fixture
def world(engine):
    return World(engine, "2026-11-20 21:00")


def again(sessions):
    return sessions.write(market_sessions(), "repository")


def test_the_years_have_as_many_sessions_as_the_exchange_says(sessions, world):
    assert dict(world.query(YEARS)) == {2025: 242, 2026: 244, 2027: 245}


def test_the_same_calendar_again_changes_nothing(sessions):
    assert again(sessions) == 0


def test_an_operator_wins_and_survives_the_next_sync(sessions, world):
    sessions.override(day("2026-12-24"), None)
    sessions.override(day("2026-12-31"), MarketSession.regular(day("2026-12-31")))

    assert again(sessions) == 2
    assert again(sessions) == 0
    assert sessions.calendar().session_on(day("2026-12-24")) is None
    assert sessions.calendar().session_on(day("2026-12-31")) is not None
    assert world.query(
        "SELECT session_date FROM market_sessions WHERE source = 'operator'"
    ) == [(day("2026-12-31"),)]


def test_a_day_that_is_closed_afterwards_is_judged_anew(sessions, world):
    for timeframe in ("5m", "1d"):
        world.tick(timeframe, start="2026-11-16")
    count = "SELECT count(*) FROM candles WHERE opened_at >= '2026-11-19 15:00+00'"
    assert world.query(count) == [(126 + 1,)]

    sessions.override(day("2026-11-20"), None)
    again(sessions)

    assert world.query(count) == [(0,)]
    assert world.query(
        "SELECT DISTINCT reason, count(*) FROM quarantine GROUP BY 1"
    ) == [("the calendar was changed: closed", 127)]
    assert world.query("SELECT DISTINCT settled_through FROM series") == [
        (day("2026-11-19"),)
    ]


def test_a_day_that_opens_later_loses_the_candles_before(sessions, world):
    world.tick("5m", start="2026-11-16")

    hours = MarketSession(
        day("2026-11-20"),
        MarketSession.regular(day("2026-11-20")).opens_at.replace(hour=10),
        MarketSession.regular(day("2026-11-20")).closes_at,
    )
    sessions.override(day("2026-11-20"), hours)
    again(sessions)

    assert world.query("SELECT count(*) FROM quarantine") == [(12,)]


def test_a_day_that_is_opened_afterwards_is_read_by_the_next_tick(sessions, world):
    world.tick("1d", start="2026-11-16")

    sessions.override(day("2026-11-18"), MarketSession.regular(day("2026-11-18")))
    sessions.write(
        [s for s in market_sessions() if s.session_date != day("2026-11-18")],
        "repository",
    )
    assert again(sessions) == 0

    world.query("DELETE FROM session_overrides")
    world.query("DELETE FROM market_sessions WHERE session_date = '2026-11-18'")
    assert again(sessions) == 1
    assert world.query("SELECT settled_through FROM series") == [(day("2026-11-17"),)]


def a_stock(code, market="0", **more):
    return Stock(
        stock_code=code,
        stock_name=code,
        market_code=market,
        market_name="거래소",
        **more,
    )


@pytest.fixture
def stocks(engine):
    return StockStore(engine)


def names(world, where="true"):
    return [
        row[0]
        for row in world.query(
            f"SELECT stock_code FROM stocks WHERE {where} ORDER BY 1"
        )
    ]


def test_a_stock_is_unlisted_after_two_absences(stocks, world):
    both, one = [a_stock("000010"), a_stock("000020")], [a_stock("000010")]
    stocks.replace_listed(both, ["0", "10"], 2)

    assert stocks.replace_listed(one, ["0", "10"], 2) == []
    assert stocks.replace_listed(both, ["0", "10"], 2) == []
    assert stocks.replace_listed(one, ["0", "10"], 2) == []
    assert stocks.replace_listed(one, ["0", "10"], 2) == ["000020"]
    assert names(world, "NOT listed") == ["000020"]


def test_an_unlisted_stock_keeps_its_candles_and_can_come_back(stocks, world):
    world.tick("1d", stocks=["005930"], start="2026-11-16")
    stocks.replace_listed([a_stock("005930"), a_stock("000010")], ["0"], 2)
    for _ in range(2):
        stocks.replace_listed([a_stock("000010")], ["0"], 2)
    world.query("UPDATE series SET ended = true")
    assert world.query("SELECT count(*) FROM candles") == [(5,)]

    stocks.replace_listed([a_stock("005930"), a_stock("000010")], ["0"], 2)

    assert names(world, "listed") == ["000010", "005930"]
    assert world.query("SELECT ended FROM series") == [(False,)]


def test_the_master_does_not_decide_about_targets(stocks):
    stocks.upsert_all(target_stocks())

    stocks.replace_listed([a_stock("005930"), a_stock("000010")], ["0", "10"], 2)

    assert "005930" in stocks.targets()
    assert "000010" not in stocks.targets()


def test_a_stock_may_move_to_another_market(stocks, world):
    stocks.replace_listed([a_stock("247540", "10")], ["0", "10"], 2)
    stocks.replace_listed([a_stock("247540", "0")], ["0", "10"], 2)

    assert world.query("SELECT market_code, listed, absences FROM stocks") == [
        ("0", True, 0)
    ]


def test_adding_a_target_starts_its_first_load_by_itself(stocks, world):
    stocks.upsert_all([a_stock("005930", is_target=True), a_stock("000660")])
    world.tick("1w", stocks=["005930"])
    stocks.set_targets(["000660"], is_target=True)
    stocks.set_targets(["005930"], is_target=False)
    world.now = world.now.fromisoformat("2026-11-23 10:00+09:00")

    world.trigger(["1w"], stocks=stocks.targets())
    world.work()

    assert world.query(
        "SELECT stock_code, count(*) > 500 FROM candles GROUP BY 1 ORDER BY 1"
    ) == [
        ("000660", True),
        ("005930", True),
    ]
