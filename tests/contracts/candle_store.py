"""What every candle store does, as far as the collector can tell; see ``CandleStore``."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import replace
from fractions import Fraction

import pytest

from shared.candles import RejectedRow
from shared.errors import Busy, StaleSeries
from shared.messages import CollectRequest
from shared.modes import Mode
from shared.series import CollectedSeries, Period, PriceMove, Series, WriteCounts
from tests.support.builders import a_candle, a_request, day, kst

NOW = kst("2026-11-20 10:30")
WEEK = tuple(a_candle(f"2026-11-{n}") for n in (16, 17, 18, 19, 20))
COVERED = Series(
    covered_from=day("2026-11-16"),
    wanted_from=day("2026-11-16"),
    settled_through=day("2026-11-18"),
)
WHOLE = Period(kst("2026-11-16"), kst("2026-11-21"))
SPLIT = PriceMove(
    ratio=Fraction(1, 5),
    after=day("2026-11-17"),
    effective_by=day("2026-11-18"),
    evidence='{"compared": 3}',
)


def collected(data, candles=WEEK, **values):
    """What an attempt has found."""
    known = {
        "series": COVERED,
        "calendar": data.store.calendar().version,
        "read_at": NOW,
    }
    return CollectedSeries(**{**known, "candles": tuple(candles), **values})


class CandleStoreContract:
    """The fixture ``data`` has a ``store`` and its ``ledger``.

    ``open(request)`` writes a task down, ``expire(request)`` lets the lease run out, and
    ``asked_at(request)`` tells through when a series was asked for.
    """

    def run(
        self, data, candles=WEEK, *, timeframe="1d", run_id=None, told=None, **values
    ):
        """Store for a task of its own; ``told`` is a move that the request brings."""
        data.runs = getattr(data, "runs", 0) + 1
        run_id = run_id or f"run-{data.runs}"
        request = data.open(a_request(timeframe, run_id=run_id, move=told))
        with data.ledger.attempt(request) as attempt:
            return data.store.store(attempt, collected(data, candles, **values))

    @contextmanager
    def begin(self, data, timeframe="1d"):
        """An attempt that is given back."""
        request = data.open(a_request(timeframe, run_id="look"))
        with suppress(Busy), data.ledger.attempt(request) as attempt:
            yield attempt
            raise Busy("this was only a look")

    def found(self, data, timeframe="1d", period=WHOLE):
        with self.begin(data, timeframe) as attempt:
            return data.store.candles(attempt, period)

    def known(self, data, period=WHOLE):
        with self.begin(data) as attempt:
            return data.store.known_slots(attempt, period)

    def test_candles_come_back_as_they_were_stored(self, data):
        candle = a_candle(turnover=648_525_000_000)

        self.run(data, [candle])

        assert self.found(data) == {candle.opened_at: candle}

    def test_candles_are_read_from_the_first_instant_to_before_the_last(self, data):
        self.run(data)

        period = Period(kst("2026-11-17"), kst("2026-11-19"))

        assert sorted(self.found(data, period=period)) == [
            kst("2026-11-17"),
            kst("2026-11-18"),
        ]

    def test_storing_counts_what_it_did(self, data):
        changed = replace(WEEK[4], close=70_600)

        assert self.run(data, WEEK[:3]).counts == WriteCounts(inserted=3)
        assert self.run(data, WEEK[:3]).counts == WriteCounts(unchanged=3)
        assert self.run(data, [*WEEK[:4], changed]).counts == WriteCounts(
            inserted=2, unchanged=3
        )
        assert self.run(data).counts == WriteCounts(updated=1, unchanged=4)

    def test_a_settled_candle_that_differs_is_a_revision(self, data):
        self.run(data)
        changed = [replace(candle, close=70_600) for candle in WEEK]

        counts = self.run(data, changed).counts

        assert (counts.updated, counts.revised) == (5, 3)

    def test_the_series_is_that_of_the_next_attempt(self, data):
        self.run(data)

        with self.begin(data) as attempt:
            assert attempt.series == replace(
                COVERED,
                oldest=day("2026-11-16"),
                newest=kst("2026-11-20"),
                collected_on=day("2026-11-20"),
                version=1,
            )

    def test_through_when_a_series_was_asked_for_only_moves_on(self, data):
        def asked_at():
            return data.asked_at(a_request())

        self.run(data)
        assert asked_at() is None
        self.run(data, asked_through=kst("2026-11-20 10:30"))
        self.run(data, asked_through=kst("2026-11-18"))
        self.run(data, timeframe="5m", asked_through=kst("2026-11-20 10:40"))
        assert asked_at() == kst("2026-11-20 10:30")

        self.run(data, [], asked_through=kst("2026-11-20 10:35"))
        assert asked_at() == kst("2026-11-20 10:35")

    def test_what_a_complete_reading_did_not_have_is_withdrawn(self, data):
        self.run(data)

        stored = self.run(data, [WEEK[0], WEEK[3]], complete=(WHOLE,))

        assert stored.counts == WriteCounts(unchanged=2, withdrawn=3)
        assert sorted(self.found(data)) == [WEEK[0].opened_at, WEEK[3].opened_at]

    def test_only_inside_the_complete_periods_anything_is_withdrawn(self, data):
        self.run(data)
        period = Period(kst("2026-11-17"), kst("2026-11-18"))

        stored = self.run(data, [], complete=(period,))

        assert stored.counts.withdrawn == 1
        assert sorted(self.found(data)) == [
            candle.opened_at for candle in (WEEK[0], *WEEK[2:])
        ]

    def test_a_row_that_could_not_be_read_withdraws_nothing(self, data):
        self.run(data)
        row = RejectedRow(reason="odd", raw="{}", opened_at=WEEK[1].opened_at)

        stored = self.run(
            data,
            [WEEK[0], *WEEK[2:]],
            complete=(WHOLE,),
            rejected=(row,),
            unreadable=frozenset({WEEK[1].opened_at}),
        )

        assert stored.counts == WriteCounts(unchanged=4, rejected=1)
        assert len(self.found(data)) == 5

    def test_an_absence_is_known_until_there_is_a_candle(self, data):
        self.run(data, [WEEK[0], WEEK[2]], absent=(WEEK[1].opened_at,))
        assert self.known(data) == {candle.opened_at for candle in WEEK[:3]}

        self.run(data, WEEK[:3])
        self.run(data, [WEEK[0], WEEK[2]], complete=(WHOLE,))

        assert self.known(data) == {WEEK[0].opened_at, WEEK[2].opened_at}

    def test_absences_of_a_period_can_be_forgotten(self, data):
        self.run(data, [], absent=(WEEK[0].opened_at, WEEK[3].opened_at))

        self.run(data, [], forgotten=Period(kst("2026-11-16"), kst("2026-11-18")))

        assert self.known(data) == {WEEK[3].opened_at}

    def test_forgetting_does_not_touch_what_is_proven_at_once(self, data):
        slot = WEEK[1].opened_at
        self.run(data, [], absent=(slot,))

        self.run(data, [], absent=(slot,), forgotten=WHOLE)

        assert self.known(data) == {slot}

    def test_the_days_of_a_stock_tell_whether_it_has_traded(self, data):
        def has_traded(since):
            with self.begin(data, "5m") as attempt:
                return data.store.has_traded_since(attempt, day(since))

        assert has_traded("2026-11-16") is None

        self.run(data, [WEEK[0], *(replace(halted, volume=0) for halted in WEEK[1:])])

        assert has_traded("2026-11-16") is True
        assert has_traded("2026-11-17") is False

    def test_a_task_is_done_if_all_it_answers_for_is_there_or_explained(self, data):
        expected = tuple(candle.opened_at for candle in WEEK[:3])

        stored = self.run(
            data, [WEEK[0], WEEK[2]], expected=expected, absent=(WEEK[1].opened_at,)
        )

        assert (stored.state, stored.missing) == ("done", ())

    def test_a_task_is_incomplete_if_anything_is_missing(self, data):
        expected = tuple(candle.opened_at for candle in WEEK)

        stored = self.run(data, [WEEK[0], WEEK[3]], expected=expected)

        assert stored.state == "incomplete"
        assert list(stored.missing) == [
            WEEK[1].opened_at,
            WEEK[2].opened_at,
            WEEK[4].opened_at,
        ]

    def test_what_was_withdrawn_is_missing_where_it_is_expected(self, data):
        self.run(data)

        stored = self.run(
            data,
            [WEEK[0], *WEEK[2:]],
            complete=(WHOLE,),
            expected=(WEEK[1].opened_at,),
        )

        assert stored.missing == (WEEK[1].opened_at,)

    def test_without_data_a_task_answers_for_nothing(self, data):
        stored = self.run(data, [], series=replace(COVERED, ended=True), no_data=True)

        assert stored.state == "no_data"

    def test_a_move_rescales_what_is_no_longer_served(self, data):
        self.run(data)
        served = [replace(candle, close=70_600) for candle in WEEK[2:]]

        stored = self.run(data, served, move=SPLIT)

        found = self.found(data)
        assert stored.counts.rescaled == 2
        for candle in WEEK[:2]:
            moved = found[candle.opened_at]
            assert (moved.open, moved.high, moved.low, moved.close) == (
                14_000,
                14_200,
                13_800,
                14_100,
            )
            assert (moved.volume, moved.turnover) == (5_000, candle.turnover)
        assert [found[candle.opened_at] for candle in served] == served

    def test_a_move_that_is_told_again_is_applied_once(self, data):
        self.run(data)
        self.run(data, WEEK[2:], move=SPLIT)

        stored = self.run(data, WEEK[2:], move=SPLIT, told=SPLIT)

        assert (stored.counts.rescaled, stored.follow_up) == (0, None)
        assert self.found(data)[WEEK[0].opened_at].close == 14_100

    def test_a_second_move_by_the_same_ratio_is_applied_too(self, data):
        """Found over days that overlap with those of the first one."""
        self.run(data)
        self.run(data, WEEK[2:], move=SPLIT)
        again = replace(SPLIT, effective_by=day("2026-11-19"))

        stored = self.run(data, WEEK[2:], move=again)

        assert stored.counts.rescaled == 2
        assert self.found(data)[WEEK[0].opened_at].close == 2_820

    def test_a_contradiction_is_remembered(self, data):
        doubtful = replace(COVERED, unproven_on=day("2026-11-20"), unproven_ratio=0.2)
        self.run(data, series=doubtful)

        with self.begin(data) as attempt:
            assert attempt.series.unproven_on == day("2026-11-20")
            assert attempt.series.unproven_ratio == 0.2

    def test_with_a_move_only_outliers_are_revisions(self, data):
        self.run(data)
        moved = [replace(candle, volume=5_000) for candle in WEEK]

        counts = self.run(
            data, moved, move=SPLIT, outliers=frozenset({WEEK[1].opened_at})
        ).counts

        assert (counts.updated, counts.revised) == (5, 1)

    def test_a_move_leads_to_one_run_for_the_other_timeframes(self, data):
        self.run(data, [], timeframe="5m")
        self.run(data, [], timeframe="1w")
        self.run(data)

        run = self.run(data, move=SPLIT).follow_up

        requests = [CollectRequest.from_bytes(message) for message in run.messages]
        assert [request.timeframe.value for request in requests] == ["1w", "5m"]
        assert {(r.mode, r.move, r.run_id) for r in requests} == {
            (Mode.REBUILD, SPLIT, run.run_id)
        }
        for request in requests:
            with data.ledger.attempt(request) as attempt:
                assert attempt

    def test_another_action_of_the_same_day_is_told_as_well(self, data):
        for timeframe in ("5m", "1d"):
            self.run(data, [], timeframe=timeframe)
        other = replace(SPLIT, ratio=Fraction(100, 101))

        first = self.run(data, [], move=SPLIT).follow_up
        second = self.run(data, [], move=other).follow_up

        assert second.run_id != first.run_id

    def test_timeframes_that_find_one_action_ask_for_one_rebuild_each(self, data):
        for timeframe in ("5m", "1w", "1d"):
            self.run(data, [], timeframe=timeframe)

        first = self.run(data, [], move=SPLIT).follow_up
        second = self.run(data, [], timeframe="1w", move=SPLIT).follow_up
        third = self.run(data, [], timeframe="5m", move=SPLIT).follow_up

        asked = [
            CollectRequest.from_bytes(message).timeframe.value
            for run in (first, second, third)
            if run
            for message in run.messages
        ]
        assert sorted(set(asked)) == ["1w", "5m"]
        assert len(asked) == 2

    def test_a_series_that_was_taken_over_is_not_written(self, data):
        request = data.open(a_request())
        with pytest.raises(StaleSeries), data.ledger.attempt(request) as attempt:
            data.expire(request)
            with data.ledger.attempt(request):
                data.store.store(attempt, collected(data))

        assert self.found(data) == {}

    def test_a_series_that_changed_meanwhile_is_not_written(self, data):
        self.run(data, WEEK[:1])
        request = data.open(a_request(run_id="run-9"))
        with pytest.raises(StaleSeries), data.ledger.attempt(request) as attempt:
            attempt.series = replace(attempt.series, version=0)
            data.store.store(attempt, collected(data))

        assert len(self.found(data)) == 1

    def test_a_calendar_that_changed_meanwhile_is_not_stored_with(self, data):
        request = data.open(a_request())
        version = data.store.calendar().version
        with pytest.raises(StaleSeries), data.ledger.attempt(request) as attempt:
            data.store.store(attempt, collected(data, calendar=version + 1))

        assert self.found(data) == {}
