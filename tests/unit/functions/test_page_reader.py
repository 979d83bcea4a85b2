from __future__ import annotations

from dataclasses import replace

import pytest

from functions.collector.page_reader import PageReader
from shared.candles import RejectedRow, Timeframe
from shared.errors import KiwoomUnavailable, UnknownStock
from shared.pages import ChartQuery, PageChain
from tests.support.builders import CALENDAR, day, kst
from tests.support.collecting import market
from tests.support.fake_series import (
    FakeSource,
    blank,
    empty,
    ends_early,
    full_and_last,
    not_advancing,
    spoilt,
)

ANCHOR = day("2026-11-20")
NOW = kst("2026-11-20 21:00")
# The last page of five is not full.
CANDLES = market(first="2026-10-02")
BROKEN = kst("2026-11-18")


class Observer:
    def before_request(self):
        """Nothing waits here."""

    def request_sent(self):
        """Nothing is counted here."""


def a_reader(
    source, chain=None, *, may_be_blank=False, may_be_unknown=False, told=None
):
    query = ChartQuery(stock_code="005930", timeframe=Timeframe.DAY_1, anchor=ANCHOR)
    return PageReader(
        query,
        source,
        CALENDAR,
        chain or PageChain(anchor=ANCHOR, read_at=NOW),
        Observer(),
        (told if told is not None else []).append,
        may_be_blank=may_be_blank,
        may_be_unknown=may_be_unknown,
    )


def a_source(odd=None, page_size=5, candles=CANDLES):
    return FakeSource(candles, page_size, odd=odd)


def test_pages_are_read_until_one_reaches_the_instant():
    source = a_source()
    reader = a_reader(source)

    reader.read_back_to(kst("2026-11-13"))

    assert source.pages == [1, 2]
    assert (reader.oldest, reader.newest) == (kst("2026-11-09"), kst("2026-11-20"))


def test_a_page_that_ends_at_the_instant_is_the_last_request():
    source = a_source()

    a_reader(source).read_back_to(kst("2026-11-16"))

    assert source.pages == [1]


def test_reading_ends_where_the_broker_has_no_more():
    reader = a_reader(a_source())

    reader.read_back_to(kst("2026-01-02"))

    assert len(reader.candles) == len(CANDLES)
    assert reader.saw_the_end
    assert reader.next() is None


def test_every_page_makes_the_chain_longer_and_is_told():
    told = []
    reader = a_reader(a_source(), told=told)

    reader.read_back_to(kst("2026-11-10"))

    assert [len(chain.pages) for chain in told] == [1, 2]
    assert told[-1] == reader.chain
    assert {chain.read_at for chain in told} == {NOW}


def test_a_chain_goes_on_behind_its_last_page():
    source = a_source()
    before = a_reader(source)
    before.read_back_to(kst("2026-11-10"))

    reader = a_reader(source, before.chain)
    reader.read_back_to(kst("2026-11-05"))

    assert source.pages == [1, 2, 3]
    assert len(reader.candles) == 15


def test_a_blank_first_page_is_the_whole_answer_of_a_stock_without_candles():
    reader = a_reader(a_source({1: blank}), may_be_blank=True)

    reader.read_back_to(kst("2026-01-02"))

    assert reader.is_blank
    assert reader.candles == {}
    assert reader.next() is None


@pytest.mark.parametrize("odd", [blank, empty])
def test_a_blank_first_page_of_a_stock_with_candles_is_not_believed(odd):
    with pytest.raises(KiwoomUnavailable, match="blank"):
        a_reader(a_source({1: odd})).read_back_to(kst("2026-01-02"))


@pytest.mark.parametrize("may_be_blank", [True, False])
@pytest.mark.parametrize("odd", [blank, empty])
def test_a_blank_page_after_others_is_no_end(odd, may_be_blank):
    reader = a_reader(a_source({3: odd}), may_be_blank=may_be_blank)

    with pytest.raises(KiwoomUnavailable, match="blank"):
        reader.read_back_to(kst("2026-01-02"))

    assert len(reader.chain.pages) == 2
    assert not reader.saw_the_end


def test_a_page_that_is_no_older_than_the_last_is_no_page():
    reader = a_reader(a_source({3: not_advancing}))

    with pytest.raises(KiwoomUnavailable, match="no older"):
        reader.read_back_to(kst("2026-01-02"))

    assert len(reader.chain.pages) == 2


def test_an_answer_that_ends_early_looks_like_an_end():
    reader = a_reader(a_source({3: ends_early}))

    reader.read_back_to(kst("2026-01-02"))

    assert reader.saw_the_end
    assert len(reader.candles) == 15


def test_a_full_page_that_says_it_is_the_last_is_suspect():
    reader = a_reader(a_source({3: full_and_last}))

    reader.read_back_to(kst("2026-01-02"))

    assert not reader.saw_the_end
    assert reader.next() is None


def test_a_row_that_came_spoilt_is_requested_once_more():
    source = a_source({2: [spoilt(kst("2026-11-11"))]})
    reader = a_reader(source)

    reader.read_back_to(kst("2026-11-05"))

    assert source.pages == [1, 2, 2, 3]
    assert len(reader.candles) == 15
    assert reader.rejected == []
    assert reader.unreadable == frozenset()


def test_a_row_that_stays_spoilt_is_rejected_and_unreadable():
    source = a_source({1: spoilt(BROKEN)})
    reader = a_reader(source)

    reader.read_back_to(kst("2026-11-16"))

    assert source.pages == [1, 1]
    assert [row.opened_at for row in reader.rejected] == [BROKEN]
    assert reader.unreadable == {BROKEN}


@pytest.mark.parametrize("again", [blank, spoilt(BROKEN, kst("2026-11-17"))])
def test_of_two_answers_the_one_with_fewer_spoilt_rows_is_used(again):
    reader = a_reader(a_source({1: [spoilt(BROKEN), again]}))

    reader.read_back_to(kst("2026-11-16"))

    assert reader.unreadable == {BROKEN}
    assert len(reader.candles) == 4


def test_a_row_without_a_place_in_the_calendar_is_not_requested_again():
    def homeless(page, before):
        row = RejectedRow(reason="no session", raw="{}", spoilt=False)
        return replace(page, rejected=(row,))

    source = a_source({1: homeless})
    reader = a_reader(source)

    reader.read_back_to(kst("2026-11-16"))

    assert source.pages == [1]
    assert len(reader.rejected) == 1


def test_a_page_without_a_single_candle_proves_nothing():
    with pytest.raises(KiwoomUnavailable, match="without a single candle"):
        a_reader(a_source({1: spoilt()})).read_back_to(kst("2026-11-16"))


def test_where_pages_overlap_the_newer_answer_counts():
    """A row served twice, because a candle was added between the two requests."""

    def shifted(page, before):
        doubled = replace(before.candles[-1], close=before.candles[-1].low)
        return replace(page, candles=(doubled, *page.candles))

    reader = a_reader(a_source({2: shifted}))

    reader.read_back_to(kst("2026-11-09"))

    assert list(reader.candles.values()) == CANDLES[:-11:-1]


def test_a_stock_that_the_broker_forgot_is_blank_if_it_may_be():
    reader = a_reader(
        a_source({1: UnknownStock("1902")}), may_be_blank=True, may_be_unknown=True
    )

    reader.read_back_to(kst("2026-11-16"))

    assert reader.is_blank


@pytest.mark.parametrize(("page", "may_be_unknown"), [(1, False), (2, True)])
def test_a_stock_that_the_broker_must_know_is_not_forgotten(page, may_be_unknown):
    source = a_source({page: UnknownStock("1902")})

    with pytest.raises(UnknownStock):
        a_reader(source, may_be_unknown=may_be_unknown).read_back_to(kst("2026-11-05"))
