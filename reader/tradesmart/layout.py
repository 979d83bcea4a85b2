"""How an export lies in its folder: its files, their names, its manifest.

::

    candles/timeframe=5m/month=2026-11/<digest>.parquet    days and weeks: year=2026
    absences/timeframe=5m/<digest>.parquet
    stocks/ sessions/ actions/ series/ quiet/ <digest>.parquet
    manifests/2026-11-25.json, manifests/latest.json

The code of a stock is a column: as a part of the path, 000200 would become 200.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from shared.candles import Timeframe
from tradesmart.errors import SourceUnavailable
from tradesmart.request import COLUMNS, OFFICIAL_CLOSE, PRICES

if TYPE_CHECKING:
    from collections.abc import Iterable

# Of the layout and the columns. A reader refuses another one.
CONTRACT = 1
LATEST = "manifests/latest.json"
TABLES = ("stocks", "sessions", "actions", "series", "quiet")
ROW_GROUP = 131_072
PARQUET = {
    "compression": "zstd",
    "compression_level": 3,
    "use_dictionary": ["stock_code", "session"],
    "write_statistics": True,
    "write_page_checksum": True,
    "version": "2.6",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of an export.

    Attributes:
        path: Its place, in which its digest is.
        kind: ``candles``, ``absences``, or the name of a table.
        seals: The digest of its seals; of days it is not all of the name.
        timeframe: Of candles and absences, else empty.
        period: The month or the year that its candles are of, else empty.
        first: The first seal, a day.
        last: The last one.
    """

    path: str
    kind: str
    digest: str
    rows: int
    bytes: int
    seals: str = ""
    timeframe: str = ""
    period: str = ""
    first: str = ""
    last: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an export holds; whatever is not in it is no part of it.

    ``read_at`` is the instant of the snapshot (ISO 8601, UTC); ``calendar`` the first
    and the last day that the trading calendar knows, and its version.
    """

    read_at: str
    calendar: tuple[str, str, int]
    format: str
    files: list[File] = field(default_factory=list)
    contract: int = CONTRACT

    @property
    def instant(self) -> datetime:
        """When the database was read."""
        return datetime.fromisoformat(self.read_at).astimezone(UTC)

    def of(self, kind: str, timeframe: str = "") -> list[File]:
        """Files of a kind, in the order of their periods."""
        found = [
            file
            for file in self.files
            if file.kind == kind and file.timeframe == timeframe
        ]
        return sorted(found, key=lambda file: file.period)

    def to_json(self) -> bytes:
        """As it lies in the folder."""
        # In one line, which is what BigQuery reads.
        return (json.dumps(asdict(self), separators=(",", ":")) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes, place: str) -> Manifest:
        """Read one.

        Raises:
            SourceUnavailable: If it is none, or not one of this package.
        """
        try:
            told = json.loads(content)
            contract = told["contract"]
        except (ValueError, KeyError, TypeError):
            message = f"{place}/{LATEST} is not the manifest of an export; export again"
            raise SourceUnavailable(message) from None
        if contract != CONTRACT:
            age = "newer" if contract > CONTRACT else "older"
            remedy = (
                "install the package of the same release"
                if contract > CONTRACT
                else "export again into an empty folder"
            )
            raise SourceUnavailable(
                f"the export in {place} is {age} than this package: {remedy}"
            )
        try:
            files = [File(**file) for file in told.pop("files")]
            calendar = tuple(told.pop("calendar"))
            return cls(**told, calendar=calendar, files=files)
        except (KeyError, TypeError):
            raise SourceUnavailable(
                f"the export in {place} is of another release: export again, and read "
                "it with the package of that release"
            ) from None


def candle_path(timeframe: Timeframe, period: str, digest: str, ending: str) -> str:
    """Where the candles of a month, or of a year, lie."""
    span = "month" if timeframe.minutes else "year"
    return f"candles/timeframe={timeframe}/{span}={period}/{digest}.{ending}"


def candle_schema(timeframe: Timeframe, metadata: dict[str, str]) -> pa.Schema:
    """The columns of a file of candles."""
    names = (*COLUMNS, OFFICIAL_CLOSE) if timeframe is Timeframe.DAY_1 else COLUMNS
    fields = [
        pa.field("stock_code", pa.string(), nullable=False),
        pa.field("opened_at", pa.timestamp("us", "UTC"), nullable=False),
        *(pa.field(name, pa.int64(), name not in PRICES) for name in names),
        pa.field("session", pa.string(), nullable=False),
    ]
    return pa.schema(fields, {key: value.encode() for key, value in metadata.items()})


def encodings(schema: pa.Schema) -> dict[str, str]:
    """Numbers as differences to the one before: 8 bytes a candle and not 19."""
    return {
        field.name: "DELTA_BINARY_PACKED"
        for field in schema
        if field.name not in PARQUET["use_dictionary"]  # type: ignore[operator]
    }


def is_ours(path: str) -> bool:
    """Whether an export may have written a file."""
    folder = path.partition("/")[0]
    return folder in {"candles", "absences", "manifests", *TABLES}


def beginning(period: str) -> date:
    """The first day of a month or a year."""
    year, _, month = period.partition("-")
    return date(int(year), int(month or 1), 1)


def end(period: str) -> date:
    """The first day after a month or a year."""
    year, _, month = period.partition("-")
    if not month:
        return date(int(year) + 1, 1, 1)
    return date(int(year) + int(month) // 12, int(month) % 12 + 1, 1)


def total(files: Iterable[File]) -> int:
    """How many rows they have."""
    return sum(file.rows for file in files)
