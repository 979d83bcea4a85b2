from __future__ import annotations

import json
from itertools import islice

import pytest

from shared.candles import CandleSession, Timeframe
from shared.errors import MalformedResponse
from shared.kiwoom.charts import CHARTS, KiwoomCandles
from shared.kiwoom.client import KiwoomClient, new_session
from tests.support.builders import CALENDAR, a_day_row, a_minute_row, day, kst
from tests.support.fakes import (
    FakeMeter,
    FakeThrottle,
    FakeTokens,
    FakeWire,
    rows_reply,
)

DAYS, WEEKS, MINUTES = (
    "stk_dt_pole_chart_qry",
    "stk_stk_pole_chart_qry",
    "stk_min_pole_chart_qry",
)


def ask(*answers, timeframe="1d", anchor="2026-11-20", count=None):
    """The pages of one question, and the wire it was asked on."""
    wire = FakeWire(*answers)
    http = new_session()
    http.mount("https://", wire)
    client = KiwoomClient(
        http, "https://api.kiwoom.com", FakeTokens(), FakeThrottle(), lambda _: None
    )
    pages = KiwoomCandles(client).pages(
        "005930",
        Timeframe(timeframe),
        anchor=day(anchor),
        calendar=CALENDAR,
        meter=FakeMeter(),
    )
    return list(islice(pages, count)), wire


def test_a_day_becomes_a_candle_with_its_turnover_in_won():
    row = a_day_row(trde_prica="648525")

    ([page], _) = ask(rows_reply(DAYS, [row]))

    (candle,) = page.candles
    assert candle.opened_at == kst("2026-11-20")
    assert (candle.open, candle.high, candle.low, candle.close) == (
        70_000,
        71_000,
        69_000,
        70_500,
    )
    assert candle.volume == 1_000
    assert candle.turnover == 648_525_000_000


def test_the_turnover_of_a_week_is_in_won_already():
    row = a_day_row("2026-11-16", trde_prica="3922030535087")

    ([page], _) = ask(rows_reply(WEEKS, [row]), timeframe="1w")

    assert page.candles[0].turnover == 3_922_030_535_087


def test_a_day_without_a_turnover_is_a_candle_all_the_same():
    ([page], _) = ask(rows_reply(DAYS, [a_day_row(trde_prica="")]))

    assert page.candles[0].turnover is None


def test_a_minute_has_its_session_and_no_turnover():
    rows = [a_minute_row("2026-11-20 16:00"), a_minute_row("2026-11-20 15:30")]

    ([page], _) = ask(rows_reply(MINUTES, rows), timeframe="5m")

    assert [candle.session for candle in page.candles] == [
        CandleSession.AFTER,
        CandleSession.REGULAR,
    ]
    assert page.candles[0].turnover is None
    assert page.candles[0].low == 69_000


@pytest.mark.parametrize(
    ("timeframe", "scope"), [("5m", "5"), ("30m", "30"), ("60m", "60")]
)
def test_minutes_are_asked_for_by_scope(timeframe, scope):
    answer = rows_reply(MINUTES, [a_minute_row("2026-11-20 10:00")])

    _, wire = ask(answer, timeframe=timeframe)

    assert json.loads(wire.requests[0].body) == {
        "stk_cd": "005930",
        "upd_stkpc_tp": "1",
        "base_dt": "20261120",
        "tic_scope": scope,
    }


def test_whoever_stops_reading_stops_asking():
    answers = [
        rows_reply(DAYS, [a_day_row("2026-11-20"), a_day_row("2026-11-19")], "A1"),
        rows_reply(DAYS, [a_day_row("2026-11-18"), a_day_row("2026-11-17")], "A2"),
    ]

    pages, wire = ask(*answers, count=2)

    assert [page.oldest for page in pages] == [kst("2026-11-19"), kst("2026-11-17")]
    assert len(wire.requests) == 2


def test_the_broker_may_end_earlier():
    pages, _ = ask(rows_reply(DAYS, [a_day_row()]))

    assert [page.last for page in pages] == [True]


def test_the_blank_row_of_a_delisted_stock_is_no_candle():
    blank = dict.fromkeys(a_day_row(), "")

    ([page], _) = ask(rows_reply(DAYS, [blank]))

    assert page.blank
    assert page.candles == page.rejected == ()


def test_an_empty_list_is_not_the_blank_row():
    ([page], _) = ask(rows_reply(DAYS, []))

    assert not page.blank


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"high_pric": "1"}, "outside 69000..1"),
        ({"cur_prc": ""}, "not a whole number"),
        ({"trde_qty": "-5"}, "not a whole number"),
        ({"dt": "20261121"}, "no session on 2026-11-21"),
        ({"dt": "soon"}, "neither YYYYMMDD"),
    ],
)
def test_a_row_that_is_no_candle_is_kept_aside_with_its_reason(broken, reason):
    days = [f"2026-11-{n:02}" for n in (20, 19, 18, 17, 16, 13, 12, 11, 10, 9)]
    rows = [a_day_row(dt) for dt in days]
    rows.append(a_day_row("2026-11-06", **broken))

    ([page], _) = ask(rows_reply(DAYS, rows))

    (rejected,) = page.rejected
    assert reason in rejected.reason
    assert json.loads(rejected.raw) == rows[-1]
    assert len(page.candles) == 10


def test_a_row_without_a_field_is_kept_aside():
    rows = [
        a_day_row(f"2026-11-{n:02}") for n in (20, 19, 18, 17, 16, 13, 12, 11, 10, 9)
    ]
    short = a_day_row("2026-11-06")
    del short["cur_prc"]

    ([page], _) = ask(rows_reply(DAYS, [*rows, short]))

    assert page.rejected[0].reason == "field 'cur_prc' is missing"


def test_more_than_a_tenth_of_bad_rows_is_a_broken_answer():
    rows = [a_day_row("2026-11-20"), a_day_row("2026-11-19", high_pric="1")]

    with pytest.raises(MalformedResponse, match="1 of 2 rows are no candles"):
        ask(rows_reply(DAYS, rows))


def test_an_answer_without_the_list_is_broken():
    with pytest.raises(MalformedResponse, match="no list stk_dt_pole_chart_qry"):
        ask(rows_reply("another_list", []))


def test_pages_that_do_not_get_older_are_broken():
    answers = [rows_reply(DAYS, [a_day_row()], key) for key in ("A1", "A2", "A3")]

    with pytest.raises(MalformedResponse, match="do not get older"):
        ask(*answers)


def test_an_empty_page_that_promises_more_is_broken():
    answers = [rows_reply(DAYS, [a_day_row()], "A1"), rows_reply(DAYS, [], "A2")]

    with pytest.raises(MalformedResponse, match="do not get older"):
        ask(*answers)


def test_every_name_that_is_used_is_documented(documented):
    for timeframe, chart in CHARTS.items():
        names = documented[chart.api_id]
        answer = (
            a_minute_row("2026-11-20 10:00")
            if timeframe.minutes
            else a_day_row("2026-11-20")
        )
        _, wire = ask(rows_reply(chart.rows, [answer]), timeframe=timeframe.value)
        sent = json.loads(wire.requests[0].body)

        assert sent.keys() <= set(names["request"])
        assert set(names["required"]) <= sent.keys()
        assert wire.requests[0].path_url == names["path"]
        assert {chart.rows, chart.opened_at} <= set(names["response"])


def test_every_field_that_is_read_is_documented(documented):
    for timeframe, chart in CHARTS.items():
        read = set()

        class Row(dict):
            def __getitem__(self, name, read=read):
                read.add(name)
                return super().__getitem__(name)

        row = a_minute_row("2026-11-20 10:00") if timeframe.minutes else a_day_row()
        from shared.kiwoom.charts import _candle  # noqa: PLC0415

        _candle(Row(row), chart, "005930", timeframe, CALENDAR)

        assert len(read) >= 6
        assert read <= set(documented[chart.api_id]["response"])
