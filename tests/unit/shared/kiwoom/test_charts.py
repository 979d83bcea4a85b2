from __future__ import annotations

import json
from datetime import date, timedelta

import pytest

from shared.candles import CandleSession, Timeframe
from shared.errors import KiwoomUnavailable, MalformedResponse, PermanentError
from shared.kiwoom.charts import CHARTS, KiwoomCandles
from shared.kiwoom.client import KiwoomClient, Reply
from shared.kiwoom.wire import new_http_session
from shared.lanes import api_id_of
from shared.pages import ChartQuery
from tests.support.builders import CALENDAR, a_day_row, a_minute_row, day, kst
from tests.support.fakes import FakeThrottle, FakeTokens, FakeWire, rows_reply

DAYS, WEEKS, MINUTES = (
    "stk_dt_pole_chart_qry",
    "stk_stk_pole_chart_qry",
    "stk_min_pole_chart_qry",
)
BLANK = dict.fromkeys(a_day_row(), "")
# Sessions of the calendar, newest first.
SESSIONS = [
    f"{dt}"
    for dt in (day("2026-11-20") - timedelta(days=n) for n in range(60))
    if CALENDAR.session_on(dt)
]


def a_query(timeframe="1d", anchor="2026-11-20"):
    return ChartQuery(
        stock_code="005930", timeframe=Timeframe(timeframe), anchor=day(anchor)
    )


def ask(answer, query=None, cursor=None):
    """The page of one request, and the request."""
    wire = FakeWire(answer)
    http = new_http_session()
    http.mount("https://", wire)
    client = KiwoomClient(
        http, "https://api.kiwoom.com", FakeTokens(), FakeThrottle(), lambda _: None
    )
    page = KiwoomCandles(client).page(
        query or a_query(), cursor=cursor, calendar=CALENDAR
    )
    return page, wire.requests[0]


class StubClient:
    """Answers every request with one body."""

    def __init__(self, body, cursor=None):
        self.reply = Reply(body, cursor)

    def page(self, *args, **kwargs):
        return self.reply


def read(*rows, timeframe="1d", anchor="2026-11-20", calendar=CALENDAR, **body):
    """The page that these rows make."""
    query = a_query(timeframe, anchor)
    client = StubClient({CHARTS[query.timeframe].rows: list(rows), **body})
    return KiwoomCandles(client).page(query, cursor=None, calendar=calendar)


def days_of(page):
    return [f"{candle.opened_at:%Y-%m-%d}" for candle in page.candles]


def test_the_requests_of_a_limit_are_counted_by_the_call_that_makes_them():
    called = {frame: chart.api_id for frame, chart in CHARTS.items()}

    assert called == {frame: api_id_of(frame) for frame in Timeframe}


def test_a_day_becomes_a_candle_with_its_turnover_in_won():
    (candle,) = read(a_day_row(trde_prica="648525")).candles

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

    (candle,) = read(row, timeframe="1w").candles

    assert candle.turnover == 3_922_030_535_087


@pytest.mark.parametrize(
    "odd", ["", "-", "-5", None, [], {}, "1.5", "9223372036854775807", 1e300]
)
def test_a_turnover_that_cannot_be_read_costs_only_itself(odd):
    page = read(a_day_row(trde_prica=odd))

    assert page.candles[0].turnover is None
    assert not page.rejected


def test_a_minute_has_its_session_and_no_turnover():
    rows = [a_minute_row("2026-11-20 16:00"), a_minute_row("2026-11-20 15:30")]

    page = read(*rows, timeframe="5m")

    assert [candle.session for candle in page.candles] == [
        CandleSession.AFTER,
        CandleSession.REGULAR,
    ]
    assert page.candles[0].turnover is None
    assert page.candles[0].low == 69_000


def test_values_may_come_as_numbers():
    row = a_day_row(cur_prc=70_500, open_pric=70_000.0, trde_qty=1_000, dt=20261120)

    assert read(row).candles == read(a_day_row()).candles


@pytest.mark.parametrize(
    ("timeframe", "scope"), [("5m", "5"), ("30m", "30"), ("60m", "60")]
)
def test_minutes_are_requested_by_scope(timeframe, scope):
    answer = rows_reply(MINUTES, [a_minute_row("2026-11-20 10:00")])

    _, request = ask(answer, a_query(timeframe))

    assert json.loads(request.body) == {
        "stk_cd": "005930",
        "upd_stkpc_tp": "1",
        "base_dt": "20261120",
        "tic_scope": scope,
    }


def test_a_page_goes_on_where_the_one_before_ended():
    page, request = ask(rows_reply(DAYS, [a_day_row()], "A2"), cursor="A1")

    assert request.headers["next-key"] == "A1"
    assert page.cursor == "A2"
    assert not page.is_last


def test_the_broker_says_which_page_is_the_last():
    page, _ = ask(rows_reply(DAYS, [a_day_row()]))

    assert page.is_last


@pytest.mark.parametrize(
    ("timeframe", "size"), [("5m", 900), ("30m", 900), ("1d", 600), ("1w", 600)]
)
def test_a_page_is_full_with_as_many_rows_as_the_call_can_have(timeframe, size):
    rows = [BLANK] * (size - 1)

    assert not read(*rows, timeframe=timeframe).is_full
    assert read(*rows, BLANK, timeframe=timeframe).is_full


@pytest.mark.parametrize("blank", [BLANK, dict.fromkeys(BLANK), BLANK | {"dt": "  "}])
def test_the_blank_row_of_a_delisted_stock_is_no_candle(blank):
    page = read(blank)

    assert page.is_blank


def test_a_blank_row_among_others_is_dropped():
    page = read(a_day_row("2026-11-20"), BLANK, a_day_row("2026-11-19"))

    assert days_of(page) == ["2026-11-20", "2026-11-19"]
    assert not page.rejected


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"high_pric": "1"}, "outside 69000..1"),
        ({"cur_prc": ""}, "cur_prc is blank"),
        ({"cur_prc": None}, "cur_prc is missing"),
        ({"open_pric": "123.5"}, "open_pric '123.5' is not a whole number"),
        ({"low_pric": True}, "low_pric is a bool"),
        ({"high_pric": "9223372036854775808"}, "does not fit 64 bits"),
        ({"trde_qty": "-5"}, "trde_qty -5 is negative"),
        ({"trde_qty": []}, "trde_qty is a list"),
    ],
)
def test_a_row_that_is_no_candle_is_rejected_with_its_reason_and_instant(
    broken, reason
):
    row = a_day_row("2026-11-19", **broken)

    page = read(a_day_row("2026-11-20"), row)

    (rejected,) = page.rejected
    assert reason in rejected.reason
    assert json.loads(rejected.raw) == row
    assert rejected.opened_at == kst("2026-11-19")
    assert rejected.spoilt
    assert days_of(page) == ["2026-11-20"]


@pytest.mark.parametrize(
    "dt",
    [
        *("soon", "", None, [], "20261340", "19551231", "00010101", "99991231"),
        "20261122",  # two days after the anchor
    ],
)
def test_a_row_whose_time_cannot_be_true_is_spoilt_and_has_none(dt):
    page = read(a_day_row("2026-11-20"), a_day_row(dt=dt))

    (rejected,) = page.rejected
    assert rejected.spoilt
    assert rejected.opened_at is None
    assert page.oldest == kst("2026-11-20")


def test_the_day_after_the_anchor_is_believed():
    page = read(a_day_row("2026-11-20"), anchor="2026-11-19")

    assert days_of(page) == ["2026-11-20"]


def test_the_last_day_there_is_can_be_an_anchor():
    assert read(a_day_row(), anchor=f"{date.max}").candles


def test_a_row_without_a_place_in_the_calendar_is_rejected_but_not_spoilt():
    page = read(a_day_row("2026-11-20"), a_day_row("2026-11-21"), anchor="2026-11-21")

    (rejected,) = page.rejected
    assert rejected.reason == "no session on 2026-11-21"
    assert rejected.opened_at == kst("2026-11-21")
    assert not rejected.spoilt


@pytest.mark.parametrize("error", [ValueError("?"), PermanentError("?")])
def test_a_calendar_that_does_not_know_a_day_costs_one_row(error):
    class Narrow:
        def place(self, timeframe, opened_at):
            if opened_at < kst("2026-11-20"):
                raise error
            return CALENDAR.place(timeframe, opened_at)

    page = read(a_day_row("2026-11-20"), a_day_row("1987-03-02"), calendar=Narrow())

    assert days_of(page) == ["2026-11-20"]
    assert [row.spoilt for row in page.rejected] == [False]


@pytest.mark.parametrize("odd", [None, "row", 5, [], [a_day_row()], {}, True])
def test_a_row_that_is_no_object_costs_one_row(odd):
    page = read(a_day_row(), odd)

    assert len(page.candles) == len(page.rejected) == 1
    assert json.loads(page.rejected[0].raw) == odd


def test_a_row_that_no_json_can_hold_costs_one_row():
    circle = a_day_row("2026-11-19", cur_prc="")
    circle["itself"] = circle

    page = read(a_day_row(), circle, {("a", "key"): "x"}, anchor="2026-11-20")

    assert len(page.candles) == 1
    assert len(page.rejected) == 2


def test_a_rejected_row_can_be_stored_whatever_it_holds():
    odd = a_day_row("2026-11-19", cur_prc="\x00\ud800", long="x" * 100_000)

    (rejected,) = read(a_day_row(), odd).rejected

    assert "\x00" not in rejected.raw + rejected.reason
    assert (rejected.raw + rejected.reason).isascii()
    assert len(rejected.raw) <= 4_000


def test_a_row_without_a_field_is_rejected():
    short = a_day_row("2026-11-19")
    del short["cur_prc"]

    assert read(a_day_row(), short).rejected[0].reason == "cur_prc is missing"


def test_a_halted_day_with_a_close_only_is_a_flat_candle_without_trades():
    halted = dict.fromkeys(("open_pric", "high_pric", "low_pric", "trde_qty"), "0")

    (candle,) = read(a_day_row(**halted)).candles

    assert candle.open == candle.high == candle.low == candle.close == 70_500
    assert candle.volume == 0


def test_a_day_without_prices_but_with_trades_is_rejected():
    zeros = dict.fromkeys(("open_pric", "high_pric", "low_pric"), "0")

    page = read(a_day_row("2026-11-20"), a_day_row("2026-11-19", **zeros))

    assert "low 0 is not a price" in page.rejected[0].reason


def test_a_halted_day_without_a_close_is_rejected():
    nothing = dict.fromkeys(
        ("open_pric", "high_pric", "low_pric", "trde_qty", "cur_prc"), "0"
    )

    assert read(a_day_row(), a_day_row("2026-11-19", **nothing)).rejected


def test_a_volume_at_the_end_of_32_bits_is_kept():
    assert read(a_day_row(trde_qty="4294967295")).candles[0].volume == 2**32 - 1


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_candles_are_newest_first_in_whatever_order_they_came(order):
    page = read(*(a_day_row(SESSIONS[n]) for n in order))

    assert days_of(page) == SESSIONS[:3]
    assert page.oldest == kst(SESSIONS[2])


def test_a_page_that_is_served_oldest_first_is_taken_as_it_is():
    rows = [a_day_row(session) for session in SESSIONS]

    page = read(*reversed(rows))

    assert days_of(page) == SESSIONS
    assert not page.rejected


@pytest.mark.parametrize("swap", [(3, 4), (3, 9), (-1, -2), (0, -1)])
def test_rows_that_changed_places_are_candles(swap):
    served = list(SESSIONS)
    one, other = swap
    served[one], served[other] = served[other], served[one]

    page = read(*(a_day_row(session) for session in served))

    assert days_of(page) == SESSIONS
    assert not page.rejected


@pytest.mark.parametrize("wrong", ["1990-06-05", "2001-03-05"])
@pytest.mark.parametrize("places", [(0,), (5,), (5, 20), (-3,)])
def test_a_wrong_old_date_among_the_rows_does_not_end_the_reading(wrong, places):
    rows = [a_day_row(session) for session in SESSIONS]
    for place, row_day in zip(places, (wrong, "1999-05-06"), strict=False):
        rows[place] = a_day_row(row_day)

    page = read(*rows)

    assert page.oldest == kst(SESSIONS[-1])
    assert len(page.rejected) == len(places)
    assert all(row.spoilt and row.opened_at is None for row in page.rejected)


def test_an_instant_that_is_served_twice_is_the_first_of_both():
    again = a_day_row("2026-11-20", cur_prc="70000")

    page = read(a_day_row("2026-11-20"), again, a_day_row("2026-11-19"))

    assert [candle.close for candle in page.candles] == [70_500, 70_500]
    (rejected,) = page.rejected
    assert rejected.reason == "2026-11-20 00:00 was served twice"
    assert rejected.opened_at == kst("2026-11-20")
    assert not rejected.spoilt


def test_the_second_of_two_rows_counts_if_the_first_is_spoilt():
    page = read(a_day_row(cur_prc=""), a_day_row(), a_day_row("2026-11-19"))

    assert days_of(page) == ["2026-11-20", "2026-11-19"]
    assert [row.spoilt for row in page.rejected] == [True]


def test_the_oldest_instant_is_that_of_a_candle():
    page = read(a_day_row("2026-11-20"), a_day_row("2026-11-19", cur_prc=""))

    assert page.oldest == kst("2026-11-20")


def some(count, **broken):
    return [a_day_row(session, **broken) for session in SESSIONS[:count]]


@pytest.mark.parametrize(("good", "bad"), [(0, 1), (0, 2), (1, 2), (27, 3)])
def test_a_few_spoilt_rows_are_no_reason_to_doubt_the_answer(good, bad):
    rows = [*some(good), *some(good + bad, cur_prc="")[good:]]

    page = read(*rows)

    assert (len(page.candles), len(page.rejected)) == (good, bad)


@pytest.mark.parametrize(("good", "bad"), [(0, 3), (1, 3), (26, 3)])
def test_more_than_a_tenth_of_spoilt_rows_is_a_broken_answer(good, bad):
    rows = [*some(good), *some(good + bad, cur_prc="")[good:]]

    with pytest.raises(MalformedResponse, match=f"{bad} of {good + bad} rows are no"):
        read(*rows)


def test_rows_that_the_calendar_refuses_are_no_sign_of_a_broken_answer():
    saturdays = [f"2026-{dt}" for dt in ("11-14", "11-07", "10-31", "10-24", "10-17")]

    page = read(a_day_row(), *(a_day_row(saturday) for saturday in saturdays))

    assert len(page.rejected) == 5
    assert len(page.candles) == 1


@pytest.mark.parametrize("ours", ["005930", " 005930 ", "", None, 5930])
def test_the_answer_may_name_our_stock_or_none(ours):
    assert read(a_day_row(), stk_cd=ours).candles


@pytest.mark.parametrize("other", ["000660", "005930_NX", "005930_AL", 660])
def test_an_answer_for_another_stock_is_not_believed(other):
    with pytest.raises(KiwoomUnavailable, match="answered for another stock"):
        read(a_day_row(), stk_cd=other)


@pytest.mark.parametrize("rows", [None, "", {}, 5])
def test_an_answer_without_the_list_is_broken(rows):
    client = StubClient({DAYS: rows})

    with pytest.raises(MalformedResponse, match="no list stk_dt_pole_chart_qry"):
        KiwoomCandles(client).page(a_query(), cursor=None, calendar=CALENDAR)


def test_every_name_that_is_used_is_documented(documented):
    for timeframe, chart in CHARTS.items():
        names = documented[chart.api_id]
        answer = (
            a_minute_row("2026-11-20 10:00")
            if timeframe.minutes
            else a_day_row("2026-11-20")
        )
        _, request = ask(rows_reply(chart.rows, [answer]), a_query(timeframe.value))
        sent = json.loads(request.body)

        assert sent.keys() <= set(names["request"])
        assert set(names["required"]) <= sent.keys()
        assert request.path_url == names["path"]
        assert {chart.rows, chart.opened_at} <= set(names["response"])


def test_every_field_that_is_read_is_documented(documented):
    for timeframe, chart in CHARTS.items():
        names = set()

        class Row(dict):
            def get(self, name, default=None, names=names):
                names.add(name)
                return super().get(name, default)

        row = a_minute_row("2026-11-20 10:00") if timeframe.minutes else a_day_row()
        assert read(Row(row), timeframe=timeframe.value).candles

        assert len(names) >= 6
        assert names <= set(documented[chart.api_id]["response"])
