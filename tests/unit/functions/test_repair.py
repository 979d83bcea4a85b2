"""A repair asks for settled candles that are missing, with the fewest pages."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction

import pytest

from shared.errors import KiwoomUnavailable
from shared.modes import Mode
from shared.series import Series
from shared.sessions import kst_date
from tests.support.builders import day, kst
from tests.support.collecting import Desk, market
from tests.support.fake_series import blank, scaled, spoilt

CANDLES = market()
# From 2026-10-01 to the 18th: settled is all to the 17th.
OURS = CANDLES[:-2]


def loaded(page_size=10, *, timeframe="1d", candles=CANDLES, **broker):
    desk = Desk(candles, page_size, now="2026-11-18 21:00", **broker)
    desk.run(timeframe, start="2026-10-01")
    return desk


def repair(desk, timeframe="1d", **request):
    """One repair; pages and anchors of the source are those of this repair only."""
    desk.source.pages, desk.source.anchors = [], []
    return desk.run(timeframe, mode=Mode.REPAIR, **request)


def test_a_repair_proves_nothing_of_what_may_be_new():
    desk = loaded()
    before = desk.asked_at()
    desk.loses("2026-11-17")
    desk.now += timedelta(hours=1)

    repair(desk)

    assert desk.asked_at() == before


def test_where_nothing_is_missing_nothing_is_requested():
    desk = loaded()

    result = repair(desk)

    assert (result.state, result.requests) == ("done", 0)


def test_a_candle_is_requested_from_the_session_after_it():
    """A page that begins with it would not prove what lies after its newest row."""
    desk = loaded()
    desk.loses("2026-10-23")

    repair(desk)

    assert desk.source.anchors == [day("2026-10-26")]
    assert desk.stored() == OURS


def test_what_one_page_tells_about_is_one_request():
    desk = loaded()
    desk.loses("2026-10-23", "2026-10-22", "2026-10-15")

    assert repair(desk).requests == 1
    assert desk.stored() == OURS


def test_candles_far_apart_are_requested_by_pages_of_their_own():
    """Reading on from one to the other would be three pages more."""
    minutes = market("5m")
    desk = loaded(900, timeframe="5m", candles=minutes)
    before = desk.stored("5m")
    desk.loses("2026-11-10", "2026-10-07", timeframe="5m")

    assert repair(desk, "5m").requests == 2
    assert desk.source.anchors == [day("2026-11-11"), day("2026-10-08")]
    assert desk.stored("5m") == before


def test_the_next_page_is_read_where_it_leads_to_the_next_candle():
    desk = loaded(5)
    desk.loses("2026-11-13", "2026-11-06")

    assert repair(desk).requests == 2
    assert desk.source.pages == [1, 2]
    assert desk.source.anchors == [day("2026-11-16")]


def test_what_the_broker_does_not_have_is_remembered_and_not_requested_again():
    candles = [c for c in CANDLES if c.opened_at != kst("2026-10-23")]
    desk = loaded(candles=candles)
    desk.memory.absent.clear()

    result = repair(desk)

    assert (result.state, result.requests) == ("done", 1)
    assert desk.absent() == [kst("2026-10-23")]
    assert repair(desk).requests == 0


def test_what_no_page_tells_about_stays_missing():
    """It is older than all that the broker serves: no page has a row before it."""
    desk = loaded()
    desk.loses("2026-10-01", "2026-10-02")
    desk.source.candles = CANDLES[1:]

    result = repair(desk)

    assert result.state == "incomplete"
    assert result.stored.missing == (kst("2026-10-01"),)
    assert desk.absent() == []
    assert kst("2026-10-02") in {candle.opened_at for candle in desk.stored()}


def test_an_answer_with_nothing_of_ours_in_it_is_no_proof_of_its_basis():
    """A split is not known yet, and all that could tell it on the page is lost."""
    desk = loaded()
    desk.source.actions = [(day("2026-11-18"), Fraction(1, 5))]
    desk.loses(*[str(date) for date in desk.days()[-12:]])

    repair(desk)

    days = {kst_date(candle.opened_at) for candle in desk.stored()}
    assert days == {kst_date(candle.opened_at) for candle in CANDLES[:-2]} | {
        day("2026-11-18")
    }
    old = [c for c in OURS if kst_date(c.opened_at) < day("2026-11-18")]
    assert desk.stored()[: len(old)] == [scaled(c, Fraction(1, 5)) for c in old]


def test_a_row_that_stays_spoilt_stays_missing():
    desk = loaded()
    desk.loses("2026-10-23")
    desk.source.odd = {1: spoilt(kst("2026-10-23"))}

    result = repair(desk)

    assert (result.state, result.requests) == ("incomplete", 2)
    assert result.stored.missing == (kst("2026-10-23"),)
    assert (desk.absent(), len(desk.memory.quarantine)) == ([], 1)


def test_a_row_that_comes_right_is_stored():
    desk = loaded()
    desk.loses("2026-10-23")
    desk.source.odd = {1: [spoilt(kst("2026-10-23"))]}

    assert repair(desk).state == "done"
    assert desk.stored() == OURS


def test_a_blank_answer_proves_nothing_about_a_listed_stock():
    desk = loaded()
    desk.loses("2026-10-23")
    desk.source.odd = {1: blank}

    with pytest.raises(KiwoomUnavailable):
        repair(desk)

    assert desk.absent() == []
    assert not desk.series().ended


def test_a_blank_answer_for_a_delisted_stock_ends_its_series():
    desk = loaded()
    desk.loses("2026-10-23")
    desk.ledger.listed = False
    desk.source.odd = {1: blank}

    assert repair(desk).state == "no_data"
    assert desk.absent() == []
    assert repair(desk).requests == 0


def test_a_candle_that_differs_on_a_page_that_is_read_anyway_is_revised():
    desk = loaded()
    desk.loses("2026-10-23")
    desk.differs("2026-10-21")

    assert repair(desk).stored.counts.revised == 1
    assert desk.stored() == OURS


def test_pages_on_another_basis_lead_to_a_rebuild():
    """As the broker served them before an action that is in all of ours."""
    split = (day("2026-11-13"), Fraction(1, 5))
    as_traded = [
        scaled(candle, 5) if kst_date(candle.opened_at) < split[0] else candle
        for candle in CANDLES
    ]
    desk = loaded(50, candles=as_traded, actions=[split])
    before = desk.stored()
    desk.loses("2026-10-23")

    result = repair(desk)

    assert desk.source.anchors == [day("2026-10-26"), day("2026-11-18")]
    assert (desk.stored(), result.move) == (before, None)


def test_a_candle_from_before_a_known_action_is_requested_from_today():
    desk = loaded(50)
    desk.loses("2026-10-23")
    desk.ledger.moved_on = day("2026-11-13")

    repair(desk)

    assert desk.source.anchors == [day("2026-11-18")]
    assert desk.stored() == OURS


def test_a_page_that_is_one_won_off_leads_to_a_rebuild():
    desk = loaded(10)
    desk.loses("2026-10-23")
    for at in ("2026-10-02", "2026-10-21"):
        (close,) = (c.close for c in OURS if c.opened_at == kst(at))
        desk.changes(at, close=close + 1)

    repair(desk)

    assert desk.source.anchors == [day("2026-10-26"), day("2026-11-18")]
    assert desk.stored() == OURS


def test_an_action_that_no_tick_has_seen_is_found_by_a_repair():
    desk = loaded(50)
    desk.loses("2026-11-16")
    desk.source.actions = [(day("2026-11-17"), Fraction(1, 5))]

    result = repair(desk)

    assert result.move.ratio == Fraction(1, 5)
    assert desk.stored() == [
        scaled(candle, Fraction(1, 5))
        if kst_date(candle.opened_at) < day("2026-11-17")
        else candle
        for candle in OURS
    ]


def test_only_the_range_of_the_request_is_repaired():
    desk = loaded()
    desk.loses("2026-10-07", "2026-11-13")

    repair(desk, start="2026-10-06", end="2026-10-10")

    found = {str(kst_date(candle.opened_at)) for candle in desk.stored()}
    assert "2026-10-07" in found
    assert "2026-11-13" not in found


def test_a_session_that_has_not_settled_is_not_repaired():
    desk = loaded()
    desk.loses("2026-11-18")

    assert repair(desk).requests == 0


def test_absences_are_believed_unless_force_asks():
    desk = loaded()
    desk.loses("2026-10-23")
    desk.memory.absent["005930", "1d"].add(kst("2026-10-23"))

    assert repair(desk).requests == 0
    assert repair(desk, force=True).requests == 1
    assert desk.stored() == OURS
    assert desk.absent() == []


def test_force_forgets_absences_that_no_page_proves_any_more():
    """There is a row after all, but it cannot be read."""
    desk = loaded()
    desk.loses("2026-10-23")
    desk.memory.absent["005930", "1d"].add(kst("2026-10-23"))
    desk.source.odd = {1: spoilt(kst("2026-10-23"))}

    result = repair(desk, force=True)

    assert desk.absent() == []
    assert result.stored.missing == (kst("2026-10-23"),)


def test_days_before_a_seen_end_of_history_are_not_missing():
    desk = Desk(CANDLES, now="2026-11-18 21:00")
    desk.run(start="2026-09-01")
    desk.run(now="2026-11-19 21:00")
    assert desk.series().covered_from == day("2026-09-01")

    assert repair(desk).requests == 0


def test_minutes_that_the_broker_no_longer_keeps_are_not_requested():
    hours = market("60m", "2026-05-04", "2026-06-30")
    desk = Desk(hours, 900, now="2026-06-30 21:00")
    desk.run("60m", start="2026-05-06")
    desk.loses("2026-05-12", timeframe="60m")
    desk.now = kst("2027-06-15 21:00")

    assert repair(desk, "60m").requests == 0


def test_a_series_that_was_never_collected_has_nothing_to_repair():
    desk = Desk(CANDLES)

    assert repair(desk).requests == 0
    assert desk.series() == Series(version=1, collected_on=day("2026-11-19"))
