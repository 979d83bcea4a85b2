"""Writes candles as the files that qlib reads.

::

    calendars/day.txt            one day a line; of minutes, one instant a line
    instruments/all.txt          code, first and last instant, by tabs
    features/005930/close.day.bin    float32: the place of the first value, then values
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shared.candles import Timeframe
from tradesmart.read import read_candles
from tradesmart.request import timeframe_of

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import pandas as pd

    from tradesmart.request import Moment

FREQUENCIES = {
    Timeframe.MINUTE_5: "5min",
    Timeframe.MINUTE_30: "30min",
    Timeframe.MINUTE_60: "60min",
    Timeframe.DAY_1: "day",
    Timeframe.WEEK_1: "week",
}
FIELDS = ("open", "high", "low", "close", "volume")


def write_qlib(  # noqa: PLR0913 - as read_candles
    to: str | os.PathLike[str],
    stocks: str | Sequence[str],
    timeframe: str,
    start: Moment = None,
    end: Moment = None,
    *,
    source: str | os.PathLike[str] | None = None,
    require: str | None = "complete",
) -> int:
    """Write settled candles for ``qlib.init(provider_uri=to)``.

    qlib knows no zones: its instants are Seoul's. ``factor`` is 1, since prices are
    adjusted already. Arguments and errors are those of ``read_candles``.

    Returns:
        How many stocks were written.
    """
    span = timeframe_of(timeframe)
    is_group = stocks in ("targets", "all")
    wanted = [stocks] if isinstance(stocks, str) and not is_group else stocks
    frame = read_candles(
        wanted,  # type: ignore[arg-type]
        span,
        start,
        end,
        source=source,
        require=require,
        columns=FIELDS,
    )
    folder = Path(to)
    frequency = FREQUENCIES[span]
    calendar = frame.index.get_level_values("opened_at").unique().sort_values()
    shown = "%Y-%m-%d %H:%M:%S" if span.minutes else "%Y-%m-%d"
    told = calendar.strftime(shown).tolist()
    _write_lines(folder / "calendars" / f"{frequency}.txt", told)
    listed = []
    for code, part in frame.groupby(level="stock_code"):
        places = calendar.get_indexer(part.index.get_level_values("opened_at"))
        listed.append(f"{code}\t{told[places[0]]}\t{told[places[-1]]}")
        _write_features(
            folder / "features" / str(code).lower(), part, places, frequency
        )
    _write_lines(folder / "instruments" / "all.txt", listed)
    return len(listed)


def _write_features(
    folder: Path, part: pd.DataFrame, places: Sequence[int], frequency: str
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    first, last = places[0], places[-1]
    columns = {name: part[name].to_numpy() for name in FIELDS}
    columns["factor"] = np.ones(len(part))
    for name, values in columns.items():
        # A slot without a candle stays empty, as everywhere.
        content = np.full(last - first + 2, np.nan, dtype="<f4")
        content[0] = first
        content[np.asarray(places) - first + 1] = values
        content.tofile(folder / f"{name}.{frequency}.bin")


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
