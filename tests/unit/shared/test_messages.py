from __future__ import annotations

import json
import time
from datetime import time as hour

import pytest

from shared.candles import Timeframe
from shared.errors import MalformedMessage
from shared.messages import (
    DEFAULT_DEPTH,
    CollectRequest,
    ReferenceRequest,
    ReportRequest,
    TokenRequest,
    Trigger,
)
from shared.modes import Mode
from shared.periods import Period
from shared.sessions import SessionOverride
from tests.support.builders import a_request, day

ALL_MESSAGES = [Trigger, CollectRequest, ReferenceRequest, TokenRequest]


def sent(message, **fields):
    return message.from_bytes(json.dumps(fields).encode())


def trigger(**fields):
    return sent(Trigger, **fields)


def reference(**fields):
    return sent(ReferenceRequest, **fields)


def token(**fields):
    return sent(TokenRequest, **fields)


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
        ({"timeframe": "5m", "start": "0001-01-01"}, "start", "give 1956-03-03"),
        ({"timeframe": "5m", "start": "1956-03-02"}, "start", "the exchange opened"),
        ({"timeframe": "1w", "end": "9999-12-31"}, "end", "to 2100-01-01"),
        ({"timeframe": "1w", "end": "2100-01-02"}, "end", "to 2100-01-01"),
        ({"timeframe": "5m", "start": "２０２４-01-01"}, "start", "is not a date"),
        ({"timeframe": "5m", "start": "2024-01-01\n"}, "start", "is not a date"),
        ({"timeframe": "5m", "start": "2024-W01-1"}, "start", "is not a date"),
        ({"timeframe": "5m", "start": "+2024-1-1"}, "start", "is not a date"),
        ({"timeframe": "5m", "start": ["2024-01-01"]}, "start", "is not a date"),
        ({"timeframe": {"5m": 1}}, "timeframe", "is not a timeframe"),
        ({"timeframe": True}, "timeframe", "True is not a timeframe"),
        ({"timeframe": "5m\0"}, "timeframe", r"'5m\\x00' is not a timeframe"),
        ({"timeframes": "5m"}, "timeframes", "must be a list"),
        ({"timeframes": {"5m": 1}}, "timeframes", "must be a list"),
        ({"timeframes": ["5m", None]}, "timeframes", "None is not a timeframe"),
        ({"timeframes": ["5m"] * 14}, "timeframes", "lists 14 values; give at most 13"),
        ({"timeframe": "5m", "mode": []}, "mode", "none of incremental"),
        ({"timeframe": "5m", "mode": "BACKFILL"}, "mode", "none of incremental"),
        ({"timeframe": "5m", "stocks": "ALL"}, "stocks", "must be a list"),
        ({"timeframe": "5m", "stocks": [["005930"]]}, "stocks", "not a stock code"),
        ({"timeframe": "5m", "stocks": ["００５９３０"]}, "stocks", "not a stock code"),
        ({"timeframe": "5m", "stocks": ["00593\ud800"]}, "stocks", "not a stock code"),
        ({"timeframe": "5m", "stocks": ["00593\0"]}, "stocks", "not a stock code"),
        (
            {"timeframe": "5m", "stocks": ["005930"] * 5_001},
            "stocks",
            "lists 5,001 values; give at most 5,000",
        ),
        ({"timeframe": "5m", "force": []}, "force", r"\[\] is not true or false"),
        ({"timeframe": "5m", "force": {}}, "force", "is not true or false"),
        ({"timeframe": "5m", "force": 1}, "force", "1 is not true or false"),
        ({"timeframe": "5m", "force": 0}, "force", "0 is not true or false"),
        ({"timeframe": "5m", "force": "true"}, "force", "'true' is not true or false"),
        ({"timeframe": "5m", "budget": 0}, "budget", "whole number from 1 to 100,000"),
        ({"timeframe": "5m", "budget": -1}, "budget", "-1 is not a whole number"),
        ({"timeframe": "5m", "budget": 100_001}, "budget", "is not a whole number"),
        ({"timeframe": "5m", "budget": True}, "budget", "True is not a whole number"),
        ({"timeframe": "5m", "budget": 5.0}, "budget", "5.0 is not a whole number"),
        ({"timeframe": "5m", "budget": "5"}, "budget", "'5' is not a whole number"),
        ({"timeframe": "5m", "budget": float("inf")}, "budget", "inf is not a whole"),
        ({"timeframe": "5m", "budget": float("nan")}, "budget", "nan is not a whole"),
        ({"timeframe": "5m", "budget": 5}, "budget", 'belongs to "mode":"verify"'),
        ({"timeframe": "5m", "period": []}, "period", "write 30d, 6m or 5y"),
        ({"timeframe": "5m", "period": "٣d"}, "period", "write 30d, 6m or 5y"),
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


@pytest.mark.parametrize(
    ("fields", "field", "remedy"),
    [
        ({}, "sync", "is missing"),
        ({"sync": "calendar"}, "sync", "must be a list of calendar and stocks"),
        ({"sync": [["calendar"]]}, "sync", "must be a list of calendar and stocks"),
        ({"sync": [{}]}, "sync", "must be a list of calendar and stocks"),
        ({"add_targets": "005930"}, "add_targets", "must be a list"),
        ({"add_targets": [None]}, "add_targets", "None is not a stock code"),
        ({"remove_targets": ["005930"] * 5_001}, "remove_targets", "at most 5,000"),
        ({"open": "0001-01-01"}, "open", "give 1956-03-03"),
        ({"open": "9999-12-31"}, "open", "to 2100-01-01"),
        ({"close": 20261224}, "close", "20261224 is not a date"),
        ({"prune_ledger": 1}, "prune_ledger", "1 is not true or false"),
        ({"prune_ledger": False}, "sync", "is missing"),
        (
            {"prune_ledger": True, "sync": ["stocks"]},
            "prune_ledger",
            "in a message of its own",
        ),
    ],
)
def test_a_wrong_field_of_a_reference_request_is_refused(fields, field, remedy):
    with pytest.raises(MalformedMessage, match=f"^{field}: .*{remedy}"):
        reference(**fields)


@pytest.mark.parametrize(
    "hours",
    [
        ["01:00Z", "06:30Z"],
        ["10:00+09:00", "16:30+09:00"],
        ["10:00:00", "16:30:00"],
        ["1000", "1630"],
        ["T10:00", "T16:30"],
        ["10", "16"],
        ["24:00", "25:00"],
        ["１０:00", "16:30"],
        ["10:00"],
        ["10:00", "12:00", "16:30"],
        [10, 16],
        [None, None],
        {"10:00": "16:30"},
        "10:00-16:30",
        True,
    ],
)
def test_hours_are_two_times_of_the_day_in_seoul(hours):
    with pytest.raises(MalformedMessage, match=r'^hours: .*\["10:00","15:30"\]'):
        reference(open="2026-11-19", hours=hours)


def test_hours_end_after_they_begin():
    with pytest.raises(MalformedMessage, match="^hours: must open before they close"):
        reference(open="2026-11-19", hours=["16:30", "10:00"])


def test_hours_are_on_the_grid_of_the_candles():
    with pytest.raises(MalformedMessage, match="^hours: must be multiples of 5"):
        reference(open="2026-11-19", hours=["10:00", "16:31"])


@pytest.mark.parametrize(
    ("fields", "field", "remedy"),
    [
        ({}, "reason", "must be a non-empty string"),
        ({"reason": ""}, "reason", "must be a non-empty string"),
        ({"reason": ["operator"]}, "reason", "must be a non-empty string"),
        ({"reason": "a\0b"}, "reason", "has a NUL"),
        ({"reason": "a\udfffb"}, "reason", "half of a surrogate pair"),
        ({"reason": "operator", "force": 1}, "force", "1 is not true or false"),
        (
            {"reason": "operator", "rejected_version": 7},
            "rejected_version",
            "must be a non-empty string",
        ),
    ],
)
def test_a_wrong_field_of_a_token_request_is_refused(fields, field, remedy):
    with pytest.raises(MalformedMessage, match=f"^{field}: .*{remedy}"):
        token(**fields)


def test_a_whole_surrogate_pair_is_a_character():
    assert token(reason="\N{CHART WITH UPWARDS TREND}").reason == "📈"


def test_null_stands_for_a_field_that_is_left_out():
    assert trigger(timeframe="5m", stocks=None, start=None, force=None) == trigger(
        timeframe="5m"
    )
    assert token(reason="operator", rejected_version=None) == token(reason="operator")


@pytest.mark.parametrize("message", ALL_MESSAGES)
@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "has no body; send a JSON object like"),
        (b" ", "is not JSON in UTF-8"),
        (b"{}\xff", "is not JSON in UTF-8"),
        (b"\xef\xbb\xbf{}", "is not JSON in UTF-8 .*BOM"),
        ("{}".encode("utf-16"), "is not JSON in UTF-8"),
        (b"{'mode':'repair'}", "is not JSON in UTF-8"),
        (b'{"a":1}{"a":1}', "is not JSON in UTF-8 .*Extra data"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"a":' * 100_000, "is nested too deeply"),
        (b"1" * 10_000, "must be a JSON object like"),
        (
            b'{"a":"' + b"a" * 2**20 + b'"}',
            "has 1,048,584 bytes; send at most 1,048,576",
        ),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_body_that_is_no_object_is_refused_with_the_remedy(message, data, problem):
    with pytest.raises(MalformedMessage, match=f"^message: {problem}"):
        message.from_bytes(data)


@pytest.mark.parametrize(
    ("message", "data"),
    [(Trigger, b""), (ReferenceRequest, b"[]"), (TokenRequest, b"1")],
)
def test_the_example_that_is_shown_is_itself_accepted(message, data):
    with pytest.raises(MalformedMessage) as refused:
        message.from_bytes(data)

    _, _, example = str(refused.value).partition("like ")
    assert message.from_bytes(example.encode())


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b'{"timeframe":%s}', "timeframe"),
        (b'{"timeframe":"5m","stocks":[%s]}', "stocks"),
        (b'{"timeframe":"5m","start":-%s}', "start"),
        (b'{"timeframe":"5m","force":%s}', "force"),
        (b'{"timeframe":"5m","budget":%s}', "budget"),
        (b'{"timeframe":"5m","budget":%s.5}', "budget"),
        (b'{"timeframe":"5m","budget":1e%s}', "budget"),
        (b'{"timeframe":"5m","size":%s}', "size"),
    ],
)
@pytest.mark.parametrize("digits", [20, 4_300, 10_000])
def test_a_number_of_many_digits_is_refused_by_its_field(data, field, digits):
    with pytest.raises(MalformedMessage, match=f"^{field}: ") as refused:
        Trigger.from_bytes(data % (b"1" * digits))

    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    "value",
    ["a" * 100_000, ["a" * 100_000] * 9, {"\ud800" * 10_000: [[[[[[[[1]]]]]]]]}],
    ids=["string", "list", "object"],
)
@pytest.mark.parametrize("field", ["timeframe", "mode", "start", "force", "budget"])
def test_a_long_value_is_quoted_in_sixty_characters(field, value):
    with pytest.raises(MalformedMessage, match=f"^{field}: ") as refused:
        trigger(**{"timeframe": "5m", field: value})

    quoted, _, _ = str(refused.value).removeprefix(f"{field}: ").partition(" is n")
    assert len(quoted) <= 60


@pytest.mark.parametrize(
    "name",
    ["", "a b", "a" * 100_000, "\ud800", "\0", "a:b"],
    ids=["empty", "space", "long", "surrogate", "nul", "colon"],
)
def test_an_odd_name_of_a_field_is_quoted(name):
    with pytest.raises(
        MalformedMessage, match="^'.*': unknown field; the known ones"
    ) as refused:
        trigger(timeframe="5m", **{name: 1})

    assert len(refused.value.field) <= 60


@pytest.mark.parametrize(
    "data",
    [
        json.dumps({"timeframe": "5m", "stocks": ["005930"] * 100_000}).encode(),
        json.dumps({"timeframe": "5m", "stocks": [1] * 100_000}).encode(),
        json.dumps({"timeframes": ["5m"] * 100_000}).encode(),
        b'{"0":0%s,"74999":1}' % b"".join(b',"%d":0' % n for n in range(1, 75_000)),
        b'{"timeframe":' + b"1" * 1_000_000 + b"}",
        b'{"timeframe":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"1" * 10_000_000,
    ],
    ids=["codes", "numbers", "timeframes", "twice", "digits", "nesting", "bytes"],
)
def test_a_huge_message_is_refused_quickly(data):
    began = time.process_time()

    with pytest.raises(MalformedMessage) as refused:
        Trigger.from_bytes(data)

    # Less than a tenth of a second; a parser that goes astray takes minutes.
    assert time.process_time() - began < 2
    assert len(str(refused.value)) < 250


def test_a_field_given_twice_is_refused():
    with pytest.raises(MalformedMessage, match="^timeframe: is given twice"):
        Trigger.from_bytes(b'{"timeframe":"5m","timeframe":"1d"}')


def test_a_field_given_twice_within_another_is_refused():
    with pytest.raises(MalformedMessage, match="^a: is given twice"):
        Trigger.from_bytes(b'{"timeframe":"5m","stocks":[{"a":1,"a":1}]}')


def test_unusual_hours_are_read_as_seoul_time():
    asked = reference(open="2026-11-19", hours=["10:00", "16:30"])

    assert asked.override == SessionOverride(
        day("2026-11-19"), (hour(10), hour(16, 30))
    )


def test_a_verify_has_a_budget():
    asked = trigger(timeframe="1d", mode="verify", budget=100_000)

    assert asked.budget == 100_000
    assert trigger(timeframe="1d", mode="verify").budget is None


def test_a_part_named_twice_is_meant_once():
    assert reference(sync=["stocks", "stocks"]) == reference(sync=["stocks"])


def test_a_reference_request_may_ask_for_the_pruning_of_the_ledger_alone():
    request = reference(prune_ledger=True)

    assert request == ReferenceRequest(prune_ledger=True)


def report(value):
    return ReportRequest.from_bytes(json.dumps({"report": value}).encode())


def test_a_report_is_of_the_latest_day_or_of_the_one_that_is_named():
    assert report("latest") == ReportRequest()
    assert report("2026-11-20") == ReportRequest(day=day("2026-11-20"))


@pytest.mark.parametrize("value", ["today", "2026-02-30", "20261120", 1, None, ""])
def test_a_report_of_no_day_is_refused(value):
    with pytest.raises(MalformedMessage, match="^report: "):
        report(value)


def test_five_thousand_stocks_fit_into_a_trigger():
    codes = [f"{n:06}" for n in range(5_000)]

    assert trigger(timeframe="5m", stocks=codes).stocks == tuple(codes)


def test_a_range_reaches_from_the_first_session_to_the_end_of_the_century():
    asked = trigger(timeframe="1w", start="1956-03-03", end="2100-01-01")

    assert (asked.start, asked.end) == (day("1956-03-03"), day("2100-01-01"))


def test_a_period_ends_where_the_exchange_began():
    asked = trigger(timeframe="1d", period="70y")

    assert asked.since(day("2026-01-02")) == day("1956-03-03")


def test_a_start_in_the_future_is_refused():
    asked = trigger(timeframe="1d", start="2026-11-21")

    with pytest.raises(MalformedMessage, match="start: .*future"):
        asked.since(day("2026-11-20"))


def test_a_collect_request_survives_the_wire():
    request = a_request(
        "30m", mode=Mode.BACKFILL, start=day("2024-01-01"), end=day("2024-02-01")
    )

    assert CollectRequest.from_bytes(request.to_bytes()) == request


@pytest.mark.parametrize(
    "request_",
    [
        TokenRequest(reason="schedule"),
        TokenRequest(reason="token_rejected", rejected_version="7"),
        TokenRequest(reason="operator", force=True),
    ],
)
def test_a_token_request_survives_the_wire(request_):
    assert TokenRequest.from_bytes(request_.to_bytes()) == request_


def test_a_collect_request_without_a_range_leaves_it_out():
    assert json.loads(a_request().to_bytes()).keys() == {
        "run_id",
        "stock_code",
        "timeframe",
        "mode",
        "lane",
    }


@pytest.mark.parametrize(("mode", "lane"), [(None, "live"), ("backfill", "history")])
def test_a_request_that_names_no_lane_is_in_that_of_its_mode(mode, lane):
    """As those are that an older version has left in the ledger."""
    fields = json.loads(a_request().to_bytes()) | {"mode": mode}
    del fields["lane"]

    assert CollectRequest.from_bytes(json.dumps(fields).encode()).lane == lane


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
