"""What every candle source does; see ``CandleSource``."""

from __future__ import annotations

from itertools import pairwise

import pytest

from shared.candles import Timeframe
from shared.pages import ChartQuery
from shared.sessions import kst_date
from tests.support.builders import CALENDAR, day

TODAY = day("2026-11-20")
STOCK, UNTRADED = "005930", "091990"


class Observer:
    """Notes what it is told."""

    def __init__(self):
        self.told = []

    def before_request(self):
        self.told.append("before")

    def request_sent(self):
        self.told.append("sent")


class CandleSourceContract:
    """The fixture ``broker`` has a ``source`` with several full pages of days.

    Its ``page_size`` is that of days; ``acts(day, ratio)`` is a corporate action with
    that price ratio, ``answers(page, kind)`` spoils every answer for a page.
    """

    def page(self, broker, cursor=None, *, anchor=TODAY, stock_code=STOCK, **more):
        query = ChartQuery(
            stock_code=stock_code, timeframe=Timeframe.DAY_1, anchor=anchor
        )
        return broker.source.page(query, cursor=cursor, calendar=CALENDAR, **more)

    def test_candles_are_newest_first_and_not_after_the_anchor(self, broker):
        instants = [c.opened_at for c in self.page(broker).candles]

        assert instants == sorted(set(instants), reverse=True)
        assert kst_date(instants[0]) == TODAY

    def test_a_cursor_leads_to_the_candles_before_those_of_its_page(self, broker):
        first = self.page(broker)
        second = self.page(broker, first.cursor)

        assert first.cursor
        last = kst_date(first.oldest)
        sessions = CALENDAR.session_dates(day("2026-01-01"), last)
        before = [date for date in sessions if date < last]
        assert not before or kst_date(second.newest) == before[-1]
        assert second.newest < first.oldest

    def test_a_cursor_is_good_for_more_than_one_request(self, broker):
        cursor = self.page(broker).cursor

        assert self.page(broker, cursor) == self.page(broker, cursor)

    def test_pages_are_full_until_the_last_which_has_no_cursor(self, broker):
        pages = [self.page(broker)]
        while pages[-1].cursor:
            pages.append(self.page(broker, pages[-1].cursor))

        assert len(pages) > 2
        assert [page.is_last for page in pages] == [False] * (len(pages) - 1) + [True]
        assert {len(page.candles) for page in pages[:-1]} == {broker.page_size}
        assert [page.is_full for page in pages] == [
            len(page.candles) == broker.page_size for page in pages
        ]
        assert all(newer.oldest > older.newest for newer, older in pairwise(pages))

    def test_an_anchor_in_the_past_is_the_newest_day(self, broker):
        page = self.page(broker, anchor=day("2026-10-08"))

        assert kst_date(page.newest) == day("2026-10-08")

    def test_prices_are_relative_to_the_anchor(self, broker):
        """An action after the anchor is not in them; days have their volumes moved."""
        broker.acts(day("2026-11-10"), 0.5)

        before = self.page(broker, anchor=day("2026-11-09")).candles
        after = {
            candle.opened_at: candle
            for candle in self.page(broker, anchor=day("2026-11-10")).candles
        }

        common = [candle for candle in before if candle.opened_at in after]
        assert len(common) > broker.page_size - 3
        for candle in common:
            moved = after[candle.opened_at]
            assert moved.close == pytest.approx(candle.close / 2, abs=0.5)
            assert moved.volume == pytest.approx(candle.volume * 2, abs=1)

    def test_a_stock_without_candles_is_answered_by_a_blank_page(self, broker):
        page = self.page(broker, stock_code=UNTRADED)

        assert page.is_blank
        assert page.is_last

    def test_the_observer_is_told_before_and_when_a_request_is_sent(self, broker):
        observer = Observer()

        self.page(broker, observer=observer)

        assert observer.told == ["before", "sent"]

    def test_what_the_observer_raises_stops_the_request(self, broker):
        class Stop(Observer):
            def before_request(self):
                raise ZeroDivisionError

        observer = Stop()
        with pytest.raises(ZeroDivisionError):
            self.page(broker, observer=observer)

        assert observer.told == []

    def test_a_blank_answer_looks_as_if_there_were_no_candles(self, broker):
        broker.answers(1, "blank")

        page = self.page(broker)

        assert page.is_blank
        assert page.is_last

    def test_an_empty_answer_may_promise_another_page(self, broker):
        broker.answers(1, "empty")

        page = self.page(broker)

        assert page.is_blank
        assert not page.is_last

    def test_a_spoilt_row_is_no_candle_but_tells_its_instant(self, broker):
        right = self.page(broker)
        broker.answers(1, "spoilt")

        page = self.page(broker)

        (row,) = page.rejected
        assert (row.opened_at, row.spoilt) == (right.newest, True)
        assert page.candles == right.candles[1:]
        assert (page.cursor, page.is_full) == (right.cursor, right.is_full)
