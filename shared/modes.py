"""What a run is for."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """What a run is for: to stay current, to fetch history, or to set it right.

    A repair requests settled candles that are missing. A verify reads a range again,
    whatever is believed of it, and compares. A rebuild reads a whole series.
    """

    INCREMENTAL = "incremental"
    BACKFILL = "backfill"
    REBUILD = "rebuild"
    REPAIR = "repair"
    VERIFY = "verify"
