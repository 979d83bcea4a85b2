"""The files of qlib, as it documents them; qlib itself reads them where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

from tradesmart import read_candles, write_qlib

DAYS = ("2026-11-02", "2026-11-21")


def feature(folder, code, name, frequency="day"):
    path = folder / "features" / code / f"{name}.{frequency}.bin"
    first, *values = np.fromfile(path, dtype="<f4").tolist()
    return int(first), values


def test_each_field_has_the_place_of_its_first_value_then_its_values(market, tmp_path):
    assert write_qlib(tmp_path, "targets", "1d", *DAYS, source=market) == 3

    frame = read_candles("000200", "1d", *DAYS, source=market)
    assert feature(tmp_path, "000200", "close") == (0, frame["close"].tolist())
    assert feature(tmp_path, "000200", "factor")[1] == [1.0] * len(frame)
    days = (tmp_path / "calendars" / "day.txt").read_text().split()
    assert days == [f"{day:%Y-%m-%d}" for day in frame.index]
    listed = (tmp_path / "instruments" / "all.txt").read_text().splitlines()
    assert listed[0] == f"000200\t{days[0]}\t{days[-1]}"


def test_a_slot_without_a_candle_is_empty(a_market, execute, tmp_path):
    execute(
        "DELETE FROM candles WHERE stock_code = '000660' AND timeframe = '5m'"
        " AND opened_at IN ('2026-11-18 09:00+09', '2026-11-18 09:10+09')"
    )
    day = ("2026-11-18", "2026-11-19")

    write_qlib(tmp_path, "targets", "5m", *day, source=a_market, require=None)

    first, values = feature(tmp_path, "000660", "volume", "5min")
    assert first == 1
    assert np.isnan(values[1])
    assert not np.isnan(values[0])
    instants = (tmp_path / "calendars" / "5min.txt").read_text().splitlines()
    assert instants[:2] == ["2026-11-18 09:00:00", "2026-11-18 09:05:00"]


@pytest.mark.parametrize("timeframe", ["1d", "D"])
def test_one_code_is_one_instrument(market, tmp_path, timeframe):
    assert write_qlib(tmp_path, "005930", timeframe, *DAYS, source=market) == 1


def test_qlib_loads_it(market, tmp_path):
    qlib = pytest.importorskip("qlib", reason="qlib is not installed here")
    from qlib.data import D  # noqa: PLC0415

    write_qlib(tmp_path, "targets", "1d", *DAYS, source=market)
    qlib.init(provider_uri=str(tmp_path))

    frame = D.features(["000200"], ["$close"], freq="day")

    ours = read_candles("000200", "1d", *DAYS, source=market)
    assert frame["$close"].tolist() == ours["close"].tolist()
