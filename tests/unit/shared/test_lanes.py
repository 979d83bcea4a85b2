from __future__ import annotations

from fractions import Fraction

import pytest

from shared.candles import Timeframe
from shared.lanes import COLLECT_TOPICS, Call, Lane, call_of, lane_of
from shared.modes import Mode
from shared.runs import rebuild_run
from shared.series import PriceMove
from tests.support.builders import a_request, day, kst


@pytest.mark.parametrize(
    ("timeframe", "call"),
    [
        ("5m", Call.MINUTES),
        ("30m", Call.MINUTES),
        ("60m", Call.MINUTES),
        ("1d", Call.DAYS),
        ("1w", Call.WEEKS),
    ],
)
def test_a_timeframe_has_the_limit_of_the_call_that_serves_it(timeframe, call):
    assert call_of(Timeframe(timeframe)) is call


def test_live_topics_come_first_so_that_they_are_published_first():
    assert [Lane.LIVE in topic for topic in COLLECT_TOPICS] == [True] * 3 + [False] * 3


def test_only_what_stays_current_is_live():
    assert [mode for mode in Mode if lane_of(mode) is Lane.LIVE] == [Mode.INCREMENTAL]


def test_a_rebuild_that_follows_from_a_corporate_action_is_history():
    move = PriceMove(
        ratio=Fraction(1, 5),
        after=day("2026-11-18"),
        effective_by=day("2026-11-19"),
        evidence="{}",
    )

    found_at = kst("2026-11-19 07:31")
    run = rebuild_run(a_request(), move, [Timeframe.DAY_1, Timeframe.WEEK_1], found_at)

    assert run.requested_at == found_at
    assert {request.lane for request in run.requests} == {Lane.HISTORY}
