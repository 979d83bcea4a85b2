"""What a run is for."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """What a run is for: to stay current, to fetch history, or to set it right.

    A rebuild reads the overlap with the stored candles again, and the whole series
    where its prices changed. A repair requests settled candles that are missing.
    """

    INCREMENTAL = "incremental"
    BACKFILL = "backfill"
    REBUILD = "rebuild"
    REPAIR = "repair"
