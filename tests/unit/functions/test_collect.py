from __future__ import annotations

from dataclasses import replace

import pytest

from functions.collector.collect import collect
from shared.candles import Timeframe
from shared.errors import Busy, KiwoomUnavailable, NoCandles, UnknownStock
from shared.modes import Mode
from shared.series import Series
from tests.support.builders import CALENDAR, a_candle, a_request, day, kst
from tests.support.fakes import FakeLedger, FakePage, FakeSource, FakeStore

NOW = kst("2026-11-20 10:30")
DAYS = [
    str(date) for date in CALENDAR.session_dates(day("2026-10-01"), day("2026-11-20"))
]
CANDLES = [a_candle(date) for date in DAYS]


def run(source, ledger=None, *, now=NOW, timeframe="1d", known=(), **request):
    store = FakeStore(known=known)
    outcome = collect(
        a_request(timeframe, **request),
        source,
        ledger or FakeLedger(),
        store,
        lambda: now,
    )
    return outcome, store


def test_a_first_load_stores_what_is_wanted_and_nothing_older():
    outcome, store = run(FakeSource(CANDLES), start=day("2026-11-16"))

    (harvest,) = store.harvests
    assert [str(c.opened_at.date()) for c in harvest.candles] == DAYS[-5:]
    assert (outcome.state, outcome.requests) == ("done", 2)
    assert outcome.counts.inserted == 5


def test_the_series_says_what_was_asked_for():
    _, store = run(FakeSource(CANDLES), start=day("2026-11-14"))

    series = store.harvests[0].series
    assert series.covered_from == day("2026-11-14")
    assert series.oldest == day("2026-11-16")
    assert series.settled_through == day("2026-11-19")
    assert not series.history_exhausted


def test_a_page_that_ends_at_the_first_wanted_candle_is_the_last_request():
    source = FakeSource(CANDLES, page_size=5)

    outcome, _ = run(source, start=day("2026-11-14"))

    assert outcome.requests == 1


def test_history_is_exhausted_where_the_broker_ends():
    _, store = run(FakeSource(CANDLES), start=day("2026-09-01"))

    series = store.harvests[0].series
    assert series.history_exhausted
    assert series.covered_from == day("2026-09-01")


def test_a_page_that_reaches_behind_the_start_does_not_exhaust_history():
    """The broker's last page holds days that nobody has asked for yet."""
    _, store = run(FakeSource(CANDLES, page_size=100), start=day("2026-11-16"))
    series = store.harvests[0].series
    assert not series.history_exhausted

    _, store = run(
        FakeSource(CANDLES, page_size=100),
        FakeLedger(series),
        mode=Mode.BACKFILL,
        start=day("2026-10-01"),
    )

    assert store.harvests[0].candles[0].opened_at == kst("2026-10-01")
    assert store.harvests[0].series.history_exhausted


def test_a_tick_brings_the_days_since_and_the_joint():
    series = Series(
        covered_from=day("2026-10-01"),
        settled_through=day("2026-11-18"),
        oldest=day("2026-10-01"),
    )

    outcome, store = run(FakeSource(CANDLES), FakeLedger(series))

    dates = [str(c.opened_at.date()) for c in store.harvests[0].candles]
    assert dates == ["2026-11-18", "2026-11-19", "2026-11-20"]
    assert outcome.requests == 1
    assert store.harvests[0].series.settled_through == day("2026-11-19")


def test_nothing_to_ask_is_done_without_a_request():
    series = Series(covered_from=day("2026-10-01"), settled_through=day("2026-11-20"))
    source = FakeSource(CANDLES)

    outcome, store = run(source, FakeLedger(series), now=kst("2026-11-21 12:00"))

    assert (outcome.state, outcome.requests) == ("done", 0)
    assert source.asked == []
    assert store.harvests[0].series == series


def test_a_finished_task_is_not_done_again():
    source = FakeSource(CANDLES)

    outcome, store = run(source, FakeLedger(finished=True))

    assert outcome.state == "finished_before"
    assert source.asked == store.harvests == []


def test_a_busy_series_is_left_alone():
    source = FakeSource(CANDLES)

    with pytest.raises(Busy):
        run(source, FakeLedger(busy=True))

    assert source.asked == []


def test_a_page_that_fails_stores_nothing():
    source = FakeSource(CANDLES, fails_on_page=2)
    source.error = KiwoomUnavailable("down")
    ledger, store = FakeLedger(), FakeStore()

    with pytest.raises(KiwoomUnavailable):
        collect(a_request(start=day("2026-10-01")), source, ledger, store, lambda: NOW)

    assert store.harvests == []
    assert ledger.errors == [source.error]


def test_nothing_where_candles_were_due_is_a_failure():
    with pytest.raises(NoCandles, match=r"no 1d candles of 005930, which is listed"):
        run(FakeSource(blank=True))


def test_an_empty_page_is_a_failure_that_may_pass():
    class Empty(FakeSource):
        def pages(self, *_, **__):
            yield FakePage(last=True)

    with pytest.raises(KiwoomUnavailable, match="without a single candle"):
        run(Empty())


def test_a_delisted_stock_has_no_data_and_is_not_asked_again():
    ledger = FakeLedger(listed=False)

    outcome, store = run(FakeSource(blank=True), ledger)

    ended = store.harvests[0].series
    assert (outcome.state, outcome.requests) == ("no_data", 1)
    assert ended.ended

    source = FakeSource(blank=True)
    outcome, _ = run(source, FakeLedger(ended, listed=False))

    assert (outcome.state, outcome.requests) == ("no_data", 0)
    assert source.asked == []


@pytest.mark.parametrize("listed", [True, False])
def test_a_code_that_the_broker_forgot_is_an_error_unless_it_is_delisted(listed):
    source = FakeSource(CANDLES, fails_on_page=1)
    source.error = UnknownStock("1902")

    if listed:
        with pytest.raises(UnknownStock):
            run(source)
    else:
        outcome, _ = run(source, FakeLedger(listed=False))
        assert (outcome.state, outcome.requests) == ("no_data", 1)


def test_an_earlier_start_reads_only_what_is_missing():
    series = Series(
        covered_from=day("2026-11-10"),
        settled_through=day("2026-11-20"),
        oldest=day("2026-11-10"),
    )
    source = FakeSource(CANDLES)

    _, store = run(
        source,
        FakeLedger(series),
        now=kst("2026-11-20 21:00"),
        mode=Mode.BACKFILL,
        start=day("2026-11-05"),
    )

    (asked,) = source.asked
    assert asked == day("2026-11-10")
    dates = [str(c.opened_at.date()) for c in store.harvests[0].candles]
    assert dates == ["2026-11-05", "2026-11-06", "2026-11-09", "2026-11-10"]


def test_the_retention_of_minutes_may_have_passed_what_we_have():
    series = Series(
        covered_from=day("2025-12-01"),
        settled_through=day("2026-11-20"),
        oldest=day("2025-12-01"),
    )

    outcome, store = run(
        FakeSource(blank=True),
        FakeLedger(series),
        now=kst("2026-11-20 21:00"),
        timeframe="60m",
        mode=Mode.BACKFILL,
        start=day("2025-11-24"),
    )

    assert outcome.state == "done"
    assert store.harvests[0].series.history_exhausted


def test_candles_come_out_in_order_and_once():
    doubled = [*CANDLES, a_candle("2026-11-19", close=70_600)]
    _, store = run(FakeSource(doubled, page_size=2), start=day("2026-11-16"))

    instants = [candle.opened_at for candle in store.harvests[0].candles]
    assert instants == sorted(set(instants))


def test_the_series_is_kept_while_requests_wait():
    ledger = FakeLedger()

    outcome, _ = run(FakeSource(CANDLES), ledger, start=day("2026-11-02"))

    assert ledger.kept == outcome.requests == 5


def test_candles_of_another_timeframe_do_not_get_in():
    weeks = [a_candle("2026-11-16", timeframe=Timeframe.WEEK_1)]

    with pytest.raises(NoCandles):
        run(FakeSource(weeks))


def split(candles, before, ratio):
    """The broker's candles after an action: what is before it is on the new basis."""
    return [
        replace(
            candle,
            open=round(candle.open * ratio),
            high=round(candle.high * ratio),
            low=round(candle.low * ratio),
            close=round(candle.close * ratio),
        )
        if candle.opened_at < kst(before)
        else candle
        for candle in candles
    ]


COVERED = Series(
    covered_from=day("2026-10-01"),
    settled_through=day("2026-11-18"),
    joint=day("2026-11-18"),
    oldest=day("2026-10-01"),
)


def test_a_split_between_two_runs_rebuilds_the_whole_series():
    source = FakeSource(split(CANDLES, "2026-11-19", 0.2), page_size=10)

    outcome, store = run(source, FakeLedger(COVERED), known=CANDLES)

    harvest = store.harvests[0]
    assert len(harvest.candles) == len(CANDLES)
    assert harvest.candles[0].close == 14_100
    assert outcome.ratio == harvest.rebase.ratio == pytest.approx(0.2)
    assert (harvest.rebase.after, harvest.rebase.effective_by) == (
        day("2026-11-18"),
        day("2026-11-20"),
    )
    assert harvest.series.settled_through == day("2026-11-19")


def test_a_rebuild_goes_on_where_the_joint_was_found():
    """The pages that showed the new basis are not asked for again."""
    source = FakeSource(split(CANDLES, "2026-11-19", 0.2), page_size=10)

    outcome, _ = run(source, FakeLedger(COVERED), known=CANDLES)

    assert len(source.asked) == 1
    assert outcome.requests == len(range(0, len(CANDLES), 10))


def test_a_split_that_happened_inside_the_covered_range_is_met_by_a_backfill():
    """Asked for by its own day, the joint stands on a basis that is long gone."""

    class Relative(FakeSource):
        def pages(self, stock_code, timeframe, *, anchor, calendar, meter, cursor=None):
            now = anchor >= day("2026-11-10")
            self.candles = sorted(
                split(CANDLES, "2026-11-10", 0.2) if now else CANDLES,
                key=lambda candle: candle.opened_at,
                reverse=True,
            )
            yield from super().pages(
                stock_code, timeframe, anchor=anchor, calendar=calendar, meter=meter
            )

    ours = split(CANDLES, "2026-11-10", 0.2)
    covered = replace(
        COVERED, covered_from=day("2026-11-02"), oldest=day("2026-11-02"),
        settled_through=day("2026-11-20"), joint=day("2026-11-20"),
    )  # fmt: skip

    outcome, store = run(
        Relative(page_size=5),
        FakeLedger(covered),
        now=kst("2026-11-20 21:00"),
        known=ours,
        mode=Mode.BACKFILL,
        start=day("2026-10-12"),
    )

    harvest = store.harvests[0]
    assert {c.close for c in harvest.candles if c.opened_at < kst("2026-11-10")} == {
        14_100
    }
    assert harvest.rebase is None
    assert outcome.state == "done"
    assert harvest.series.covered_from == day("2026-10-12")


def test_a_revision_is_no_split():
    revised = [
        replace(candle, close=70_900)
        if candle.opened_at == kst("2026-11-18")
        else candle
        for candle in CANDLES
    ]

    outcome, store = run(FakeSource(revised), FakeLedger(COVERED), known=CANDLES)

    assert outcome.ratio is None
    assert len(store.harvests[0].candles) == 3


def test_a_rebuild_looks_at_the_joint_although_nothing_is_new():
    settled = replace(
        COVERED, settled_through=day("2026-11-20"), joint=day("2026-11-20")
    )
    evening = kst("2026-11-20 21:00")
    moved = FakeSource(split(CANDLES, "2026-11-21", 0.5), page_size=50)
    same = FakeSource(CANDLES, page_size=50)

    outcome, _ = run(
        moved, FakeLedger(settled), now=evening, known=CANDLES, mode=Mode.REBUILD
    )
    again, _ = run(
        same, FakeLedger(settled), now=evening, known=CANDLES, mode=Mode.REBUILD
    )

    assert (outcome.ratio, outcome.requests) == (0.5, 1)
    assert (again.ratio, again.requests) == (None, 1)
