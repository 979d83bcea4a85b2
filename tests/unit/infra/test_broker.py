from __future__ import annotations

import json
from datetime import timedelta

import pytest

from infra.local.broker.charts import CALLS
from tests.support.broker_client import BrokerClient

NAMES = {"ka10080": "stk_min_pole_chart_qry", "ka10081": "stk_dt_pole_chart_qry"}
DAY = {"stk_cd": "005930", "base_dt": "20261120", "upd_stkpc_tp": "1"}
MINUTE = {"stk_cd": "005930", "tic_scope": "5", "upd_stkpc_tp": "1"}


@pytest.fixture
def client():
    return BrokerClient()


def code_of(body):
    return body["return_msg"].partition("[")[2][:4]


def test_a_token_has_the_documented_fields(client, documented):
    answer = client.issue()

    assert set(documented["au10001"]["response"]) <= answer.keys()
    assert answer["return_code"] == 0
    assert answer["expires_dt"] == "20261121210000"


@pytest.mark.parametrize(
    ("app_key", "secret_key", "code"),
    [("app-key", "wrong", "8001"), ("", "app-secret", "8020")],
)
def test_wrong_keys_are_refused_with_http_200(client, app_key, secret_key, code):
    answer = client.issue(app_key, secret_key)

    assert client.status == 200
    assert code_of(answer) == code


def test_a_second_token_is_the_first_one_again(client):
    assert client.issue()["token"] == client.token


def test_a_second_token_may_kill_the_first():
    client = BrokerClient(second_token_kills_first=True)
    client.issue()

    assert code_of(client.call("ka10081", DAY)[0]) == "8005"


def test_a_scenario_decides_what_becomes_of_the_first_token(client):
    first = client.token
    client.scenario(second_token_kills_first=True)

    assert client.issue()["token"] != first


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("null_token", {"token": None}),
        ("empty_token", {"token": ""}),
        ("expired_token", {"expires_dt": "20261120205900"}),
    ],
)
def test_an_answer_may_hold_no_usable_token(client, kind, wrong):
    client.scenario(faults=[{"kind": kind, "times": 1}])

    assert wrong.items() <= client.issue().items()
    assert not wrong.items() <= client.issue().items()


def test_a_token_dies_after_a_day(client):
    client.now += timedelta(hours=24)

    body, _ = client.call("ka10081", DAY)

    assert (client.status, body["return_code"], code_of(body)) == (200, 3, "8005")


@pytest.mark.parametrize(
    ("api_id", "path", "code"),
    [
        ("", "/api/dostk/chart", "1501"),
        ("ka99999", "/api/dostk/chart", "1505"),
        ("ka10099", "/api/dostk/chart", "1504"),
    ],
)
def test_a_wrong_call_is_named(client, api_id, path, code):
    assert code_of(client.call(api_id, {}, path=path)[0]) == code


def test_a_call_without_authorization_is_refused(client):
    body, _ = client.post("/api/dostk/chart", {"api-id": "ka10081"}, DAY)

    assert code_of(body) == "1513"


def test_an_unknown_path_is_a_server_error(client):
    client.post("/api/nothing", {}, {})

    assert client.status == 500


def test_a_missing_field_is_named(client):
    body, _ = client.call("ka10081", {"stk_cd": "005930", "upd_stkpc_tp": "1"})

    assert "1511" in body["return_msg"]
    assert "base_dt" in body["return_msg"]


def test_an_unknown_stock_is_told(client):
    body, _ = client.call("ka10081", DAY | {"stk_cd": "999999"})

    assert (body["return_code"], code_of(body)) == (7, "1902")


def test_a_delisted_stock_gets_one_blank_row(client):
    body, headers = client.call("ka10081", DAY | {"stk_cd": "091990"})

    (row,) = body["stk_dt_pole_chart_qry"]
    assert set(row.values()) == {""}
    assert (body["return_code"], headers["cont-yn"], headers["next-key"]) == (
        0,
        "N",
        "",
    )


@pytest.mark.parametrize(
    ("api_id", "body", "size"), [("ka10080", MINUTE, 900), ("ka10081", DAY, 600)]
)
def test_pages_continue_where_the_last_one_was_cut(client, api_id, body, size):
    first, headers = client.call(api_id, body)
    second, _ = client.call(api_id, body, headers["next-key"])

    rows = first[NAMES[api_id]] + second[NAMES[api_id]]
    instants = [row.get("cntr_tm") or row["dt"] for row in rows]
    assert len(first[NAMES[api_id]]) == size
    assert headers["cont-yn"] == "Y"
    assert len(headers["next-key"]) <= 50
    assert instants == sorted(set(instants), reverse=True)


def test_the_last_page_has_an_empty_key(client):
    _, headers = client.call("ka10082", DAY | {"base_dt": "20140101"})

    assert (headers["cont-yn"], headers["next-key"]) == ("N", "")


def test_a_page_of_minutes_is_cut_inside_a_day(client):
    body, _ = client.call("ka10080", MINUTE)

    oldest = body["stk_min_pole_chart_qry"][-1]["cntr_tm"]
    assert not oldest.endswith("090000")


def test_every_field_on_the_wire_is_documented(client, documented):
    for api_id, call in CALLS.items():
        body, _ = client.call(api_id, MINUTE if api_id == "ka10080" else DAY)
        names = set(documented[api_id]["response"])

        assert {call.rows, *body[call.rows][0]} <= names
        assert set(call.required) <= set(documented[api_id]["request"])


def test_the_listing_has_the_documented_fields(client, documented):
    body, headers = client.call("ka10099", {"mrkt_tp": "10"}, path="/api/dostk/stkinfo")

    assert set(body["list"][0]) <= set(documented["ka10099"]["response"])
    assert len(body["list"]) == 1_820
    assert headers["cont-yn"] == "N"


def test_minutes_are_coloured_and_days_are_not(client):
    minutes, _ = client.call("ka10080", MINUTE)
    days, _ = client.call("ka10081", DAY)

    signs = {row["cur_prc"][0] for row in minutes["stk_min_pole_chart_qry"]}
    assert {"+", "-"} <= signs
    assert all(row["cur_prc"].isdigit() for row in days["stk_dt_pole_chart_qry"])


def test_a_base_date_in_the_future_is_today(client):
    body, _ = client.call("ka10081", DAY | {"base_dt": "20300101"})

    assert body["stk_dt_pole_chart_qry"][0]["dt"] == "20261120"


def test_a_base_date_on_a_holiday_is_the_day_before(client):
    body, _ = client.call("ka10081", DAY | {"base_dt": "20261009"})

    assert body["stk_dt_pole_chart_qry"][0]["dt"] == "20261008"


def test_prices_are_adjusted_relative_to_the_base_date():
    client = BrokerClient()
    client.scenario(actions={"005930": [["2026-11-18", 5]]})

    def close(base, dt="20261117", adjusted="1"):
        asked = DAY | {"base_dt": base, "upd_stkpc_tp": adjusted}
        rows = client.call("ka10081", asked)[0]["stk_dt_pole_chart_qry"]
        return next(int(row["cur_prc"]) for row in rows if row["dt"] == dt)

    raw = close("20261120", adjusted="0")
    assert close("20261117") == raw
    assert close("20261120") == round(raw / 5)
    assert close("20261120", dt="20261118") == close("20261118", dt="20261118")


def test_the_limit_counts_for_each_call_alone():
    client = BrokerClient(limit=5)
    for _ in range(5):
        assert client.call("ka10081", DAY)[0]["return_code"] == 0

    body, _ = client.call("ka10081", DAY)

    assert (client.status, body["return_code"]) == (429, 5)
    assert "[1700:" in body["return_msg"]
    assert "유량=5, API ID=ka10081" in body["return_msg"]
    assert client.call("ka10082", DAY)[0]["return_code"] == 0
    client.seconds += 1.01
    assert client.call("ka10081", DAY)[0]["return_code"] == 0


@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        ("server_error", 500, "INTERNAL_SERVER_ERROR"),
        ("rate_limit", 429, "1700"),
        ("token_dies", 200, "8005"),
        ("reject", 200, "2000"),
    ],
)
def test_faults_show_as_often_as_the_scenario_says(client, kind, status, text):
    client.scenario(faults=[{"kind": kind, "times": 1, "stock_code": "005930"}])

    body, _ = client.call("ka10081", DAY)

    assert client.status == status
    assert text in json.dumps(body)
    client.token = client.issue()["token"]
    assert client.call("ka10081", DAY)[0]["return_code"] == 0


def test_a_fault_may_wait_for_the_second_page(client):
    client.scenario(faults=[{"kind": "server_error", "page": 2}])
    _, headers = client.call("ka10081", DAY)
    assert client.status == 200

    client.call("ka10081", DAY, headers["next-key"])

    assert client.status == 500


def test_rows_can_be_spoilt(client):
    client.scenario(faults=[{"kind": "corrupt", "times": 1}])
    assert (
        client.call("ka10081", DAY)[0]["stk_dt_pole_chart_qry"][0]["high_pric"] == "1"
    )

    client.scenario(faults=[{"kind": "empty", "times": 1}])
    assert client.call("ka10081", DAY)[0]["stk_dt_pole_chart_qry"] == []

    client.scenario(faults=[{"kind": "blank", "times": 1}])
    assert client.call("ka10081", DAY)[0]["stk_dt_pole_chart_qry"][0]["dt"] == ""


def test_a_broker_in_circles_repeats_its_key(client):
    client.scenario(faults=[{"kind": "stall", "page": 2}])
    _, headers = client.call("ka10081", DAY)

    _, again = client.call("ka10081", DAY, headers["next-key"])

    assert again["next-key"] == headers["next-key"]


def test_an_unknown_fault_is_refused(client):
    assert "error" in client.scenario(faults=[{"kind": "meteor"}])
    assert "error" in client.scenario(faults=[{"kind": "html", "often": 3}])


def test_requests_are_counted(client):
    client.call("ka10081", DAY)

    seen = client.post("/simulator/requests", {}, {})[0]

    assert seen["requests"] == {"au10001": 1, "ka10081": 1}
    assert seen["log"][-1] == {
        "api_id": "ka10081",
        "stock_code": "005930",
        "timeframe": "1d",
        "page": 1,
    }
