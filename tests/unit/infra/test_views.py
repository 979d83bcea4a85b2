"""What the broker discloses, corrects and takes back, as it is seen on the wire."""

from __future__ import annotations

import pytest

from tests.support.broker_client import BrokerClient, a_market
from tests.support.builders import day

MINUTES = ("5m", "30m", "60m")
TIMEFRAMES = (*MINUTES, "1d", "1w")
# Where the candles of all timeframes open that hold a five-minute candle.
AT = {"5m": "2026-11-18 10:30", "30m": "2026-11-18 10:30", "60m": "2026-11-18 10:00"}
AT |= {"1d": "2026-11-18", "1w": "2026-11-16"}


@pytest.fixture
def client():
    return BrokerClient()


def rows(client, **more):
    return {t: client.row(t, at, **more) for t, at in AT.items()}


def changed(before, after):
    return {timeframe for timeframe in AT if before[timeframe] != after[timeframe]}


def edit(timeframe, **more):
    return {"stock_code": "005930", "timeframe": timeframe, "at": AT[timeframe]} | more


def test_a_correction_of_a_day_is_in_its_week_and_in_no_minute(client):
    before = rows(client)
    change = {"close": 1, "volume": 7}
    client.scenario(corrections=[edit("1d", changes=change)])

    after = rows(client)

    assert changed(before, after) == {"1d", "1w"}
    o, h, l, c, v = before["1d"]  # noqa: E741
    assert after["1d"] == (o, max(h, c + 1), l, c + 1, v + 7)
    assert after["1w"][4] == before["1w"][4] + 7


def test_a_correction_of_a_minute_is_in_the_longer_ones(client):
    before = rows(client)
    client.scenario(corrections=[edit("5m", changes={"high": 100_000, "volume": 9})])

    after = rows(client)

    assert changed(before, after) == set(MINUTES)
    for timeframe in MINUTES:
        assert after[timeframe][1] == before["5m"][1] + 100_000
        assert after[timeframe][4] == before[timeframe][4] + 9


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_an_edit_may_stand_alone_in_its_timeframe(client, timeframe):
    before = rows(client)
    change = {"low": -50}
    client.scenario(corrections=[edit(timeframe, changes=change, alone=True)])

    after = rows(client)

    assert changed(before, after) == {timeframe}
    assert after[timeframe][2] == before[timeframe][2] - 50


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_a_correction_shows_from_an_instant_on_and_until_another(client, timeframe):
    before = rows(client)
    correction = edit(timeframe, changes={"high": 5_000})
    correction |= {"since": "2026-11-21 03:00", "until": "2026-11-22 03:00"}
    client.scenario(corrections=[correction])

    assert client.row(timeframe, AT[timeframe]) == before[timeframe]
    client.at("2026-11-21 03:00")
    assert client.row(timeframe, AT[timeframe])[1] == before[timeframe][1] + 5_000
    client.at("2026-11-22 03:00")
    assert client.row(timeframe, AT[timeframe])[1] == before[timeframe][1]


def test_a_correction_is_in_the_shares_of_its_day(client):
    client.scenario(corrections=[edit("1d", changes={"high": 1_000, "volume": 10})])
    before = client.row("1d", AT["1d"])
    client.scenario(actions={"005930": [["2026-11-19", 5]]})

    _, high, _, _, volume = client.row("1d", AT["1d"])

    assert high == round(before[1] / 5)
    assert volume == before[4] * 5


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_a_candle_is_no_longer_served(client, timeframe):
    before = rows(client)
    client.scenario(withdrawals=[edit(timeframe, since="2026-11-21 03:00")])
    assert rows(client) == before

    client.at("2026-11-21 03:00")

    assert client.row(timeframe, AT[timeframe]) is None
    built = {"5m": {"30m", "60m"}, "1d": {"1w"}}.get(timeframe, set())
    assert built <= changed(before, rows(client))


def test_a_span_of_candles_is_no_longer_served(client):
    right = [row["cntr_tm"] for row in client.page("5m")[0]]
    client.scenario(withdrawals=[edit("5m", through="2026-11-18 11:00")])

    found = [row["cntr_tm"] for row in client.page("5m")[0]]

    assert [at for at in right if at not in found] == [
        f"20261118{clock}00"
        for clock in ("1100", "1055", "1050", "1045", "1040", "1035", "1030")
    ]


def test_a_phantom_is_served_for_a_while(client):
    phantom = {"stock_code": "005930", "timeframe": "5m", "at": "2026-11-18 15:20"}
    phantom |= {"price": 70_000, "volume": 3, "until": "2026-11-21 03:00"}
    client.scenario(phantoms=[phantom])

    flat = (70_000,) * 4
    assert client.row("5m", "2026-11-18 15:20") == (*flat, 3)
    client.at("2026-11-21 03:00")
    assert client.row("5m", "2026-11-18 15:20") is None


def test_a_day_is_served_that_has_not_begun(client):
    client.at("2026-11-23 08:30")
    phantom = {"stock_code": "005930", "timeframe": "1d", "at": "2026-11-23"}
    phantom |= {"volume": 0, "until": "2026-11-23 09:00"}
    client.scenario(phantoms=[phantom])

    friday, monday = (client.row("1d", f"2026-11-{day}") for day in (20, 23))

    assert monday == (friday[3],) * 4 + (0,)
    assert client.row("1d", "2026-11-24") is None


def test_a_week_is_dated_by_another_day_for_a_while(client):
    right = client.row("1w", "2026-11-16")
    week = {"stock_code": "005930", "week": "2026-11-18", "shown_on": "2026-11-17"}
    client.scenario(redated_weeks=[week | {"until": "2026-11-20 22:00"}])

    assert client.row("1w", "2026-11-16") is None
    assert client.row("1w", "2026-11-17") == right
    client.at("2026-11-20 22:00")
    assert client.row("1w", "2026-11-16") == right


def close(client, timeframe, at):
    return client.row(timeframe, at)[3]


@pytest.mark.parametrize("ratio", [5.0, 0.1, 1.3])
def test_an_action_adjusts_prices_and_the_volume_of_days_and_weeks(client, ratio):
    client.at("2026-11-21 09:00")
    before = rows(client)
    client.scenario(actions={"005930": [["2026-11-21", ratio]]})

    after = rows(client)

    for timeframe in AT:
        assert after[timeframe][3] == round(before[timeframe][3] / ratio)
        volume = before[timeframe][4]
        volume = volume if timeframe in MINUTES else round(volume * ratio)
        assert after[timeframe][4] == pytest.approx(volume, abs=3)


def test_the_broker_may_adjust_later_and_each_timeframe_at_its_own_time(client):
    before = rows(client)
    action = {"effective_on": "2026-11-19", "ratio": 2}
    action["shown_from"] = {"1d": "2026-11-21 07:00", "5m": "2026-11-20 20:00"}
    client.scenario(actions={"005930": [action]})

    assert changed(before, rows(client)) == {"5m", "30m", "60m", "1w"}
    assert close(client, "1d", "2026-11-19") < 0.7 * close(client, "1d", "2026-11-18")
    client.at("2026-11-21 07:00")
    assert changed(before, rows(client)) == set(AT)
    assert close(client, "1d", "2026-11-19") > 0.7 * close(client, "1d", "2026-11-18")


def test_the_broker_may_adjust_recent_days_first(client):
    old = "2026-10-01"
    before = close(client, "1d", old)
    action = {"effective_on": "2026-11-20", "ratio": 2, "recent_days": 10}
    action["rest_from"] = "2026-11-21 07:00"
    client.scenario(actions={"005930": [action]})

    assert close(client, "1d", old) == before
    assert close(client, "1d", "2026-11-18") < 0.7 * before
    client.at("2026-11-21 07:00")
    assert close(client, "1d", old) == round(before / 2)


@pytest.mark.parametrize(("level", "ratio"), [(50, 1.01), (216, 1.005), (300, 0.997)])
def test_a_small_ratio_moves_few_prices_of_a_cheap_stock(level, ratio):
    client = BrokerClient(a_market(levels=(("005930", level),)))
    before, _ = client.page("1d")
    client.scenario(actions={"005930": [["2026-11-20", ratio]]})

    after, _ = client.page("1d")

    pairs = list(zip(before[1:], after[1:], strict=True))
    for old, new in pairs:
        assert abs(int(new["cur_prc"]) - int(old["cur_prc"]) / ratio) <= 0.5
    assert any(old["cur_prc"] != new["cur_prc"] for old, new in pairs)
    assert all(old["trde_qty"] != new["trde_qty"] for old, new in pairs)


def test_a_reduction_inside_a_halt_shows_in_flat_days_and_in_no_minute():
    halt = (day("2026-02-02"), day("2026-11-13"))
    client = BrokerClient(a_market(halts=(("005930", halt),)))
    before = client.row("1d", "2026-06-01")
    client.scenario(actions={"005930": [["2026-08-03", 0.1]]})

    after = client.row("1d", "2026-06-01")

    assert before == (before[3],) * 4 + (0,)
    assert after == (before[3] * 10,) * 4 + (0,)
    assert client.row("5m", "2026-06-01 10:00", base="2026-06-01") is None
    assert client.row("1d", "2026-11-16")[3] > 5 * before[3]


def test_a_stock_is_delisted_and_listed_again(client):
    client.scenario(
        delistings=[
            {
                "stock_code": "005930",
                "since": "2026-11-21 06:00",
                "until": "2026-11-25 06:00",
                "listed_on": "2026-11-25",
                "serves_from": "2026-11-19",
            }
        ]
    )

    def entry():
        return next((e for e in client.listing()[0] if e["code"] == "005930"), None)

    assert client.row("1d", "2026-11-18")
    assert entry()["regDay"] == "20100104"
    client.at("2026-11-24 10:00")
    assert [row["dt"] for row in client.page("1d")[0]] == [""]
    assert entry() is None
    client.at("2026-11-25 10:00")
    assert entry()["regDay"] == "20261125"
    assert [row["dt"] for row in client.page("1d")[0]] == [
        f"202611{day}" for day in (25, 24, 23, 20, 19)
    ]


def test_a_scenario_is_told_back_and_its_parts_are_replaced_one_by_one(client):
    first = client.scenario(
        actions={"005930": [["2026-11-18", 5]]},
        corrections=[edit("1d", changes={"high": 1})],
    )
    second = client.scenario(corrections=[])

    assert first["corrections"][0]["at"] == "2026-11-18T00:00:00+09:00"
    assert second["corrections"] == []
    assert second["actions"] == first["actions"]
    assert client.scenario(**second) == second


@pytest.mark.parametrize(
    "scenario",
    [
        {"meteors": []},
        {"faults": [{"kind": "meteor"}]},
        {"corrections": [{"stock_code": "005930"}]},
        {"withdrawals": [{"often": 3}]},
        {"actions": {"005930": [["yesterday", 5]]}},
        {"phantoms": ["boo"]},
    ],
)
def test_a_malformed_scenario_is_refused(client, scenario):
    assert "error" in client.scenario(**scenario)
    assert client.status == 400
