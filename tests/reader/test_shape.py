"""The shape of frames, promised for ever: run with pandas 2 and with pandas 3."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from tests.support.builders import kst
from tradesmart import (
    iter_candles,
    read_actions,
    read_arrow,
    read_candles,
    read_sessions,
    read_stocks,
)

MINUTES = ["open", "high", "low", "close", "volume", "turnover"]
WEEK = ("2026-11-16", "2026-11-21")
EMPTY = ("2026-11-21", "2026-11-23")
REGULAR, AFTER = 78, 48


def types(frame):
    return {name: str(kind) for name, kind in frame.dtypes.items()}


def test_columns_and_types_are_the_promised_ones(market):
    frame = read_candles("005930", "5m", *WEEK, source=market)

    assert types(frame) == dict.fromkeys(MINUTES[:5], "int64") | {"turnover": "Int64"}
    assert list(frame.columns) == MINUTES
    assert len(frame) == 5 * REGULAR


def test_one_code_is_indexed_by_the_opening_alone(market):
    index = read_candles("005930", "5m", *WEEK, source=market).index

    assert index.name == "opened_at"
    assert str(index.dtype) == "datetime64[us, Asia/Seoul]"
    assert index.is_monotonic_increasing
    assert index.is_unique
    assert index[0] == kst("2026-11-16 09:00")


def test_a_list_is_indexed_by_stock_and_opening_even_with_one_element(market):
    one = read_candles(["005930"], "5m", *WEEK, source=market)
    three = read_candles("targets", "5m", *WEEK, source=market)

    for frame in (one, three):
        assert frame.index.names == ["stock_code", "opened_at"]
        assert str(frame.index.levels[1].dtype) == "datetime64[us, Asia/Seoul]"
        assert frame.index.is_monotonic_increasing
        assert frame.index.is_unique
    assert len(three) == 3 * len(one)
    pd.testing.assert_frame_equal(three.loc[["005930"]], one, check_index_type=False)


@pytest.mark.parametrize("stocks", ["005930", ["005930"]])
@pytest.mark.parametrize("timeframe", ["5m", "1d", "1w"])
def test_an_empty_frame_has_the_same_columns_types_and_index(market, stocks, timeframe):
    full = read_candles(stocks, timeframe, "2026-11-02", "2026-11-16", source=market)
    empty = read_candles(stocks, timeframe, *EMPTY, source=market)

    assert empty.empty
    assert types(empty) == types(full)
    assert empty.index.names == full.index.names
    assert empty.reset_index().dtypes.equals(full.reset_index().dtypes)


def test_days_add_the_official_close(market):
    frame = read_candles("005930", "1d", *WEEK, source=market)

    assert list(frame.columns) == [*MINUTES, "official_close"]
    assert str(frame["official_close"].dtype) == "Int64"
    close = read_candles("005930", "5m", *WEEK, source=market)["close"]
    # The last but one: a small candle follows the auction.
    auction = close.groupby(close.index.normalize()).nth(-2)
    assert frame["official_close"].tolist() == auction.tolist()
    assert list(read_candles("005930", "1w", *WEEK, source=market)) == MINUTES


def test_wide_is_one_column_over_time_and_stock(market):
    frame = read_candles(["005930", "000200"], "1d", *WEEK, source=market, wide="close")
    long = read_candles(["005930", "000200"], "1d", *WEEK, source=market)["close"]

    assert list(frame.columns) == ["000200", "005930"]
    assert frame.columns.name == "stock_code"
    assert set(map(str, frame.dtypes)) == {"Int64"}
    assert frame["000200"].tolist() == long.loc["000200"].tolist()


def test_wide_leaves_empty_where_a_stock_has_no_candle(a_market, execute):
    execute(
        "DELETE FROM candles WHERE stock_code = '000200' AND timeframe = '1d'"
        " AND opened_at >= '2026-11-17 00:00+09'"
    )

    frame = read_candles(
        ["005930", "000200"], "1d", *WEEK, source=a_market, wide="volume", require=None
    )

    assert frame["000200"].isna().tolist() == [False, True, True, True, True]
    assert not frame["005930"].isna().any()


def test_korean_names_are_given_if_they_are_wanted(market):
    frame = read_candles("005930", "1d", *WEEK, source=market, columns="ko")

    assert list(frame.columns) == [
        *("시가", "고가", "저가", "종가", "거래량", "거래대금"),
        "공식종가",
    ]


def test_some_columns_come_in_the_order_in_which_they_were_named(market):
    frame = read_candles(
        "005930", "5m", *WEEK, source=market, columns=["volume", "low"]
    )

    assert list(frame.columns) == ["volume", "low"]


def test_the_after_market_is_there_only_if_it_is_wanted(market):
    day = ("2026-11-18", "2026-11-19")
    regular, after, everything = (
        read_candles("005930", "5m", *day, source=market, session=part)
        for part in ("regular", "after", "all")
    )

    assert (len(regular), len(after)) == (len(everything) - AFTER, AFTER)
    assert after.index[0] == kst("2026-11-18 16:00")
    pd.testing.assert_frame_equal(pd.concat([regular, after]), everything)


def test_days_are_days_in_seoul_and_the_end_is_not_included(market):
    frame = read_candles("005930", "5m", "2026-11-17", "2026-11-18", source=market)

    assert {instant.date() for instant in frame.index} == {date(2026, 11, 17)}
    same = read_candles(
        "005930",
        "5m",
        date(2026, 11, 17),
        pd.Timestamp("2026-11-17 15:00", tz="UTC"),
        source=market,
    )
    pd.testing.assert_frame_equal(frame, same)


def test_another_zone_names_the_same_instants(market):
    seoul = read_candles("005930", "5m", *WEEK, source=market)
    paris = read_candles("005930", "5m", *WEEK, source=market, tz="Europe/Paris")

    assert str(paris.index.dtype) == "datetime64[us, Europe/Paris]"
    assert (paris.index == seoul.index).all()
    assert paris.index[0].astimezone(ZoneInfo("Asia/Seoul")).hour == 9


def test_what_is_provisional_comes_only_if_it_is_wanted(a_market, execute):
    execute("UPDATE series SET settled_through = '2026-11-19' WHERE timeframe = '5m'")

    settled = read_candles("005930", "5m", "2026-11-16", source=a_market)
    everything = read_candles(
        "005930", "5m", "2026-11-16", source=a_market, settled=False, require=None
    )

    assert settled.index[-1].date() == date(2026, 11, 19)
    assert everything.index[-1].date() == date(2026, 11, 20)


def test_each_series_is_settled_up_to_its_own_session(a_market, execute):
    execute(
        "UPDATE series SET settled_through = '2026-11-18' WHERE stock_code = '000660'"
    )

    frame = read_candles("targets", "5m", "2026-11-16", source=a_market, require=None)

    newest = frame.reset_index().groupby("stock_code")["opened_at"].max().dt.day
    assert newest.to_dict() == {"000200": 20, "000660": 18, "005930": 20}


def test_frames_that_are_iterated_are_the_frame_that_is_read(market, monkeypatch):
    monkeypatch.setattr("tradesmart.read.MOST_ROWS", 1000)

    for stocks in ("005930", "targets"):
        read = read_candles(stocks, "5m", source=market)
        parts = list(iter_candles(stocks, "5m", source=market))

        assert max(map(len, parts)) == 1000
        assert len(parts) == -(-len(read) // 1000)
        pd.testing.assert_frame_equal(pd.concat(parts), read, check_index_type=False)


def test_arrow_has_the_same_candles_as_pandas(market):
    frame = read_candles("targets", "1d", *WEEK, source=market)
    table = read_arrow("targets", "1d", *WEEK, source=market)

    assert [f"{field.name} {field.type}" for field in table.schema] == [
        "stock_code string",
        "opened_at timestamp[us, tz=Asia/Seoul]",
        *(f"{name} int64" for name in [*MINUTES, "official_close"]),
    ]
    assert table.column("stock_code").to_pylist() == list(
        frame.index.get_level_values(0)
    )
    assert table.column("close").to_pylist() == frame["close"].tolist()


def test_nothing_of_a_frame_belongs_to_someone_else(market):
    frame = read_candles("005930", "5m", *WEEK, source=market)

    frame["close"] *= 2
    frame.iloc[0, 0] = 1

    assert frame["open"].iloc[0] == 1
    assert isinstance(frame["close"].to_numpy(), np.ndarray)


def test_stocks_keep_their_zeros_and_their_types(market):
    stocks = read_stocks(source=market)

    assert list(stocks.index) == ["000200", "000660", "005930"]
    assert stocks.loc["000200", "stock_name"] == "이백"
    assert str(stocks["listed_on"].dtype) == "datetime64[us]"
    assert str(stocks["listed_shares"].dtype) == "Int64"


def test_sessions_have_their_hours_in_seoul(market):
    sessions = read_sessions(source=market)

    assert sessions.loc["2026-11-19", "opens_at"] == kst("2026-11-19 10:00")
    assert str(sessions.index.dtype) == "datetime64[us]"
    assert str(sessions["closes_at"].dtype) == "datetime64[us, Asia/Seoul]"


def test_actions_have_the_ratio_of_each_move(a_market, execute):
    execute(
        "INSERT INTO corporate_actions VALUES"
        " ('000200', '1d', '2026-11-10', '2026-11-11', 0.2, '{}', 'run', now())"
    )

    actions = read_actions(source=a_market)

    assert actions.loc[("000200", "1d", "2026-11-10"), "ratio"] == 0.2
    assert read_actions(source=a_market).index.names == [
        "stock_code",
        "timeframe",
        "after_date",
    ]


def test_coverage_tells_states_and_the_instant_read(market):
    coverage = read_candles("targets", "5m", *WEEK, source=market).attrs["coverage"]

    assert coverage["states"] == {"complete": 15}
    assert coverage["gaps"] == []
    assert coverage["read_at"] == "2026-11-21T01:00:00+00:00"


def test_coverage_is_kept_in_a_file_of_the_frame(market, tmp_path):
    frame = read_candles("targets", "5m", *WEEK, source=market)

    frame.to_parquet(tmp_path / "frame.parquet")

    kept = pd.read_parquet(tmp_path / "frame.parquet")
    assert kept.attrs == frame.attrs
