"""Each fault of a single answer, as it is seen on the wire."""

from __future__ import annotations

import pytest

from tests.support.broker_client import CHARTS, BrokerClient

TIMEFRAMES = list(CHARTS)


@pytest.fixture
def client():
    return BrokerClient()


def opened(timeframe, rows):
    return [row[CHARTS[timeframe][3]] for row in rows]


def blank(row):
    return set(row.values()) == {""}


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
@pytest.mark.parametrize(
    ("how", "field", "value"),
    [
        ("bad_ohlc", "high_pric", "1"),
        ("unreadable", "cur_prc", "N/A"),
        ("blank_field", "cur_prc", ""),
        ("no_field", "cur_prc", None),
    ],
)
def test_a_row_is_spoilt_in_a_chosen_way(client, timeframe, how, field, value):
    right, _ = client.page(timeframe)
    client.scenario(faults=[{"kind": "corrupt", "row": 3, "how": how, "times": 1}])

    spoilt, _ = client.page(timeframe)

    assert spoilt[3].get(field) == value
    assert {n: v for n, v in spoilt[3].items() if n != field} == {
        n: v for n, v in right[3].items() if n != field
    }
    del spoilt[3], right[3]
    assert spoilt == right
    assert client.page(timeframe)[0][3].get(field) != value


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_a_row_may_lose_its_date_or_fall_into_1970(client, timeframe):
    faults = [{"kind": "corrupt", "row": 0, "how": "no_date"}]
    faults.append({"kind": "corrupt", "row": -1, "how": "epoch"})
    client.scenario(faults=faults)

    dates = opened(timeframe, client.page(timeframe)[0])

    assert dates[0] == ""
    assert dates[-1].startswith("19700101")
    assert len(dates[-1]) == len(dates[1])


def test_the_spoilt_row_may_be_chosen_by_its_instant(client):
    at = "2026-11-18 10:30"
    client.scenario(faults=[{"kind": "corrupt", "opens": at, "times": 2}])

    client.page("1d")
    rows, _ = client.page("5m")
    spoilt = [row["cntr_tm"] for row in rows if row["high_pric"] == "1"]

    # A page without that row does not count.
    assert spoilt == ["20261118103000"]
    assert client.broker.faults[0].shown == 1


@pytest.mark.parametrize("timeframe", ["5m", "1d"])
@pytest.mark.parametrize("page", [1, 2])
def test_one_page_of_a_chain_is_blank_and_says_that_it_is_the_last(
    client, timeframe, page
):
    client.scenario(faults=[{"kind": "blank", "page": page, "times": 1}])

    rows, headers = client.page(timeframe)
    if page > 1:
        assert not blank(rows[0])
        rows, headers = client.page(timeframe, headers["next-key"])

    assert [blank(row) for row in rows] == [True]
    assert (headers["cont-yn"], headers["next-key"]) == ("N", "")
    assert not blank(client.page(timeframe)[0][0])


def test_an_empty_list_keeps_its_key_or_is_the_whole_answer(client):
    client.scenario(faults=[{"kind": "empty"}])
    rows, headers = client.page("1d")
    assert (rows, headers["cont-yn"]) == ([], "Y")

    client.scenario(faults=[{"kind": "empty"}, {"kind": "last"}])
    rows, headers = client.page("1d")
    assert (rows, headers["cont-yn"], headers["next-key"]) == ([], "N", "")


@pytest.mark.parametrize(("rows", "size"), [(None, 600), (30, 30)])
def test_a_full_or_a_short_page_ends_too_early(client, rows, size):
    right, _ = client.page("1d")
    client.scenario(faults=[{"kind": "last", "rows": rows, "page": 1}])

    found, headers = client.page("1d")

    assert found == right[:size]
    assert (headers["cont-yn"], headers["next-key"]) == ("N", "")


def test_the_header_of_continuation_may_be_missing(client):
    client.scenario(faults=[{"kind": "unmarked", "times": 1}])

    assert "cont-yn" not in client.page("5m")[1]
    assert client.page("5m")[1]["cont-yn"] == "Y"


def test_a_key_may_repeat_with_the_same_rows(client):
    first, headers = client.page("5m")
    client.scenario(faults=[{"kind": "stall", "page": 2}])

    second, again = client.page("5m", headers["next-key"])

    assert again["next-key"] == headers["next-key"]
    assert client.page("5m", again["next-key"])[0] == second != first


def test_a_page_may_not_advance_although_its_key_is_new(client):
    first, headers = client.page("5m")
    client.scenario(faults=[{"kind": "restart", "page": 2}])

    second, after = client.page("5m", headers["next-key"])

    assert second == first
    assert after["next-key"] not in {"", headers["next-key"]}


def test_rows_in_the_middle_of_a_page_are_missing_once(client):
    right, _ = client.page("5m")
    client.scenario(faults=[{"kind": "cut", "row": 40, "rows": 3, "times": 1}])

    assert client.page("5m")[0] == right[:40] + right[43:]
    assert client.page("5m")[0] == right


def test_rows_may_be_there_twice_or_in_the_other_order(client):
    right, _ = client.page("1w")
    client.scenario(faults=[{"kind": "doubled", "row": 1, "rows": 2}])
    assert client.page("1w")[0] == right[:1] + right[1:3] + right[1:]

    client.scenario(faults=[{"kind": "reversed"}])
    assert client.page("1w")[0] == right[::-1]


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_an_answer_may_be_stale_for_a_while(client, timeframe):
    client.at("2026-11-19 14:00")
    earlier, _ = client.page(timeframe)
    fault = {"kind": "stale", "as_of": "2026-11-19 14:00"}
    client.scenario(faults=[fault | {"until": "2026-11-21 09:00"}])

    client.at("2026-11-20 21:00")
    assert client.page(timeframe)[0] == earlier
    client.at("2026-11-21 09:00")
    assert client.page(timeframe)[0] != earlier


def test_a_fault_may_be_bounded_in_time_and_to_one_timeframe(client):
    fault = {"kind": "blank", "timeframe": "30m", "since": "2026-11-20 22:00"}
    client.scenario(faults=[fault])
    assert not blank(client.page("30m")[0][0])

    client.at("2026-11-20 22:00")

    assert blank(client.page("30m")[0][0])
    assert not blank(client.page("5m")[0][0])


def test_several_faults_strike_one_answer(client):
    right, _ = client.page("1d")
    client.scenario(
        faults=[
            {"kind": "cut", "row": 0, "rows": 2},
            {"kind": "corrupt", "row": 0},
            {"kind": "last", "rows": 100},
        ]
    )

    rows, headers = client.page("1d")

    assert rows == [right[2] | {"high_pric": "1"}, *right[3:102]]
    assert headers["cont-yn"] == "N"


def test_the_stock_list_may_name_a_stock_twice(client):
    client.scenario(faults=[{"kind": "duplicate_code", "market": "0"}])

    codes = [entry["code"] for entry in client.listing("0")[0]]

    assert codes[0] == codes[1]
    assert len(set(codes)) == len(codes) - 1


def test_a_stock_may_be_in_both_lists(client):
    client.scenario(faults=[{"kind": "both_lists"}])

    twins = {e["code"] for e in client.listing("0")[0]} & {
        e["code"] for e in client.listing("10")[0]
    }

    assert len(twins) == 1
    assert client.listing("10")[0][0]["marketCode"] == "10"


def test_an_entry_of_the_stock_list_may_have_null_fields(client):
    client.scenario(faults=[{"kind": "null_fields"}])

    first, second, *_ = client.listing()[0]

    assert first["code"] is not None
    assert {value for name, value in first.items() if name != "code"} == {None}
    assert None not in second.values()


def test_the_stock_list_may_continue(client):
    whole, _ = client.listing("10")
    client.scenario(faults=[{"kind": "continued"}])

    first, headers = client.listing("10")
    second, last = client.listing("10", headers["next-key"])

    assert first + second == whole
    assert (headers["cont-yn"], last["cont-yn"]) == ("Y", "N")


def test_the_stock_list_may_be_short_or_empty(client):
    client.scenario(faults=[{"kind": "short_list", "rows": 3, "market": "10"}])
    assert len(client.listing("10")[0]) == 3
    assert len(client.listing("0")[0]) == 1_080

    client.scenario(faults=[{"kind": "empty", "api_id": "ka10099"}])
    assert client.listing("0")[0] == []


def test_the_truth_can_be_asked_for_beside_all_faults(client):
    client.at("2026-11-19 14:00")
    earlier, _ = client.page("5m")
    client.at("2026-11-20 21:00")
    client.scenario(faults=[{"kind": "blank"}])
    before = client.broker.requests["ka10080"]

    assert client.page("5m", as_of="2026-11-19 14:00", base="2026-11-19")[0] == earlier
    assert client.broker.requests["ka10080"] == before
