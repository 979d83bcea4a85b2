from __future__ import annotations

import json
from datetime import timedelta

import pytest

from functions.reference_sync.reference_data import bundled_calendar, target_stocks
from functions.reference_sync.sync import BundledData, sync
from shared.errors import MalformedMessage, StockListRejected
from shared.messages import ReferenceRequest
from shared.sessions import SessionOverride
from shared.stocks import Market, MasterChanges, Stock, TargetChange
from tests.support.builders import day, kst

NOW = kst("2026-11-20 08:20")
BUNDLED_DATA = BundledData(calendar=bundled_calendar, targets=target_stocks)
EVERYTHING = {"sync": ["calendar", "stocks"]}
RENAMED = TargetChange(
    code="target_renamed", stock_code="005930", before="삼성", after="가상"
)


def stocks_of(market, count):
    return [
        Stock(
            stock_code=f"{market.value[0]}{n:05}",
            stock_name="가상",
            market_code=market.value,
            market_name=market.name,
        )
        for n in range(count)
    ]


class FakeSessions:
    def __init__(self):
        self.written, self.overrides, self.forgotten = None, [], []

    def write(self, table, *, override=None, forget=None):
        self.written = table
        self.overrides += [override] if override else []
        self.forgotten += [forget] if forget else []
        return len(table.sessions)


class FakeMaster:
    def __init__(self, counts=None, targets=("005930",)):
        self._counts, self._targets = counts or {}, list(targets)
        self.replaced = None
        self.listed = []
        self.upserted = []

    def counts(self):
        return self._counts

    def targets(self):
        return self._targets

    def upsert_all(self, stocks):
        self.upserted += stocks
        return len(stocks)

    def replace_listed(self, stocks, market_codes, unlisted_after):
        self.listed = list(stocks)
        self.replaced = (len(stocks), market_codes, unlisted_after)
        return MasterChanges(
            unlisted=["000010"], relisted=["000020"], targets=[RENAMED]
        )

    def set_targets(self, codes, *, is_target):
        known = [code for code in codes if code != "999999"]
        if is_target:
            self._targets += known
        else:
            self._targets = [code for code in self._targets if code not in known]
        return known


def run(
    message, master=None, sessions=None, listed=stocks_of, now=NOW, sizes=(950, 1820)
):
    master, sessions = master or FakeMaster(), sessions or FakeSessions()
    size = dict(zip(Market, sizes, strict=True))
    result = sync(
        ReferenceRequest.from_bytes(json.dumps(message).encode()),
        lambda market: listed(market, size[market]),
        sessions,
        master,
        BUNDLED_DATA,
        now,
    )
    return result, master, sessions


def test_a_tick_brings_calendar_and_master():
    result, master, sessions = run(EVERYTHING)

    assert sessions.written.last == day("2027-12-31")
    assert master.replaced == (950 + 1820, ["0", "10"], 2)
    assert result.unlisted == ["000010"]
    assert result.relisted == ["000020"]
    assert result.target_changes == [RENAMED]


def test_the_targets_that_are_bundled_are_taken_only_when_there_are_none():
    assert run(EVERYTHING)[1].upserted == []

    _, master, _ = run(EVERYTHING, FakeMaster(targets=()))

    assert len(master.upserted) == 30


def test_a_list_that_cannot_be_true_stops_neither_calendar_nor_targets():
    master, sessions = FakeMaster(targets=()), FakeSessions()

    with pytest.raises(StockListRejected):
        run(EVERYTHING, master, sessions, sizes=(0, 0))

    assert len(master.upserted) == 30
    assert sessions.written is not None
    assert master.replaced is None


@pytest.mark.parametrize("sizes", [(0, 1820), (950, 0), (854, 1820), (950, 1600)])
def test_a_list_that_cannot_be_true_is_rejected_and_nothing_is_changed(sizes):
    master = FakeMaster({"0": 950, "10": 1820})

    with pytest.raises(
        StockListRejected, match=r"the broker lists \d+ stocks and we have"
    ):
        run({"sync": ["stocks"]}, master, sizes=sizes)

    assert master.replaced is None


def test_a_list_may_shrink_a_little():
    _, master, _ = run(
        {"sync": ["stocks"]}, FakeMaster({"0": 950, "10": 1820}), sizes=(856, 1640)
    )

    assert master.replaced is not None


def test_a_stock_that_is_listed_twice_is_kept_once_and_told():
    def twice(market, size):
        return stocks_of(market, size) + stocks_of(Market.KOSPI, 1)

    result, master, _ = run({"sync": ["stocks"]}, listed=twice)

    assert result.listed_twice == ["000000", "000000"]
    assert result.stocks == 950 + 1820
    codes = [stock.stock_code for stock in master.listed]
    assert len(codes) == len(set(codes))
    # In both lists while it moves from KOSDAQ: KOSPI's row is the new one.
    (moved,) = [stock for stock in master.listed if stock.stock_code == "000000"]
    assert moved.market_code == Market.KOSPI


def test_a_list_is_not_made_longer_by_repetition():
    def repeated(market, size):
        return stocks_of(market, size // 2) * 2

    with pytest.raises(StockListRejected):
        run({"sync": ["stocks"]}, FakeMaster({"0": 950}), listed=repeated)


def test_a_calendar_that_ends_soon_is_told():
    assert not run({"sync": ["calendar"]})[0].horizon_is_near

    result, _, _ = run(
        {"sync": ["calendar"]}, now=kst("2027-12-31") - timedelta(days=59)
    )

    assert result.days_left == 59
    assert result.horizon_is_near


def test_an_operator_closes_opens_and_forgets_days():
    christmas_eve = day("2026-12-24")

    _, _, sessions = run({"close": "2026-12-24"})
    assert sessions.overrides == [SessionOverride(christmas_eve, None)]
    assert sessions.written

    _, _, sessions = run({"open": "2026-12-31"})
    (override,) = sessions.overrides
    assert [f"{at:%H:%M}" for at in override.hours] == ["09:00", "15:30"]

    _, _, sessions = run({"open": "2026-12-24", "hours": ["10:00", "15:30"]})
    (override,) = sessions.overrides
    assert [f"{at:%H:%M}" for at in override.hours] == ["10:00", "15:30"]

    _, _, sessions = run({"forget": "2026-12-24"})
    assert (sessions.overrides, sessions.forgotten) == ([], [christmas_eve])


@pytest.mark.parametrize("name", ["open", "close"])
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("0001-01-01", r"out of range; give 1956-03-03 \(the exchange opened\) to"),
        ("1956-03-02", "out of range"),
        ("2029-01-01", r"more than a year after the calendar ends \(2027-12-31\)"),
        ("2099-12-31", "more than a year after .*extend it with `make calendar`"),
        ("9999-12-31", "out of range"),
    ],
)
def test_a_day_that_cannot_be_meant_is_refused_by_name(name, said, reason):
    sessions = FakeSessions()

    with pytest.raises(MalformedMessage, match=f"^{name}: {said} is {reason}"):
        run({name: said}, sessions=sessions)

    assert sessions.written is None


@pytest.mark.parametrize("said", ["1956-03-03", "2028-12-31"])
def test_the_first_and_the_last_day_that_can_be_meant_are_taken(said):
    assert run({"open": said})[2].overrides


def test_whatever_was_said_before_can_be_forgotten():
    assert run({"forget": "9999-12-31"})[2].forgotten


def test_targets_are_added_and_removed():
    _, master, _ = run({"add_targets": ["000660"], "remove_targets": ["005930"]})

    assert master.targets() == ["000660"]


def test_a_target_that_is_not_in_the_master_is_refused_with_the_remedy():
    with pytest.raises(MalformedMessage, match="999999.*sync the stocks first"):
        run({"add_targets": ["999999"]})


def opening(hours):
    return {"open": "2026-12-24", "hours": hours}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({}, "sync: is missing"),
        ({"sync": "stocks"}, "sync: must be a list"),
        ({"sync": ["holidays"]}, "sync: must be a list of calendar and stocks"),
        ({"sync": [["calendar"]]}, "sync: must be a list"),
        ({"sync": {"calendar": 1}}, "sync: must be a list"),
        ({"sync": ["calendar", None]}, "sync: must be a list"),
        ({"close": "tomorrow"}, "close: .* is not a date"),
        ({"close": 20261224}, "close: .* is not a date"),
        ({"close": "\ud800"}, "close: .* is not a date"),
        ({"open": "2026-12-24\0"}, "open: .* is not a date"),
        ({"forget": True}, "forget: True is not a date"),
        ({"close": "2026-12-24", "open": "2026-12-25"}, "open: give only one"),
        ({"close": "2026-12-24", "forget": "2026-12-24"}, "forget: give only one"),
        (opening(["15:30", "10:00"]), "hours: must open before"),
        (opening(["10:00", "10:00"]), "hours: must open before"),
        (opening(["10:03", "15:30"]), "hours: must be multiples of 5 minutes"),
        (opening(["ten", "four"]), "hours: must be two times of the day in Seoul"),
        (opening(["10:00"]), "hours: must be two times"),
        (opening(["10:00", "15:30", "16:00"]), "hours: must be two times"),
        (opening("10:00"), "hours: must be two times"),
        (opening({"10:00": 1, "15:30": 2}), "hours: must be two times"),
        (opening([10, 15]), "hours: must be two times"),
        (opening([]), "hours: must be two times"),
        (opening(["01:00Z", "06:30Z"]), "hours: must be two times"),
        (opening(["10:00+09:00", "15:30+09:00"]), "hours: must be two times"),
        (opening(["10:00:00", "15:30:00"]), "hours: must be two times"),
        (opening(["T10:00", "T15:30"]), "hours: must be two times"),
        (opening(["10", "15"]), "hours: must be two times"),
        (opening(["1000", "1530"]), "hours: must be two times"),
        (opening(["24:00", "25:00"]), "hours: must be two times"),
        (opening(["10:00\n", "15:30"]), "hours: must be two times"),
        (opening(["١٠:٠٠", "15:30"]), "hours: must be two times"),
        ({"close": "2026-12-24", "hours": ["10:00", "15:30"]}, "hours: belong to open"),
        (
            {"forget": "2026-12-24", "hours": ["10:00", "15:30"]},
            "hours: belong to open",
        ),
        ({"add_targets": ["5930"]}, "add_targets: '5930' is not a stock code"),
        ({"add_targets": "005930"}, "add_targets: must be a list"),
        ({"targets": ["005930"]}, "targets: unknown field"),
    ],
)
def test_a_wrong_request_is_refused_by_name(message, reason):
    with pytest.raises(MalformedMessage, match=f"^{reason}"):
        run(message)


def test_a_part_that_is_named_twice_is_synced_once():
    assert run({"sync": ["calendar", "calendar"]})[2].written
