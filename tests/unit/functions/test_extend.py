"""Newer and older days, the four verdicts on the price basis, and what they lead to."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from fractions import Fraction

import pytest

from functions.collector import extend
from shared.candles import Timeframe
from shared.errors import (
    KiwoomUnavailable,
    NoCandles,
    PriceBasisUnproven,
    UnknownStock,
)
from shared.modes import Mode
from shared.series import PriceMove
from shared.sessions import DAY, kst_date
from tests.support.builders import a_candle, day, kst
from tests.support.collecting import Desk, market, sessions, slots
from tests.support.fake_series import (
    blank,
    ends_early,
    full_and_last,
    scaled,
    spoilt,
    stale,
    undated,
    without,
)

CANDLES = market()
SPLIT = Fraction(1, 5)


def loaded(page_size=100, *, timeframe="1d", start="2026-10-08", **more):
    """A series from 2026-10-08 to the evening of 2026-11-18, settled to the 17th."""
    candles = more.pop("candles", None) or market(timeframe)
    desk = Desk(candles, page_size, **{"now": "2026-11-18 21:00", **more})
    desk.run(timeframe, start=start)
    return desk


def between(candles, first, last="2026-11-20"):
    days = day(first), day(last)
    return [c for c in candles if days[0] <= kst_date(c.opened_at) <= days[1]]


def moved_before(candles, date, ratio=SPLIT):
    return [
        scaled(candle, ratio) if kst_date(candle.opened_at) < day(date) else candle
        for candle in candles
    ]


# Newer days


def test_a_tick_reads_one_page_from_today():
    desk = loaded()

    assert desk.asks(now="2026-11-20 10:30") == [1]
    assert desk.source.anchors[-1] == day("2026-11-20")
    assert desk.stored() == between(CANDLES, "2026-10-08")


def test_nothing_that_can_be_new_is_no_request():
    desk = loaded()
    desk.run(now="2026-11-19 08:00")

    assert desk.asks(now="2026-11-19 08:30") == []
    assert desk.series().settled_through == day("2026-11-18")


def test_a_candle_that_forms_today_is_overwritten_without_a_revision():
    desk = loaded()
    desk.run(now="2026-11-20 10:30")
    desk.source.candles[-1] = replace(CANDLES[-1], close=CANDLES[-1].high)

    result = desk.run(now="2026-11-20 11:00")

    assert (result.stored.counts.updated, result.stored.counts.revised) == (1, 0)


# Asked: through when all that the broker had was asked for


def test_a_tick_and_a_first_load_ask_for_all_that_there_is():
    desk = loaded()
    assert desk.asked_at() == kst("2026-11-18 21:00")

    desk.run(now="2026-11-19 10:30")
    assert desk.asked_at() == kst("2026-11-19 10:30")


def test_a_tick_that_finds_nothing_new_has_asked():
    desk = loaded()
    desk.source.candles = between(CANDLES, "2026-10-08", "2026-11-18")
    desk.ledger.halted = True

    desk.run(now="2026-11-19 10:30")

    assert desk.asked_at() == kst("2026-11-19 10:30")


def test_where_all_is_settled_no_request_is_needed_to_know_that_nothing_is_new():
    desk = loaded()
    desk.run(now="2026-11-19 08:00")

    assert desk.asks(now="2026-11-19 08:30") == []
    assert desk.asked_at() == kst("2026-11-19 08:30")


def test_a_task_that_asks_nothing_proves_nothing_of_what_may_be_new():
    desk = loaded()
    desk.run(now="2026-11-19 08:00")

    ours = {"start": "2026-10-08", "end": "2026-11-18", "mode": Mode.BACKFILL}
    assert desk.asks(now="2026-11-19 10:30", **ours) == []
    assert desk.asked_at() == kst("2026-11-19 08:00")


@pytest.mark.parametrize("mode", [Mode.BACKFILL, Mode.VERIFY])
def test_old_days_that_are_read_again_prove_nothing_of_the_newest(mode):
    desk = loaded()

    asked = desk.asks(
        now="2026-11-20 10:30",
        start="2026-09-01",
        end="2026-10-20",
        mode=mode,
        force=mode is Mode.BACKFILL,
    )

    assert asked
    assert desk.asked_at() == kst("2026-11-18 21:00")


def test_a_verification_of_all_days_has_asked_for_the_newest():
    desk = loaded()

    desk.run(now="2026-11-19 10:30", mode=Mode.VERIFY)

    assert desk.asked_at() == kst("2026-11-19 10:30")


def test_a_range_that_ends_asks_for_no_more_than_the_end_of_its_last_day():
    desk = loaded()

    desk.run(now="2026-11-20 10:30", end="2026-11-20", mode=Mode.BACKFILL)

    assert desk.asked_at() == kst("2026-11-20 00:00")


def test_an_attempt_that_goes_on_with_pages_has_asked_when_they_were_read():
    desk = loaded(page_size=1)
    desk.source.odd = {2: [KiwoomUnavailable("no answer")]}
    task = desk.task()
    desk.now = kst("2026-11-20 10:30")
    with pytest.raises(KiwoomUnavailable):
        desk.attempt(task)

    desk.now += timedelta(minutes=5)
    desk.attempt(task)

    assert desk.asked_at() == kst("2026-11-20 10:30")


def test_a_listed_stock_of_which_the_broker_has_nothing_was_asked_for():
    desk = Desk([], now="2026-11-19 21:00")
    desk.ledger.halted = True

    desk.run()

    assert desk.asked_at() == kst("2026-11-19 21:00")


# Settled: read on a later day, as far as the newest row proves


def test_a_session_settles_on_a_later_day_only():
    desk = loaded()
    assert desk.series().settled_through == day("2026-11-17")

    desk.run(now="2026-11-18 23:59")
    assert desk.series().settled_through == day("2026-11-17")

    desk.run(now="2026-11-19 00:10")
    assert desk.series().settled_through == day("2026-11-18")


def test_a_session_without_a_row_does_not_settle_and_is_missing():
    desk = loaded()
    desk.source.odd = {1: without("2026-11-19")}

    result = desk.run(now="2026-11-20 08:00")

    assert desk.series().settled_through == day("2026-11-18")
    assert result.state == "incomplete"
    assert result.stored.missing == (kst("2026-11-19"),)


def test_a_halted_stock_is_not_missed():
    desk = loaded()
    desk.ledger.halted = True
    desk.source.odd = {1: without("2026-11-19")}

    result = desk.run(now="2026-11-20 08:00")

    assert (result.state, result.stored.missing) == ("done", ())
    assert desk.series().settled_through == day("2026-11-18")


def test_minutes_settle_a_session_once_its_closing_auction_is_there():
    desk = loaded(300, timeframe="60m")
    desk.source.odd = {1: stale(kst("2026-11-19 14:00"))}
    result = desk.run("60m", now="2026-11-20 08:00")
    assert desk.series("60m").settled_through == day("2026-11-18")
    assert result.state == "done"

    desk.source.odd = {}
    desk.run("60m", now="2026-11-20 08:05")
    assert desk.series("60m").settled_through == day("2026-11-19")


def test_a_week_settles_after_its_last_session():
    weeks = market("1w", "2026-01-05")
    desk = Desk(weeks, now="2026-11-20 21:00")
    desk.run("1w", start="2026-01-05")
    assert desk.series("1w").settled_through == day("2026-11-13")

    desk.run("1w", now="2026-11-21 08:00")
    assert desk.series("1w").settled_through == day("2026-11-20")


def test_an_answer_older_than_one_of_before_is_refused():
    desk = loaded()
    desk.run(now="2026-11-20 10:30")
    desk.source.odd = {1: without("2026-11-20")}

    with pytest.raises(KiwoomUnavailable, match="older than one that it gave before"):
        desk.run(now="2026-11-20 10:35")

    assert desk.stored()[-1].opened_at == kst("2026-11-20")


def test_an_older_answer_within_today_is_refused_too():
    desk = loaded(300, timeframe="60m")
    desk.run("60m", now="2026-11-20 21:00")
    desk.source.odd = {1: stale(kst("2026-11-20 11:00"))}

    with pytest.raises(KiwoomUnavailable, match="older than one"):
        desk.run("60m", now="2026-11-20 21:05")


# The four verdicts


def test_the_same_prices_join():
    desk = loaded()

    result = desk.run(now="2026-11-20 10:30")

    assert (result.state, result.move) == ("done", None)
    assert result.stored.counts.updated == 0


def test_a_settled_day_of_any_age_that_was_read_anyway_is_revised():
    desk = loaded()
    desk.changes("2026-10-20", high=90_000)

    result = desk.run(now="2026-11-20 10:30")

    assert (result.requests, result.move) == (1, None)
    assert result.stored.counts.revised == 1
    assert desk.stored() == between(CANDLES, "2026-10-08")


def test_a_move_rebuilds_the_whole_series_from_the_pages_that_showed_it():
    desk = loaded(10)
    desk.source.actions = [(day("2026-11-20"), SPLIT)]

    before = desk.source.requests
    result = desk.run(now="2026-11-20 10:30")

    assert desk.source.pages[before:] == [1, 2, 3, 4]
    assert desk.stored() == between(moved_before(CANDLES, "2026-11-20"), "2026-10-08")
    assert result.move.ratio == SPLIT
    assert (result.move.after, result.move.effective_by) == (
        day("2026-11-18"),
        day("2026-11-20"),
    )
    assert desk.memory.revisions == []


def test_a_correction_of_the_same_night_neither_vetoes_a_move_nor_gets_lost():
    desk = loaded()
    desk.source.actions = [(day("2026-11-20"), SPLIT)]
    ours = desk.stored()[-3]
    desk.changes("2026-11-16", high=ours.high + 700)

    result = desk.run(now="2026-11-20 10:30")

    assert result.move.ratio == SPLIT
    assert desk.collected.outliers == {kst("2026-11-16")}
    assert desk.stored() == between(moved_before(CANDLES, "2026-11-20"), "2026-10-08")
    # The old value is told on the basis of today.
    assert desk.memory.revisions == [
        (
            kst("2026-11-16"),
            scaled(replace(ours, high=ours.high + 700), SPLIT),
            False,
        )
    ]


def test_one_session_in_common_proves_nothing_so_a_page_more_is_read():
    desk = loaded(3)

    assert desk.asks(now="2026-11-20 10:30") == [1, 2]


def test_the_candle_that_forms_today_proves_nothing():
    desk = loaded(2)
    desk.run(now="2026-11-20 10:30")

    # Yesterday is one session; today would be the second.
    assert desk.asks(now="2026-11-20 11:00") == [1, 2]


def test_where_nothing_is_in_common_pages_are_read_until_something_is():
    """A page of ours was served without the rows that we have."""
    desk = loaded(5)
    desk.source.odd = {1: without("2026-11-16", "2026-11-17", "2026-11-18")}

    # The last one is for the days of ours that both pages lack.
    assert desk.asks(now="2026-11-20 10:30") == [1, 2, 1]


def test_days_without_any_in_common_write_nothing():
    desk = loaded()
    before = desk.stored()
    desk.source.candles = between(CANDLES, "2026-11-19")
    asked = desk.source.requests

    with pytest.raises(KiwoomUnavailable, match="ends although it had older candles"):
        desk.run(now="2026-11-20 10:30")

    assert desk.source.requests == asked + 1
    assert desk.stored() == before
    assert desk.series().settled_through == day("2026-11-17")


def partly_adjusted(since):
    """The broker has worked the action into the newest days only, so far."""

    def answer(page, before):
        candles = tuple(
            scaled(candle, SPLIT)
            if day(since) <= kst_date(candle.opened_at) < day("2026-11-19")
            else candle
            for candle in page.candles
        )
        return replace(page, candles=candles)

    return answer


def test_a_contradiction_settles_nothing_until_it_is_over():
    desk = loaded()
    desk.source.odd = {1: partly_adjusted("2026-11-02")}

    result = desk.run(now="2026-11-19 21:00")

    assert result.move is None
    assert desk.series().settled_through is None

    desk.source.odd = {}
    desk.source.actions = [(day("2026-11-19"), SPLIT)]
    desk.run(now="2026-11-20 08:00")

    assert desk.stored() == between(
        moved_before(CANDLES, "2026-11-19"), "2026-10-08", "2026-11-19"
    )
    assert desk.series().settled_through == day("2026-11-19")


def contradicted():
    """A series of which the broker had adjusted the newest days alone, on the 19th."""
    desk = loaded(10)
    desk.source.odd = {1: partly_adjusted("2026-11-12")}
    desk.run(now="2026-11-19 21:00")
    return desk


def test_a_contradiction_is_not_over_because_the_broker_repeats_it():
    desk = contradicted()

    for now in ("2026-11-19 21:10", "2026-11-20 08:00", "2026-11-20 21:00"):
        desk.run(now=now)
        assert desk.series().settled_through is None, now

    desk.source.odd = {}
    desk.source.actions = [(day("2026-11-19"), SPLIT)]
    desk.run(now="2026-11-21 08:00")

    assert desk.series().settled_through == day("2026-11-20")
    assert desk.stored() == between(
        moved_before(CANDLES, "2026-11-19"), "2026-10-08", "2026-11-20"
    )


def test_while_it_lasts_the_whole_series_is_read_once_a_day():
    desk = contradicted()

    assert desk.asks(now="2026-11-19 21:10") == [1]
    assert len(desk.asks(now="2026-11-20 08:00")) > 1
    assert desk.asks(now="2026-11-20 21:00") == [1]


def test_a_contradiction_is_over_once_the_broker_has_taken_it_back():
    desk = contradicted()
    desk.source.odd = {}

    desk.run(now="2026-11-20 08:00")

    assert desk.series().settled_through == day("2026-11-19")
    assert desk.stored() == between(CANDLES, "2026-10-08", "2026-11-19")


def test_a_contradiction_that_has_not_shown_for_a_week_is_over():
    """Newer candles had moved; the older ones were right, for they were read later."""
    desk = loaded(10)
    desk.memory.series["005930", "1d"] = replace(
        desk.series(),
        settled_through=None,
        unproven_on=day("2026-11-13"),
        unproven_ratio=1.1,
    )

    desk.run(now="2026-11-19 21:00")
    assert desk.series().settled_through is None
    desk.run(now="2026-11-20 21:00")

    assert desk.series().unproven_on is None
    assert desk.series().settled_through == day("2026-11-19")


def test_a_contradiction_is_over_once_no_price_steps_any_more():
    desk = loaded(10)
    desk.memory.series["005930", "1d"] = replace(
        desk.series(), unproven_on=day("2026-11-18"), unproven_ratio=0.2
    )

    desk.run(now="2026-11-19 21:00")

    assert desk.series().unproven_on is None


def test_an_operator_ends_a_contradiction_by_force():
    desk = contradicted()

    desk.run(now="2026-11-20 08:00", force=True)

    assert desk.series().settled_through == day("2026-11-19")


# What the broker no longer serves


def test_oldest_candles_that_were_taken_back_hinder_no_rebuild():
    desk = loaded()
    desk.source.candles = between(CANDLES, "2026-10-13")
    desk.source.actions = [(day("2026-11-19"), SPLIT)]

    result = desk.run(now="2026-11-19 21:00")

    assert (result.state, result.requests) == ("done", 2)
    assert desk.stored() == between(
        moved_before(CANDLES, "2026-11-19"), "2026-10-08", "2026-11-19"
    )


def test_an_answer_that_was_cut_ends_elsewhere_from_another_day():
    desk = loaded()
    desk.source.actions = [(day("2026-11-19"), SPLIT)]

    def cut(page, before):
        return replace(page, candles=page.candles[:12], cursor=None)

    desk.source.odd = {1: cut}

    with pytest.raises(KiwoomUnavailable, match="had older candles before"):
        desk.run(now="2026-11-19 21:00")


def days_of(minutes):
    """Days with the prices of their minutes."""
    by_day = {}
    for candle in minutes:
        by_day.setdefault(kst_date(candle.opened_at), []).append(candle)
    return [
        a_candle(
            str(date),
            open=candles[0].open,
            high=max(candle.high for candle in candles),
            low=min(candle.low for candle in candles),
            close=candles[-1].close,
            volume=sum(candle.volume for candle in candles),
        )
        for date, candles in by_day.items()
    ]


HOURS = market("60m")
DAYS = days_of(HOURS)
KNOWN = PriceMove(
    ratio=SPLIT,
    after=day("2026-11-12"),
    effective_by=day("2026-11-13"),
    evidence='{"compared": 9}',
)


@pytest.fixture
def short_retention(monkeypatch):
    """A broker that keeps minutes for three days."""
    monkeypatch.setattr(extend, "MINUTES_KEPT", timedelta(days=3))


def halted(**more):
    """Hours to 2026-11-12; then none until the 13th, when no older one is served."""
    desk = loaded(300, timeframe="60m", candles=[*HOURS, *DAYS], now="2026-11-12 21:00")
    served = between(HOURS, "2026-11-13")
    desk.source.candles = [*served, *more.get("days", DAYS)]
    desk.source.actions = more.get("actions", [])
    return desk


@pytest.mark.usefixtures("short_retention")
def test_old_minutes_without_any_in_common_are_moved_as_the_days_tell():
    desk = halted(actions=[(day("2026-11-13"), SPLIT)])

    result = desk.run("60m", now="2026-11-16 21:00")

    assert result.move.ratio == SPLIT
    assert result.move.after == day("2026-11-12")
    assert desk.stored("60m") == between(
        moved_before(HOURS, "2026-11-13"), "2026-10-08", "2026-11-16"
    )


@pytest.mark.usefixtures("short_retention")
def test_old_minutes_stay_where_the_days_tell_that_nothing_moved():
    desk = halted()

    result = desk.run("60m", now="2026-11-16 21:00")

    assert result.move is None
    assert desk.stored("60m") == between(HOURS, "2026-10-08", "2026-11-16")


@pytest.mark.usefixtures("short_retention")
def test_days_that_do_not_tell_leave_old_minutes_unproven():
    desk = halted(days=between(DAYS, "2026-11-13"))
    before = desk.stored("60m")

    with pytest.raises(PriceBasisUnproven, match="publish a rebuild once they do"):
        desk.run("60m", now="2026-11-16 21:00")

    assert desk.stored("60m") == before


@pytest.mark.usefixtures("short_retention")
def test_a_known_move_is_applied_to_what_is_no_longer_served():
    """Another timeframe has proven it: it is not proven a second time."""
    desk = halted(days=[])

    result = desk.run("60m", now="2026-11-16 21:00", mode=Mode.REBUILD, move=KNOWN)

    assert result.move == KNOWN
    assert desk.stored("60m") == between(
        moved_before(HOURS, "2026-11-13"), "2026-10-08", "2026-11-16"
    )


@pytest.mark.usefixtures("short_retention")
def test_a_known_move_is_applied_although_all_that_is_served_is_newer_than_it():
    """The hours since the halt were read before any timeframe had found the action."""
    desk = halted()
    desk.run("60m", now="2026-11-16 21:00")
    desk.run("60m", now="2026-11-17 21:00")

    result = desk.run("60m", now="2026-11-17 21:30", mode=Mode.REBUILD, move=KNOWN)

    assert result.move == KNOWN
    assert desk.stored("60m") == between(
        moved_before(HOURS, "2026-11-13"), "2026-10-08", "2026-11-17"
    )


@pytest.mark.usefixtures("short_retention")
def test_a_known_move_that_a_reading_has_worked_in_already_is_not_applied_again():
    desk = halted(actions=[(day("2026-11-13"), SPLIT)])
    desk.run("60m", now="2026-11-16 21:00")
    before = desk.stored("60m")

    desk.run("60m", now="2026-11-16 21:30", mode=Mode.REBUILD, move=KNOWN)

    assert desk.stored("60m") == before


@pytest.mark.usefixtures("short_retention")
def test_a_known_move_is_not_applied_to_a_series_that_was_loaded_after_it():
    """Its candles from before the action stand on its basis, those still served show."""
    desk = Desk(HOURS, 300, actions=[(KNOWN.effective_by, SPLIT)])
    desk.run("60m", start="2026-10-08", now="2026-11-16 21:00")
    before = desk.stored("60m")
    desk.source.candles = between(HOURS, "2026-11-02")

    result = desk.run("60m", now="2026-11-16 21:30", mode=Mode.REBUILD, move=KNOWN)

    assert result.move is None
    assert desk.stored("60m") == before


@pytest.mark.usefixtures("short_retention")
def test_a_known_move_is_not_applied_to_candles_from_after_it():
    """Its message may come late, and the broker may serve none from before it."""
    desk = Desk(HOURS, 300, actions=[(KNOWN.effective_by, SPLIT)])
    desk.run("60m", start="2026-11-13", now="2026-11-17 21:00")
    before = desk.stored("60m")
    desk.source.candles = between(HOURS, "2026-11-16")

    desk.run("60m", now="2026-11-17 21:30", mode=Mode.REBUILD, move=KNOWN)

    assert desk.stored("60m") == before


def test_a_rebuild_reads_the_whole_series_although_nothing_is_new():
    desk = loaded(10)
    desk.run(now="2026-11-19 08:00")

    assert desk.asks(now="2026-11-19 08:30", mode=Mode.REBUILD) == [1, 2, 3]


def test_a_rebuild_finds_a_move_that_its_newest_candles_do_not_show():
    """The newest days were read after the action, the older ones before."""
    desk = loaded()
    ours = desk.memory.candles["005930", "1d"]
    for candle in between(CANDLES, "2026-10-08", "2026-11-10"):
        ours[candle.opened_at] = scaled(candle, 5)

    result = desk.run(now="2026-11-18 21:30", mode=Mode.REBUILD)

    assert result.move.ratio == SPLIT
    assert result.move.after == day("2026-11-10")
    assert desk.stored() == between(CANDLES, "2026-10-08", "2026-11-18")


# Older days


def test_a_backfill_reads_from_the_oldest_candles_that_prove_its_basis():
    desk = loaded(start="2026-11-09")

    desk.run(mode=Mode.BACKFILL, start="2026-11-04")

    assert desk.source.anchors[-1] == day("2026-11-11")
    assert desk.stored() == between(CANDLES, "2026-11-04", "2026-11-18")
    assert desk.series().covered_from == day("2026-11-04")


def test_a_covered_range_is_not_requested_again():
    desk = loaded()

    assert desk.asks(mode=Mode.BACKFILL, start="2026-10-20") == [1]
    desk.now = kst("2026-11-19 08:00")
    desk.run()
    assert desk.asks(mode=Mode.BACKFILL, start="2026-10-20") == []


@pytest.mark.parametrize("odd", [without("2026-11-09"), spoilt(kst("2026-11-09"))])
def test_a_backfill_whose_first_row_in_common_is_missing_proves_itself_by_others(odd):
    desk = loaded(start="2026-11-09")
    desk.source.odd = {1: odd}

    desk.run(mode=Mode.BACKFILL, start="2026-11-04")

    assert between(desk.stored(), "2026-11-04", "2026-11-06") == between(
        CANDLES, "2026-11-04", "2026-11-06"
    )


@pytest.mark.parametrize(
    "odd",
    [[], [without("2026-11-09")], 2 * [spoilt(kst("2026-11-09"))]],
    ids=["whole", "missing", "spoilt"],
)
def test_a_split_between_a_backfill_and_today_leaves_one_basis(odd):
    as_traded = moved_before(CANDLES, "2026-11-13", 1 / SPLIT)
    split = (day("2026-11-13"), SPLIT)
    desk = Desk(as_traded, actions=[split], now="2026-11-18 21:00")
    desk.run(start="2026-11-09")
    desk.run(now="2026-11-19 08:00")
    desk.source.odd = {1: list(odd)}

    result = desk.run(mode=Mode.BACKFILL, start="2026-10-12")

    assert result.move is None
    # Read from today, the whole series stands on one basis.
    assert desk.source.anchors[-1] == day("2026-11-19")
    assert desk.stored() == between(
        moved_before(as_traded, "2026-11-13"), "2026-10-12", "2026-11-18"
    )


def test_a_backfill_that_is_one_won_off_is_read_from_today():
    """It may lie before an action that rounding hides in nearly all prices."""
    desk = loaded(start="2026-11-09")
    desk.run(now="2026-11-19 08:00")
    desk.changes("2026-11-10", close=desk.stored()[1].close + 1)

    desk.run(mode=Mode.BACKFILL, start="2026-11-04")

    assert desk.source.anchors[-2:] == [day("2026-11-11"), day("2026-11-19")]
    assert desk.stored() == between(CANDLES, "2026-11-04", "2026-11-18")


def test_a_backfill_from_before_a_known_action_is_read_from_today():
    desk = loaded(start="2026-11-09")
    desk.ledger.moved_on = day("2026-11-12")

    desk.run(mode=Mode.BACKFILL, start="2026-11-04")

    assert desk.source.anchors[1:] == [day("2026-11-18")]
    assert desk.stored() == between(CANDLES, "2026-11-04", "2026-11-18")


def test_a_tick_with_several_sessions_one_won_off_rebuilds_the_whole_series():
    desk = loaded(20)
    desk.run(now="2026-11-19 08:00")
    for at in ("2026-10-08", "2026-11-16", "2026-11-17"):
        (candle,) = between(desk.stored(), at, at)
        desk.changes(at, close=candle.close + 1)

    desk.run(now="2026-11-20 10:30")

    assert desk.stored() == between(CANDLES, "2026-10-08", "2026-11-20")


# The end of history


def test_history_is_exhausted_once_its_end_was_seen_on_two_days():
    desk = loaded(start="2026-09-01")
    series = desk.series()
    assert (series.end_seen_on, series.history_exhausted) == (day("2026-11-18"), False)
    assert series.covered_from == day("2026-10-01")
    assert desk.asks(now="2026-11-18 22:00") == [1]

    desk.run(now="2026-11-19 08:00")

    series = desk.series()
    assert series.history_exhausted
    assert series.covered_from == day("2026-09-01")
    assert desk.asks(now="2026-11-20 21:00") == [1]
    assert desk.asks(mode=Mode.BACKFILL, start="2026-08-03") == [1]


def test_a_request_for_older_days_asks_once_more_where_the_end_was_seen_once():
    desk = loaded(start="2026-09-01")

    desk.run(now="2026-11-19 08:00", mode=Mode.BACKFILL, start="2026-09-01")

    assert desk.series().history_exhausted


def test_a_tick_looks_for_an_end_that_was_believed_for_half_a_year():
    candles = market(first="2026-01-05")
    desk = Desk(between(candles, "2026-03-03"), 20, now="2026-05-04 21:00")
    desk.run(start="2026-02-02")
    desk.run(now="2026-05-05 21:00")
    assert desk.series().history_exhausted
    desk.source.candles = candles

    desk.run(now="2026-10-30 21:00")
    assert desk.days()[0] == day("2026-03-03")

    desk.run(now="2026-11-02 21:00")
    assert desk.days()[0] == day("2026-02-02")
    assert not desk.series().history_exhausted


def test_an_end_that_another_source_contradicts_is_doubted_for_a_week():
    desk = Desk(CANDLES, now="2026-11-10 21:00")
    desk.ledger.known_from = day("2024-01-02")

    first = desk.run(start="2026-09-01")
    desk.run(now="2026-11-11 21:00")
    assert not desk.series().history_exhausted

    assert first.state == "incomplete"
    assert first.stored.missing[0] == kst("2026-09-01")

    desk.run(now="2026-11-17 21:00")
    assert desk.series().history_exhausted


def test_a_listing_a_few_days_earlier_contradicts_nothing():
    desk = Desk(CANDLES, now="2026-11-10 21:00")
    desk.ledger.known_from = day("2026-09-21")
    desk.run(start="2026-09-01")

    desk.run(now="2026-11-11 21:00")

    assert desk.series().history_exhausted


def test_a_full_page_that_says_it_is_the_last_ends_nothing():
    desk = Desk(CANDLES, 5, now="2026-11-18 21:00", odd={3: full_and_last})

    result = desk.run(start="2026-10-08")

    assert desk.series().end_seen_on is None
    assert result.state == "incomplete"

    desk.source.odd = {}
    desk.run(now="2026-11-18 21:10", mode=Mode.BACKFILL, start="2026-10-08")
    assert desk.stored() == between(CANDLES, "2026-10-08", "2026-11-18")


def test_an_answer_that_ended_early_heals_on_the_next_day():
    desk = Desk(CANDLES, 5, now="2026-11-18 21:00", odd={2: [ends_early]})
    desk.run(start="2026-10-08")
    assert desk.days()[0] == day("2026-11-05")

    desk.run(now="2026-11-19 08:00")

    assert desk.stored() == between(CANDLES, "2026-10-08", "2026-11-18")
    assert not desk.series().history_exhausted


def test_an_end_further_back_than_the_one_before_is_seen_for_the_first_time():
    desk = Desk(CANDLES, 5, now="2026-11-18 21:00", odd={2: [ends_early]})
    desk.run(start="2026-09-01")
    desk.source.odd = {3: [ends_early]}

    desk.run(now="2026-11-19 08:00")

    series = desk.series()
    assert series.end_seen_on == day("2026-11-19")
    assert not series.history_exhausted


# What the broker takes back


def test_a_settled_candle_that_is_no_longer_served_leaves_to_the_revisions():
    desk = loaded()
    gone = between(CANDLES, "2026-11-10", "2026-11-10")[0]
    desk.source.candles.remove(gone)

    result = desk.run(now="2026-11-20 10:30")

    assert result.stored.counts.withdrawn == 1
    assert gone not in desk.stored()
    assert desk.memory.revisions == [(gone.opened_at, gone, True)]


def test_a_phantom_day_vanishes():
    desk = loaded()
    phantom = a_candle("2026-11-15")
    desk.memory.candles["005930", "1d"][phantom.opened_at] = phantom

    desk.run(now="2026-11-20 10:30")

    assert desk.stored() == between(CANDLES, "2026-10-08")


def test_there_is_one_candle_a_week_whatever_day_it_is_dated():
    weeks = market("1w", "2026-01-05")
    desk = Desk(weeks, now="2026-11-18 21:00")
    desk.run("1w", start="2026-01-05")
    dated = replace(weeks[-1], opened_at=weeks[-1].opened_at + 2 * DAY)
    desk.memory.candles["005930", "1w"][dated.opened_at] = dated

    desk.run("1w", now="2026-11-20 21:00")

    assert desk.stored("1w") == weeks


def test_beyond_the_pages_that_were_read_nothing_is_withdrawn():
    desk = loaded(5)
    desk.source.candles = [
        c for c in CANDLES if kst_date(c.opened_at) > day("2026-11-03")
    ]

    result = desk.run(now="2026-11-20 10:30")

    assert result.stored.counts.withdrawn == 0
    assert desk.days()[0] == day("2026-10-08")


# Absent, missing, explained


def test_a_slot_between_two_rows_of_a_page_is_absent():
    candles = [c for c in CANDLES if c.opened_at != kst("2026-11-10")]

    desk = loaded(candles=candles)

    assert desk.absent() == [kst("2026-11-10")]
    assert desk.memory.store.collected[0].expected == ()


def test_a_slot_that_has_not_settled_is_not_absent():
    desk = Desk(CANDLES, now="2026-11-20 21:00", odd={1: without("2026-11-19")})
    desk.run(start="2026-11-09")
    assert desk.absent() == [kst("2026-11-19")]

    traded = [c for c in HOURS if c.opened_at != kst("2026-11-18 13:00")]
    hours = loaded(300, timeframe="60m", candles=traded)
    assert hours.absent("60m") == []

    hours.run("60m", now="2026-11-19 08:00")
    assert hours.absent("60m") == [kst("2026-11-18 13:00")]


def test_a_row_that_stays_spoilt_is_missing_and_not_absent():
    desk = Desk(CANDLES, now="2026-11-18 21:00", odd={1: spoilt(kst("2026-11-10"))})

    result = desk.run(start="2026-10-08")

    assert (result.state, result.requests) == ("incomplete", 2)
    assert result.stored.missing == (kst("2026-11-10"),)
    assert desk.absent() == []
    assert [row.opened_at for row in desk.memory.quarantine] == [kst("2026-11-10")]


@pytest.mark.parametrize("odd", [spoilt(kst("2026-11-10")), undated("2026-11-10")])
def test_under_a_row_that_stays_spoilt_nothing_stays_on_the_old_basis(odd):
    desk = loaded()
    desk.source.actions = [(day("2026-11-19"), SPLIT)]
    desk.source.odd = {1: odd}

    result = desk.run(now="2026-11-19 21:00")

    assert result.stored.missing == (kst("2026-11-10"),)
    moved = moved_before(between(CANDLES, "2026-10-08", "2026-11-19"), "2026-11-19")
    assert desk.stored() == [c for c in moved if c.opened_at != kst("2026-11-10")]


def test_a_spoilt_row_does_not_withdraw_the_candle_that_we_have():
    desk = loaded()
    desk.source.odd = {1: spoilt(kst("2026-11-10"))}

    result = desk.run(now="2026-11-20 10:30")

    assert result.state == "done"
    assert result.stored.counts.withdrawn == 0
    assert kst("2026-11-10") in {candle.opened_at for candle in desk.stored()}


def test_a_row_without_a_readable_date_withdraws_nothing_and_is_no_absence():
    desk = loaded()
    desk.source.odd = {1: undated("2026-11-10")}

    result = desk.run(now="2026-11-20 10:30")

    assert result.stored.counts.withdrawn == 0
    assert desk.stored() == between(CANDLES, "2026-10-08")
    assert desk.absent() == []


def test_a_first_load_with_a_row_without_a_readable_date_is_incomplete():
    desk = Desk(CANDLES, now="2026-11-18 21:00", odd={1: undated("2026-11-10")})

    result = desk.run(start="2026-10-08")

    assert (result.state, result.stored.missing) == ("incomplete", (kst("2026-11-10"),))


def test_force_with_a_row_without_a_readable_date_forgets_nothing():
    desk = loaded()
    desk.memory.absent["005930", "1d"].add(kst("2026-11-01"))
    desk.source.odd = {1: undated("2026-11-10")}

    desk.run(now="2026-11-19 08:00", mode=Mode.BACKFILL, start="2026-10-08", force=True)

    assert desk.absent() == [kst("2026-11-01")]


def test_a_task_without_anything_to_read_still_answers_for_its_days():
    desk = loaded()
    desk.run(now="2026-11-19 08:00")
    desk.loses("2026-10-20")

    result = desk.run(mode=Mode.BACKFILL, start="2026-10-12")

    assert result.requests == 0
    assert (result.state, result.stored.missing) == ("incomplete", (kst("2026-10-20"),))


def test_a_tick_answers_for_the_days_since_the_last_settled_one():
    desk = loaded()
    desk.loses("2026-10-20")

    assert desk.run(now="2026-11-19 08:00").state == "done"


def test_a_task_answers_for_no_day_after_its_end():
    desk = loaded()
    desk.run(now="2026-11-19 08:00")
    desk.loses("2026-10-20")
    wanted = {"mode": Mode.BACKFILL, "start": "2026-10-12"}

    assert desk.run(end="2026-10-20", **wanted).state == "done"
    assert desk.run(end="2026-10-21", **wanted).state == "incomplete"


def test_days_before_the_stock_existed_are_not_missing():
    """Although its last page is full, which proves no end of history."""
    desk = Desk(CANDLES, len(CANDLES) - 2, now="2026-11-18 21:00")
    desk.ledger.listed_on = day("2026-10-01")

    assert desk.run(start="2026-01-02").state == "done"
    assert desk.series().end_seen_on is None


def test_days_older_than_all_that_is_known_are_missing_all_the_same():
    """The oldest candle of another timeframe says how old a stock is at least."""
    desk = Desk(CANDLES, len(CANDLES) - 2, now="2026-11-18 21:00")
    desk.ledger.known_from = day("2026-10-01")

    assert desk.run(start="2026-01-02").state == "incomplete"


def test_a_day_without_a_trade_explains_its_minutes():
    desk = Desk(HOURS, 300)
    desk.run("60m", start="2026-10-08", now="2026-11-16 08:00")
    desk.source.candles = between(HOURS, "2026-10-08", "2026-11-16")
    assert desk.run("60m", now="2026-11-18 08:00").state == "incomplete"

    desk.memory.candles["005930", "1d"] = {
        kst(date): a_candle(date, volume=0) for date in ("2026-11-16", "2026-11-17")
    }

    assert desk.run("60m", now="2026-11-18 08:30").state == "done"


# Verify and force


def test_a_verify_compares_whatever_is_believed_and_heals():
    desk = loaded()
    desk.run(now="2026-11-19 08:00")
    desk.differs("2026-10-20")
    desk.loses("2026-10-21")
    phantom = a_candle("2026-10-24")
    desk.memory.candles["005930", "1d"][phantom.opened_at] = phantom

    result = desk.run(mode=Mode.VERIFY)

    counts = result.stored.counts
    assert (counts.revised, counts.inserted, counts.withdrawn) == (1, 1, 1)
    assert (result.state, result.requests) == ("done", 1)
    assert desk.stored() == between(CANDLES, "2026-10-08", "2026-11-18")


def test_a_verify_of_a_range_reads_that_range():
    desk = loaded(10)
    desk.run(now="2026-11-19 08:00")
    desk.differs("2026-10-20")
    desk.differs("2026-11-10")

    desk.run(mode=Mode.VERIFY, start="2026-10-19", end="2026-10-23")

    # Three sessions of ours from the end on prove the basis.
    assert desk.source.anchors[-1] == day("2026-10-27")
    assert between(desk.stored(), "2026-10-19", "2026-10-23") == between(
        CANDLES, "2026-10-19", "2026-10-23"
    )


def test_a_tick_does_not_read_what_is_believed():
    desk = loaded(5)
    desk.run(now="2026-11-19 08:00")
    desk.differs("2026-10-20")

    desk.run(now="2026-11-20 10:30")

    assert between(desk.stored(), "2026-10-20", "2026-10-20") != between(
        CANDLES, "2026-10-20", "2026-10-20"
    )


def test_a_verify_of_days_that_we_do_not_have_finds_nothing_wrong():
    desk = loaded()
    span = {"start": "2026-09-01", "end": "2026-09-05"}

    assert desk.asks(mode=Mode.VERIFY, **span) == []
    assert desk.run(mode=Mode.VERIFY, **span).state == "done"


def test_force_reads_a_range_again_and_forgets_its_absences():
    desk = loaded(5)
    desk.run(now="2026-11-19 08:00")
    # Believed to be absent; no page tells of them, as the one across is blank.
    between_pages, before_all = kst("2026-11-11"), kst("2026-10-05")
    desk.memory.absent["005930", "1d"] |= {between_pages, before_all}
    desk.source.candles = [c for c in CANDLES if c.opened_at != between_pages]
    desk.loses("2026-11-11")
    desk.source.odd = {1: [None, blank]}

    desk.run(mode=Mode.BACKFILL, start="2026-10-08", force=True)

    assert desk.absent() == [before_all]


def test_force_asks_for_older_days_although_history_is_exhausted():
    desk = Desk(between(CANDLES, "2026-10-12"), now="2026-11-18 21:00")
    desk.run(start="2026-10-01")
    desk.run(now="2026-11-19 08:00")
    assert desk.series().history_exhausted
    desk.source.candles = CANDLES

    desk.run(mode=Mode.BACKFILL, start="2026-10-01", force=True)

    assert desk.stored() == between(CANDLES, "2026-10-01", "2026-11-18")


# Stocks without candles


def test_nothing_where_candles_were_due_is_a_failure():
    desk = Desk([], now="2026-11-18 21:00")

    with pytest.raises(NoCandles, match=r"no 1d candles of 005930, which is listed"):
        desk.run()


def test_a_delisted_stock_has_no_data_and_is_not_requested_again():
    desk = Desk([], now="2026-11-18 21:00")
    desk.ledger.listed = False

    result = desk.run()

    assert (result.state, result.requests) == ("no_data", 1)
    assert desk.series().ended
    assert desk.asks() == []
    assert desk.run().state == "no_data"


def minutes_of_a_stock_that(*volumes):
    """Hours are blank; there are days with these volumes, if any."""
    days = [
        replace(candle, volume=volume)
        for candle, volume in zip(CANDLES, volumes, strict=False)
    ]
    desk = Desk(days, now="2026-10-07 21:00")
    if days:
        desk.run(start="2026-10-01")
    return desk


def test_a_listed_stock_that_has_not_traded_for_a_year_has_no_minutes():
    desk = minutes_of_a_stock_that(0, 0, 0)

    first, again = desk.run("60m"), desk.run("60m")

    assert (first.state, again.state) == ("no_data", "no_data")
    assert (first.first_without_trades, again.first_without_trades) == (True, False)
    assert not desk.series("60m").ended


def test_that_there_were_no_trades_yet_is_no_end_of_the_history_to_come():
    desk = minutes_of_a_stock_that(0, 0, 0)
    desk.run("60m")
    desk.source.candles += between(HOURS, "2026-10-08")

    desk.run("60m", now="2026-10-12 21:00", start="2026-09-01")

    series = desk.series("60m")
    assert (series.end_seen_on, series.history_exhausted) == (day("2026-10-12"), False)


def test_minutes_of_a_stock_that_has_traded_must_be_there():
    with pytest.raises(KiwoomUnavailable, match="although it traded"):
        minutes_of_a_stock_that(0, 1_000, 0).run("60m")


def test_minutes_of_a_stock_without_days_are_due():
    with pytest.raises(NoCandles):
        minutes_of_a_stock_that().run("60m")


def test_a_halted_stock_without_days_may_have_no_minutes():
    desk = minutes_of_a_stock_that()
    desk.ledger.halted = True

    assert desk.run("60m").state == "no_data"


def test_a_delisted_stock_keeps_its_candles():
    desk = loaded()
    desk.ledger.listed = False
    desk.source.odd = {1: blank}

    result = desk.run(now="2026-11-20 10:30")

    assert (result.state, result.stored.counts.withdrawn) == ("no_data", 0)
    assert desk.stored() == between(CANDLES, "2026-10-08", "2026-11-18")


@pytest.mark.parametrize("mode", list(Mode))
def test_a_blank_answer_for_a_listed_stock_with_candles_is_not_believed(mode):
    desk = loaded()
    desk.loses("2026-11-05")
    desk.source.odd = {1: blank}

    with pytest.raises(KiwoomUnavailable, match="blank"):
        desk.run(now="2026-11-20 10:30", mode=mode, start="2026-10-01")

    assert not desk.series().ended


def test_a_relisted_stock_is_collected_again_by_force():
    desk = loaded()
    desk.ledger.listed = False
    desk.source.odd = {1: [blank]}
    desk.run(now="2026-11-19 10:30")
    desk.ledger.listed = True

    desk.run(now="2026-11-20 10:30", mode=Mode.BACKFILL, start="2026-10-08", force=True)

    assert not desk.series().ended
    assert desk.stored() == between(CANDLES, "2026-10-08")


def test_a_code_that_the_broker_forgot_is_an_error_unless_it_is_delisted():
    desk = Desk(CANDLES, odd={1: UnknownStock("1902")})
    with pytest.raises(UnknownStock):
        desk.run()

    desk.ledger.listed = False
    assert desk.run().state == "no_data"


def test_candles_of_another_timeframe_do_not_get_in():
    desk = Desk([a_candle("2026-11-16", timeframe=Timeframe.WEEK_1)])

    with pytest.raises(NoCandles):
        desk.run()


def test_the_market_of_these_tests_has_a_candle_in_every_slot():
    assert [kst_date(c.opened_at) for c in CANDLES] == sessions(
        "2026-10-01", "2026-11-20"
    )
    assert [c.opened_at for c in HOURS] == slots("60m", "2026-10-01", "2026-11-20")
    assert kst("2026-11-20") - CANDLES[0].opened_at > timedelta(days=49)
