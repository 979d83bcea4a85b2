"""What lies between two pages is proven by a page with both sides, or missing."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from shared.modes import Mode
from shared.sessions import DAY, kst_date
from tests.support.builders import day, kst
from tests.support.collecting import Desk, market
from tests.support.fake_series import blank, scaled, spoilt, without

CANDLES = market()
# With pages of 12 days, read on Friday 2026-11-20: page 2 begins on 2026-11-04.
START, PAGE, LOST = "2026-10-12", 12, ("2026-11-03", "2026-11-04")


def a_desk(*, odd=None, candles=CANDLES, **more):
    return Desk(candles, PAGE, now="2026-11-20 21:00", odd=odd, **more)


def traded(*halted):
    return [c for c in CANDLES if str(kst_date(c.opened_at)) not in halted]


def test_pages_that_join_cost_nothing():
    desk = a_desk()

    assert desk.asks(start=START) == [1, 2, 3]


def test_candles_lost_between_two_pages_are_read_from_a_later_day():
    desk = a_desk(odd={2: [without(*LOST)]})

    assert desk.asks(start=START) == [1, 2, 3, 1]
    assert desk.source.anchors == [day("2026-11-20"), day("2026-11-05")]
    assert desk.stored() == [c for c in CANDLES if c.opened_at >= kst(START)]
    assert desk.absent() == []


def test_days_without_trades_between_two_pages_are_proven_absent():
    desk = a_desk(candles=traded(*LOST))

    result = desk.run(start=START)

    assert (result.state, result.requests) == ("done", 4)
    assert desk.absent() == [kst(lost) for lost in LOST]


def test_what_is_known_to_be_absent_is_not_asked_for_again():
    desk = a_desk(candles=traded(*LOST))
    desk.run(start=START)

    assert desk.asks(mode=Mode.REBUILD) == [1, 2, 3]
    assert desk.asks(mode=Mode.BACKFILL, start=START, force=True) == [1, 2, 3, 1]


@pytest.mark.parametrize("answer", [blank, spoilt(kst(LOST[1]))])
def test_what_no_answer_proves_is_missing(answer):
    odd = {2: [without(LOST[1])], 1: [None, answer, answer]}

    result = a_desk(odd=odd).run(start=START)

    assert result.state == "incomplete"
    assert result.stored.missing == (kst(LOST[1]),)


def test_a_candle_of_ours_in_an_unproven_break_stays():
    desk = a_desk()
    desk.run(start=START)
    desk.source.odd = {2: [without(*LOST)], 1: [None, blank]}

    result = desk.run(mode=Mode.VERIFY, start=START)

    assert (result.state, result.stored.counts.withdrawn) == ("done", 0)
    assert desk.stored() == [c for c in CANDLES if c.opened_at >= kst(START)]


def test_a_candle_of_ours_that_a_page_with_both_sides_lacks_is_withdrawn():
    desk = a_desk()
    desk.run(start=START)
    desk.source.candles = traded(*LOST)

    assert desk.run(mode=Mode.VERIFY, start=START).stored.counts.withdrawn == len(LOST)


def test_candles_on_another_basis_are_not_put_between_the_pages():
    """From before an action, the page across has the old prices."""
    action = (day("2026-11-10"), Fraction(1, 5))
    as_traded = [
        scaled(candle, 5) if kst_date(candle.opened_at) < action[0] else candle
        for candle in CANDLES
    ]
    desk = a_desk(odd={2: [without(*LOST)]}, candles=as_traded, actions=[action])

    result = desk.run(start=START)

    assert result.state == "incomplete"
    assert result.stored.missing == tuple(map(kst, LOST))


def test_an_action_leaves_nothing_on_the_old_basis_between_the_pages():
    desk = a_desk()
    desk.run(start=START)
    desk.source.actions = [(day("2026-11-20"), Fraction(1, 5))]
    desk.source.odd = {2: [without(*LOST)], 1: [None, blank]}

    result = desk.run(mode=Mode.REBUILD)

    assert result.move.ratio == Fraction(1, 5)
    assert result.state == "incomplete"
    assert {kst(lost) for lost in LOST}.isdisjoint(c.opened_at for c in desk.stored())


def test_what_lies_before_the_days_that_were_requested_is_left_alone():
    desk = a_desk(candles=traded(*LOST, "2026-11-02"))

    desk.run(start=LOST[1])

    assert desk.absent() == [kst(LOST[1])]
    assert min(desk.days()) == day("2026-11-05")


def test_a_row_that_stays_spoilt_at_the_end_of_a_page_is_asked_for_only_once_more():
    desk = a_desk(odd={2: spoilt(kst(LOST[1]))})

    assert desk.asks(start=START) == [1, 2, 2, 3]


def test_from_the_same_day_the_same_pages_would_come():
    """Pages so small that the newest one is all of today."""
    candles = market("60m", "2026-11-16")
    today = [c for c in candles if kst_date(c.opened_at) == day("2026-11-20")]
    lost = candles[-len(today) - 1]
    desk = Desk([c for c in candles if c != lost], len(today), now="2026-11-20 21:00")

    result = desk.run("60m", start="2026-11-19")

    assert desk.source.anchors == [day("2026-11-20")]
    assert result.stored.missing == (lost.opened_at,)


def test_a_week_is_one_candle_whatever_day_of_it_is_told():
    weeks = market("1w", "2026-06-01")
    newest = weeks[-PAGE]
    weeks[-PAGE] = replace(newest, opened_at=newest.opened_at + 2 * DAY)
    desk = a_desk(candles=weeks)

    assert desk.asks("1w", start="2026-06-08") == [1, 2]
