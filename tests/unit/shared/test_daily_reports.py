from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest

from shared.daily_reports import (
    NO_REPORT,
    Sealed,
    Since,
    Tally,
    chained,
    newest_day,
    span,
)
from tests.support.builders import day, kst
from tests.support.reports import FRIDAY, M5, a_frame, a_report


@pytest.mark.parametrize(
    ("now", "newest"),
    [
        ("2026-11-20 20:59:59", "2026-11-19"),
        ("2026-11-20 21:00", "2026-11-20"),
        ("2026-11-21 00:30", "2026-11-20"),
    ],
)
def test_a_day_ends_at_21_00_in_seoul(now, newest):
    assert newest_day(kst(now)) == day(newest)


def test_days_meet_and_do_not_overlap():
    assert span(FRIDAY)[0] == span(day("2026-11-19"))[1] == kst("2026-11-19 21:00")


def test_the_chain_is_a_hash_of_the_one_before_the_day_and_the_seals():
    told = f"{NO_REPORT}\n2026-11-20\n{'ab' * 32}\n"

    assert a_report().chain == sha256(told.encode()).hexdigest()
    assert chained("1" * 64, FRIDAY, "ab" * 32) != a_report().chain
    assert replace(a_report(), day=day("2026-11-21")).chain != a_report().chain


def test_a_day_is_told_in_one_line():
    late = a_report(frames=(a_frame(late=2, missing=1_500),))

    assert (
        a_report().summary
        == "2026-11-20: 30 seals were written; nothing is late or missing"
    )
    assert late.summary.endswith("2 series are late, 1,500 candles are missing")
    one = a_report(frames=(a_frame(late=1, missing=1),), tally=Tally(dead_tasks=1))
    assert one.summary.endswith("1 series is late, 1 candle is missing, 1 task is dead")


def test_a_closed_day_is_told_in_one_line():
    closed = a_report(day=day("2026-11-22"), has_session=False)

    assert (
        closed.summary
        == "2026-11-22: the exchange was closed; nothing is late or missing"
    )


def test_a_report_is_made_up_once_the_next_day_is_over():
    assert not a_report(made_at=kst("2026-11-21 20:59")).is_made_up
    assert a_report(made_at=kst("2026-11-21 21:00")).is_made_up


def test_coverage_is_of_what_is_settled():
    frame = a_frame(complete=6, thin=1, no_trades=1, missing_sessions=2, provisional=9)

    assert frame.coverage == 0.8
    assert a_frame().coverage is None


def test_due_times_that_were_met_are_a_share_of_all():
    assert a_report(due=200, due_met=199).punctuality == 0.995
    assert a_report().punctuality is None


def test_seals_that_differ_although_none_was_written_again_are_suspicious():
    then = Sealed(digest="a", timeframes={M5: 3})

    def since(digest, seals):
        return Since.of(then, Sealed(digest=digest, timeframes={M5: seals}))

    assert since("a", 3) == Since(sealed_anew=0, is_same=True)
    assert not since("b", 1).is_suspicious
    assert since("b", 3).is_suspicious
    assert since("b", 4).is_suspicious
