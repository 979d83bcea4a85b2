from __future__ import annotations

import json

import pytest

from shared.candles import Timeframe
from shared.errors import MalformedMessage
from shared.messages import DEFAULT_DEPTH, CollectRequest, Trigger
from shared.modes import Mode
from shared.periods import Period
from tests.support.builders import a_request, day


def trigger(**fields):
    return Trigger.from_bytes(json.dumps(fields).encode())


def test_a_timeframe_is_enough():
    asked = trigger(timeframe="5m")

    assert asked == Trigger(timeframes=(Timeframe.MINUTE_5,))
    assert asked.mode is Mode.INCREMENTAL
    assert asked.stocks is None


@pytest.mark.parametrize(
    ("alias", "timeframe"),
    [
        ("1h", "60m"),
        ("d", "1d"),
        ("w", "1w"),
        ("M5", "5m"),
        ("M30", "30m"),
        ("H1", "60m"),
        ("D", "1d"),
        ("W", "1w"),
        ("60m", "60m"),
    ],
)
def test_aliases_are_understood_at_the_edge(alias, timeframe):
    assert trigger(timeframe=alias).timeframes == (Timeframe(timeframe),)


def test_several_timeframes_are_asked_for_once_each():
    asked = trigger(timeframes=["1d", "D", "5m"])

    assert asked.timeframes == (Timeframe.DAY_1, Timeframe.MINUTE_5)


def test_a_backfill_names_stocks_and_days():
    asked = trigger(
        timeframe="1d",
        mode="backfill",
        stocks=["005930", "0001A0"],
        start="2024-01-01",
        end="2025-01-01",
    )

    assert asked.stocks == ("005930", "0001A0")
    assert asked.since(day("2026-11-20")) == day("2024-01-01")
    assert asked.end == day("2025-01-01")


@pytest.mark.parametrize(
    ("period", "start"),
    [("30d", "2026-10-21"), ("6m", "2026-05-20"), ("5y", "2021-11-20")],
)
def test_a_period_ends_today(period, start):
    asked = trigger(timeframe="1d", period=period)

    assert asked.since(day("2026-11-20")) == day(start)


def test_a_month_before_its_end_is_its_last_day():
    assert Period(1, "m").before(day("2026-03-31")) == day("2026-02-28")
    assert Period(1, "y").before(day("2028-02-29")) == day("2027-02-28")


@pytest.mark.parametrize(
    ("fields", "field", "remedy"),
    [
        ({}, "timeframe", "is missing; give one of 5m"),
        ({"timeframe": "15m"}, "timeframe", "'15m' is not a timeframe"),
        ({"timeframe": 5}, "timeframe", "5 is not a timeframe"),
        ({"timeframe": ["5m"]}, "timeframe", "is not a timeframe"),
        ({"timeframes": []}, "timeframes", "must be a list"),
        ({"timeframe": "5m", "timeframes": ["1d"]}, "timeframes", "either"),
        ({"timeframe": "5m", "mode": "full"}, "mode", "none of incremental, backfill"),
        ({"timeframe": "5m", "stocks": "005930"}, "stocks", "must be a list"),
        ({"timeframe": "5m", "stocks": []}, "stocks", "must be a list"),
        ({"timeframe": "5m", "stocks": [5930]}, "stocks", "5930 is not a stock code"),
        ({"timeframe": "5m", "stocks": ["5930"]}, "stocks", "six digits or capitals"),
        ({"timeframe": "5m", "stocks": ["00593k"]}, "stocks", "capitals"),
        ({"timeframe": "5m", "start": "20240101"}, "start", "write it as 2026-01-31"),
        ({"timeframe": "5m", "start": "2024-02-30"}, "start", "is not a date"),
        ({"timeframe": "5m", "end": 2024}, "end", "is not a date"),
        (
            {"timeframe": "5m", "start": "2024-01-02", "end": "2024-01-02"},
            "end",
            "after start",
        ),
        ({"timeframe": "5m", "end": "2024-01-02"}, "end", "needs a start"),
        ({"timeframe": "5m", "start": "0001-01-01"}, "start", "opened on 1956-03-03"),
        ({"timeframe": "5m", "period": "71y"}, "period", "write 30d, 6m or 5y"),
        ({"timeframe": "5m", "period": "5w"}, "period", "write 30d, 6m or 5y"),
        ({"timeframe": "5m", "period": 30}, "period", "write 30d, 6m or 5y"),
        ({"timeframe": "5m", "period": "9999m"}, "period", "write 30d, 6m or 5y"),
        (
            {"timeframe": "5m", "period": "1y", "start": "2024-01-01"},
            "period",
            "either period or start",
        ),
        ({"timeframe": "5m", "stock": ["005930"]}, "stock", "unknown field; the known"),
    ],
)
def test_a_wrong_field_is_refused_by_name_with_the_remedy(fields, field, remedy):
    with pytest.raises(MalformedMessage, match=f"^{field}: .*{remedy}") as refused:
        trigger(**fields)

    assert refused.value.field == field


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"5m",
        b"[]",
        b'"5m"',
        b"\xff",
        b"null",
        '{"timeframe":"5m"}'.encode("utf-16"),
        b"[" * 100_000,
    ],
)
def test_what_is_no_object_is_refused(data):
    with pytest.raises(MalformedMessage, match="^message: "):
        Trigger.from_bytes(data)


def test_a_field_given_twice_is_refused():
    with pytest.raises(MalformedMessage, match="^timeframe: is given twice"):
        Trigger.from_bytes(b'{"timeframe":"5m","timeframe":"1d"}')


def test_a_start_in_the_future_is_refused():
    asked = trigger(timeframe="1d", start="2026-11-21")

    with pytest.raises(MalformedMessage, match="start: .*future"):
        asked.since(day("2026-11-20"))


def test_a_collect_request_survives_the_wire():
    request = a_request(
        "30m", mode=Mode.BACKFILL, start=day("2024-01-01"), end=day("2024-02-01")
    )

    assert CollectRequest.from_bytes(request.to_bytes()) == request


def test_a_collect_request_without_a_range_leaves_it_out():
    assert json.loads(a_request().to_bytes()).keys() == {
        "run_id",
        "stock_code",
        "timeframe",
        "mode",
    }


def test_a_collect_request_without_a_run_is_refused():
    with pytest.raises(MalformedMessage, match="run_id"):
        CollectRequest.from_bytes(b'{"stock_code":"005930","timeframe":"1d"}')


def test_every_timeframe_has_a_default_depth():
    assert {k.value: f"{v.count}{v.unit}" for k, v in DEFAULT_DEPTH.items()} == {
        "5m": "3m",
        "30m": "6m",
        "60m": "1y",
        "1d": "5y",
        "1w": "10y",
    }
