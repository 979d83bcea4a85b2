"""Attempts: which pages they resume with, how long they last, what they leave."""

from __future__ import annotations

from datetime import timedelta

import pytest

from functions.collector.collect import BUDGET, CHAIN_LIFE, collect
from shared.errors import Busy, KiwoomRejected, KiwoomUnavailable
from shared.modes import Mode
from tests.support.builders import day, kst
from tests.support.collecting import Desk, market

CANDLES = market()
START = day("2026-10-01")
EVENING = kst("2026-11-20 21:00")
# Seven pages of five.
ALL_PAGES = [1, 2, 3, 4, 5, 6, 7]


def a_desk(**odd):
    """Every page fails as often as ``page_4=2`` says."""
    failures = {
        int(name.removeprefix("page_")): [KiwoomUnavailable("HTTP 500")] * times
        for name, times in odd.items()
    }
    return Desk(CANDLES, 5, now="2026-11-20 21:00", odd=failures)


def fail(desk, request, after=timedelta(0), error=KiwoomUnavailable):
    """An attempt that fails; the pages that it requested."""
    before = desk.source.requests
    desk.now = EVENING + after
    with pytest.raises(error):
        desk.attempt(request)
    return desk.source.pages[before:]


def succeed(desk, request, after=timedelta(0)):
    before = desk.source.requests
    desk.now = EVENING + after
    desk.attempt(request)
    return desk.source.pages[before:]


def test_a_first_load_stores_what_is_wanted_and_nothing_older():
    desk = Desk(CANDLES, 3, now="2026-11-20 10:30")

    result = desk.run(start="2026-11-16")

    assert desk.stored() == CANDLES[-5:]
    assert (result.state, result.requests) == ("done", 2)
    assert result.stored.counts.inserted == 5


def test_a_finished_task_is_not_done_again():
    desk = a_desk()
    request = desk.task(start=START)
    desk.attempt(request)
    asked = desk.source.requests

    again = desk.attempt(request)

    assert (again.state, again.stored) == ("finished_before", None)
    assert desk.source.requests == asked


def test_a_busy_series_is_left_alone():
    desk = a_desk()
    with desk.ledger.attempt(desk.task()), pytest.raises(Busy):
        desk.run()

    assert desk.source.requests == 0


def test_a_page_that_fails_stores_nothing():
    desk = a_desk(page_2=1)

    fail(desk, desk.task(start=START))

    assert desk.stored() == []
    assert desk.memory.store.collected == []


def test_an_attempt_goes_on_after_the_pages_of_the_one_before():
    desk = a_desk(page_4=1)
    request = desk.task(start=START)

    assert fail(desk, request) == [1, 2, 3, 4]
    assert succeed(desk, request, timedelta(minutes=9, seconds=59)) == [4, 5, 6, 7]
    assert desk.stored() == CANDLES


def test_requests_of_all_attempts_are_counted():
    desk = a_desk(page_4=1)
    request = desk.task(start=START)
    fail(desk, request)

    assert desk.attempt(request).requests == 4 + 4


def test_pages_that_have_grown_old_are_dropped_as_a_whole():
    desk = a_desk(page_4=1)
    request = desk.task(start=START)
    fail(desk, request)

    assert succeed(desk, request, CHAIN_LIFE) == ALL_PAGES
    assert desk.stored() == CANDLES


def test_pages_of_two_attempts_are_never_put_together_with_a_hole():
    """The second attempt reads the first pages anew, the third goes on after them."""
    desk = a_desk(page_4=1, page_6=1)
    request = desk.task(start=START)

    assert fail(desk, request) == [1, 2, 3, 4]
    assert fail(desk, request, timedelta(minutes=11)) == [1, 2, 3, 4, 5, 6]
    assert succeed(desk, request, timedelta(minutes=12)) == [6, 7]
    assert desk.stored() == CANDLES


def test_a_chain_ages_from_its_first_page_on():
    """However much later its last page was read: the newest candles are as old."""
    desk = a_desk(page_4=1, page_6=1)
    request = desk.task(start=START)
    fail(desk, request)
    fail(desk, request, timedelta(minutes=9))

    assert succeed(desk, request, timedelta(minutes=11)) == ALL_PAGES


def test_a_refusal_leaves_no_pages():
    desk = a_desk()
    desk.source.odd = {4: [KiwoomRejected("ka10081", "1511", "base_dt")]}
    request = desk.task(start=START)
    fail(desk, request, error=KiwoomRejected)

    assert succeed(desk, request) == ALL_PAGES


def test_every_request_renews_the_lease():
    desk = a_desk()

    result = desk.run(start="2026-10-01")

    assert desk.ledger.renewed == result.requests == 7


def test_a_message_is_given_back_when_its_time_is_up_and_goes_on_later():
    desk = a_desk()
    request = desk.task(start=START)

    def slow():
        desk.now += timedelta(minutes=2)
        return desk.now

    with pytest.raises(Busy, match="its next delivery goes on here"):
        collect(request, desk.source, desk.ledger, desk.memory.store, slow)

    read = desk.source.requests
    assert 0 < read <= BUDGET / timedelta(minutes=2)
    assert desk.memory.task(request).attempts == 0
    assert succeed(desk, request, timedelta(minutes=9)) == ALL_PAGES[read:]
    assert desk.stored() == CANDLES


def test_a_repair_asks_for_what_is_missing_only():
    desk = a_desk()
    desk.run(start="2026-10-01")
    desk.loses("2026-11-02")

    result = desk.run(mode=Mode.REPAIR)

    assert result.stored.counts.inserted == 1
    assert desk.stored() == CANDLES
