from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from infra.local.broker import master
from infra.local.broker.days import GeneratedDays, RecordedDays
from infra.local.broker.market import Market
from infra.local.broker.views import ChartView, Disclosures
from tests.support.builders import CALENDAR, day, kst

HALTS = {"207940": (day("2026-10-12"), day("2026-10-16"))}
CODES = {"005930", "207940"}
EVENING = kst("2026-11-20 21:00")
# All of the last session has arrived.
MORNING = kst("2026-11-21 07:30")


def a_market(seed=7, **more):
    return Market(
        GeneratedDays(seed, CALENDAR, CODES, HALTS), CALENDAR, seed=seed, **more
    )


MARKET = a_market()


def shown(
    timeframe,
    last="2026-11-20",
    now=MORNING,
    *,
    stock="005930",
    market=MARKET,
    size=900,
):
    """The newest bars up to a day."""
    view = ChartView(
        market=market,
        disclosures=Disclosures(),
        stock_code=stock,
        timeframe=timeframe,
        base=day(last),
        now=now,
    )
    return view.newest(None, size)


def of_day(timeframe, last="2026-11-20", now=MORNING, **more):
    """All bars of one day."""
    bars = shown(timeframe, last, now, **more)
    return bars[bars.opened >= kst(last).timestamp()]


def values(bars):
    columns = (bars.opened, bars.open, bars.high, bars.low, bars.close, bars.volume)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_the_same_seed_makes_the_same_market():
    again, other = a_market(), a_market(seed=8)

    assert values(of_day("5m", market=again)) == values(of_day("5m"))
    assert values(of_day("5m", market=other)) != values(of_day("5m"))


def test_the_past_does_not_change_when_time_goes_by():
    later = kst("2026-12-24 11:00")
    before = shown("1d", "2026-11-20", MORNING)
    after = shown("1d", "2026-11-20", later)

    assert values(before) == values(after)
    assert values(of_day("5m")) == values(of_day("5m", now=later))


def test_a_regular_day_has_the_candles_that_were_observed():
    assert len(of_day("5m", "2026-09-11")) == 78
    assert len(of_day("30m", "2026-09-11")) == 14
    assert len(of_day("60m", "2026-09-11")) == 7


def test_a_day_with_after_market_has_more():
    assert len(of_day("5m")) == 78 + 48
    assert len(of_day("30m")) == 14 + 8
    assert len(of_day("60m")) == 7 + 4


def test_no_candle_opens_while_the_auction_is_called():
    times = [kst("2026-11-20 15:20").timestamp(), kst("2026-11-20 15:25").timestamp()]

    assert not set(times) & set(of_day("5m").opened.tolist())


@pytest.mark.parametrize(
    "now", [EVENING, kst("2026-11-20 10:32"), kst("2026-11-20 17:47:30")]
)
def test_the_five_timeframes_agree_at_any_moment(now):
    five = of_day("5m", now=now)
    for bars in (of_day("30m", now=now), of_day("60m", now=now)):
        assert bars.volume.sum() == five.volume.sum()
        assert bars.high.max() == five.high.max()
        assert bars.low.min() == five.low.min()
        assert (bars.open[0], bars.close[-1]) == (five.open[0], five.close[-1])
    today = shown("1d", "2026-11-20", now)[-1:]
    assert today.volume[0] == five.volume.sum()
    assert (today.high[0], today.low[0]) == (five.high.max(), five.low.min())
    assert (today.open[0], today.close[0]) == (five.open[0], five.close[-1])
    week = shown("1w", "2026-11-20", now)[-1:]
    days = shown("1d", "2026-11-20", now)
    in_week = days[days.opened >= kst("2026-11-16").timestamp()]
    assert week.opened[0] == kst("2026-11-16").timestamp()
    assert week.volume[0] == in_week.volume.sum()
    assert week.close[0] == in_week.close[-1]


def test_every_bar_could_have_happened():
    for timeframe in ("5m", "30m", "60m", "1d", "1w"):
        bars = shown(timeframe)
        assert (bars.low > 0).all()
        assert (bars.low <= np.minimum(bars.open, bars.close)).all()
        assert (bars.high >= np.maximum(bars.open, bars.close)).all()
        assert (bars.volume > 0).all()
        assert (np.diff(bars.opened) > 0).all()


def test_a_forming_bar_grows():
    early, late = (of_day("5m", now=kst(f"2026-11-20 10:3{n}"))[-1:] for n in (1, 4))

    assert early.opened[0] == late.opened[0] == kst("2026-11-20 10:30").timestamp()
    assert early.volume[0] < late.volume[0]


def test_nothing_is_known_before_the_opening():
    early = kst("2026-11-20 08:59")

    last = shown("1d", "2026-11-20", early).opened[-1]

    assert last == kst("2026-11-19").timestamp()


@pytest.mark.parametrize("timeframe", ["5m", "30m", "60m", "1d", "1w"])
def test_the_last_changes_of_a_session_arrive_after_midnight(timeframe):
    since = kst("2026-11-16").timestamp()
    volumes = []
    for now in ("2026-11-20 20:45", "2026-11-21 00:04", "2026-11-21 00:05"):
        bars = shown(timeframe, now=kst(now))
        volumes.append(bars.volume[bars.opened >= since].sum())

    assert volumes[0] == volumes[1] < volumes[2]


def test_the_candle_after_the_auction_is_there_the_next_day():
    late = kst("2026-11-20 15:35").timestamp()

    assert late not in of_day("5m", now=EVENING).opened
    assert late in of_day("5m").opened


def test_weeks_open_with_their_first_session():
    weeks = shown("1w", "2026-10-09")

    # Monday 2026-10-05 was a holiday.
    assert weeks.opened[-1] == kst("2026-10-06").timestamp()


def test_a_week_is_cut_at_the_last_day_asked_for():
    until_tuesday = shown("1w", "2026-11-10")
    whole = shown("1w", "2026-11-13")

    assert until_tuesday.opened[-1] == whole.opened[-1]
    assert until_tuesday.volume[-1] < whole.volume[-1]


def test_a_halted_stock_has_flat_days_and_no_minutes():
    days = shown("1d", "2026-10-14", stock="207940")[-1:]
    assert days.volume[0] == 0
    assert days.open[0] == days.high[0] == days.low[0] == days.close[0]

    minutes = shown("5m", "2026-10-16", stock="207940")
    assert minutes.opened[-1] < kst("2026-10-12").timestamp()


def test_minutes_are_kept_for_a_year():
    oldest = [
        shown("60m", now=kst(now), size=99_999).opened[0]
        for now in ("2026-11-20 21:00", "2026-11-21 21:00")
    ]

    assert oldest == [
        kst("2025-11-20 09:00").timestamp(),
        kst("2025-11-21 09:00").timestamp(),
    ]


def test_a_market_may_keep_minutes_for_less():
    short = a_market(retention=timedelta(days=5))

    oldest = shown("5m", now=EVENING, market=short).opened[0]

    assert oldest == kst("2026-11-16 09:00").timestamp()


def test_a_thin_stock_has_few_minutes_and_all_of_its_volume():
    thin = a_market(thin={"005930": 0.2})

    few, all_ = of_day("5m", "2026-09-11", market=thin), of_day("5m", "2026-09-11")

    few = few[few.opened < kst("2026-09-12").timestamp()]
    all_ = all_[all_.opened < kst("2026-09-12").timestamp()]
    assert len(few) < 40
    assert few.volume.sum() == all_.volume.sum()
    assert (few.high.max(), few.low.min()) == (all_.high.max(), all_.low.min())


@pytest.mark.parametrize("level", [50, 216, 300])
def test_a_stock_may_have_a_chosen_price(level):
    source = GeneratedDays(7, CALENDAR, CODES, {}, {"005930": level})

    closes = shown("1d", market=Market(source, CALENDAR, seed=7)).close

    assert closes.min() > 0.8 * level
    assert closes.max() < 1.2 * level


def test_an_unknown_stock_has_nothing():
    assert not MARKET.knows("999999")


def test_the_master_has_a_whole_market_with_letters_and_funds():
    entries = master.simulated()
    kospi, kosdaq = (
        master.listing(entries, market, Disclosures(), EVENING)
        for market in ("0", "10")
    )

    assert len(entries) == 2_900
    assert {entry["marketCode"] for entry in kospi} == {"0", "8"}
    assert len(kosdaq) == 1_820
    assert any(not code.isdigit() for code in entries)
    assert "091990" not in entries


def test_a_folder_without_data_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no krx_.*csv.gz"):
        RecordedDays(tmp_path)
