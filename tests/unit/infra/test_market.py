from __future__ import annotations

import numpy as np
import pytest

from infra.local.broker import master
from infra.local.broker.market import (
    GeneratedDays,
    Market,
    RecordedDays,
)
from tests.support.builders import CALENDAR, day, kst

HALTS = {"207940": (day("2026-10-12"), day("2026-10-16"))}
CODES = {"005930", "207940"}
EVENING = kst("2026-11-20 21:00")


def a_market(seed=7, **more):
    return Market(
        GeneratedDays(seed, CALENDAR, CODES, HALTS), CALENDAR, seed=seed, **more
    )


MARKET = a_market()


def minutes(scope, last="2026-11-20", now=EVENING, market=MARKET):
    """All bars of a scope on one day, as (time, o, h, l, c, v)."""
    month = next(iter(market.minutes("005930", scope, day(last), now)))
    begin = kst(last).timestamp()
    of_day = month[(month.opened >= begin) & (month.opened < begin + 86_400)]
    return of_day


def values(bars):
    columns = (bars.opened, bars.open, bars.high, bars.low, bars.close, bars.volume)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_the_same_seed_makes_the_same_market():
    again, other = a_market(), a_market(seed=8)

    assert values(minutes(5, market=again)) == values(minutes(5))
    assert values(minutes(5, market=other)) != values(minutes(5))


def test_the_past_does_not_change_when_time_goes_by():
    later = kst("2026-12-24 11:00")
    before = MARKET.daily("005930", day("2026-11-20"), EVENING)
    after = MARKET.daily("005930", day("2026-11-20"), later)

    assert values(before) == values(after)
    assert values(minutes(5)) == values(minutes(5, now=later))


def test_a_regular_day_has_the_candles_that_were_observed():
    assert len(minutes(5, "2026-09-11")) == 78
    assert len(minutes(30, "2026-09-11")) == 14
    assert len(minutes(60, "2026-09-11")) == 7


def test_a_day_with_after_market_has_more():
    assert len(minutes(5)) == 78 + 48
    assert len(minutes(30)) == 14 + 8
    assert len(minutes(60)) == 7 + 4


def test_no_candle_opens_while_the_auction_is_called():
    times = [kst("2026-11-20 15:20").timestamp(), kst("2026-11-20 15:25").timestamp()]

    assert not set(times) & set(minutes(5).opened.tolist())


@pytest.mark.parametrize(
    "now", [EVENING, kst("2026-11-20 10:32"), kst("2026-11-20 17:47:30")]
)
def test_the_five_timeframes_agree_at_any_moment(now):
    five = minutes(5, now=now)
    for bars in (minutes(30, now=now), minutes(60, now=now)):
        assert bars.volume.sum() == five.volume.sum()
        assert bars.high.max() == five.high.max()
        assert bars.low.min() == five.low.min()
        assert (bars.open[0], bars.close[-1]) == (five.open[0], five.close[-1])
    today = MARKET.daily("005930", day("2026-11-20"), now)[-1:]
    assert today.volume[0] == five.volume.sum()
    assert (today.high[0], today.low[0]) == (five.high.max(), five.low.min())
    assert (today.open[0], today.close[0]) == (five.open[0], five.close[-1])
    week = MARKET.weekly("005930", day("2026-11-20"), now)[-1:]
    days = MARKET.daily("005930", day("2026-11-20"), now)
    in_week = days[days.opened >= kst("2026-11-16").timestamp()]
    assert week.opened[0] == kst("2026-11-16").timestamp()
    assert week.volume[0] == in_week.volume.sum()
    assert week.close[0] == in_week.close[-1]


def test_every_bar_could_have_happened():
    for month in MARKET.minutes("005930", 5, day("2026-11-20"), EVENING):
        assert (month.low > 0).all()
        assert (month.low <= np.minimum(month.open, month.close)).all()
        assert (month.high >= np.maximum(month.open, month.close)).all()
        assert (month.volume > 0).all()
        assert (np.diff(month.opened) > 0).all()


def test_a_forming_bar_grows():
    early, late = (minutes(5, now=kst(f"2026-11-20 10:3{n}"))[-1:] for n in (1, 4))

    assert early.opened[0] == late.opened[0] == kst("2026-11-20 10:30").timestamp()
    assert early.volume[0] < late.volume[0]


def test_nothing_is_known_before_the_opening():
    early = kst("2026-11-20 08:59")

    last = MARKET.daily("005930", day("2026-11-20"), early).opened[-1]

    assert last == kst("2026-11-19").timestamp()


def test_the_candle_after_the_auction_is_not_there_at_once():
    late = kst("2026-11-20 15:35").timestamp()

    assert late not in minutes(5, now=kst("2026-11-20 18:00")).opened
    assert late in minutes(5).opened


def test_weeks_open_with_their_first_session():
    weeks = MARKET.weekly("005930", day("2026-10-09"), EVENING)

    # Monday 2026-10-05 was a holiday.
    assert weeks.opened[-1] == kst("2026-10-06").timestamp()


def test_a_week_is_cut_at_the_last_day_asked_for():
    until_tuesday = MARKET.weekly("005930", day("2026-11-10"), EVENING)
    whole = MARKET.weekly("005930", day("2026-11-13"), EVENING)

    assert until_tuesday.opened[-1] == whole.opened[-1]
    assert until_tuesday.volume[-1] < whole.volume[-1]


def test_a_halted_stock_has_flat_days_and_no_minutes():
    days = MARKET.daily("207940", day("2026-10-14"), EVENING)[-1:]
    assert days.volume[0] == 0
    assert days.open[0] == days.high[0] == days.low[0] == days.close[0]

    (month, *_) = MARKET.minutes("207940", 5, day("2026-10-16"), EVENING)
    assert month.opened[-1] < kst("2026-10-12").timestamp()


def test_minutes_are_kept_for_a_year():
    oldest = None
    for month in MARKET.minutes("005930", 60, day("2026-11-20"), EVENING):
        oldest = month.opened[0]

    assert oldest == kst("2025-11-20 09:00").timestamp()


def test_an_unknown_stock_has_nothing():
    assert not MARKET.knows("999999")


def test_the_master_has_a_whole_market_with_letters_and_funds():
    entries = master.simulated()
    kospi, kosdaq = master.listing(entries, "0"), master.listing(entries, "10")

    assert len(entries) == 2_900
    assert {entry["marketCode"] for entry in kospi} == {"0", "8"}
    assert len(kosdaq) == 1_820
    assert any(not code.isdigit() for code in entries)
    assert "091990" not in entries


def test_a_folder_without_data_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no krx_.*csv.gz"):
        RecordedDays(tmp_path)
