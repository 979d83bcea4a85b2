"""Where candles are read from: a database, a folder or a bucket."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from shared.clock import new_clock
from tradesmart.errors import SourceUnavailable
from tradesmart.places import BUCKET

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date, datetime

    import pyarrow as pa

    from shared.candles import Timeframe
    from shared.sessions import Calendar
    from tradesmart.judgement import Known
    from tradesmart.request import Request

VARIABLE = "TRADESMART_SOURCE"
REMEDY = (
    f"start one with `make dev`, or set {VARIABLE} (or source=) to a URL such as "
    "postgresql://user@host/database, a folder with an export, or gs://bucket"
)
# Of this machine; a stack that lives at another instant says how far it is ahead.
clock = new_clock()
POSTGRESQL = ("postgresql://", "postgres://", "postgresql+pg8000://", "cloudsql://")


class Snapshot(Protocol):
    """A source as it was at one instant; nothing that is read of it changes.

    ``damaged`` are the files that were found to be lacking or unreadable.
    """

    read_at: datetime
    damaged: list[str]

    def stocks(self) -> pa.Table:
        """All stocks, in the order of their codes."""

    def sessions(self) -> pa.Table:
        """All sessions of the calendar, in their order."""

    def actions(self) -> pa.Table:
        """All corporate actions, by stock, timeframe and day."""

    def covered(self, timeframe: Timeframe) -> list[str]:
        """Codes of the stocks that have a series of ``timeframe``."""

    def calendar(self, first: date | None, last: date) -> Calendar:
        """The calendar around the days from ``first`` to ``last``."""

    def known(self, request: Request, codes: Sequence[str]) -> list[Known]:
        """What is known of the series of these stocks, in the order of ``codes``."""

    def candles(
        self,
        request: Request,
        codes: Sequence[str],
        beyond: datetime | None,
        names: Sequence[str],
        *,
        in_order: bool = False,
    ) -> Iterator[pa.RecordBatch]:
        """Yield candles that open before ``beyond``, with these columns.

        They are in the order of codes and instants only if that is wanted.
        """


@dataclass(frozen=True, slots=True)
class Stack:
    """A running ``make dev``: its database, and how far its clock is ahead."""

    url: str
    clock_offset: timedelta


@contextmanager
def open_source(source: str | os.PathLike[str] | None) -> Iterator[Snapshot]:
    """Open the source that is named, or else the one that is found.

    Raises:
        SourceUnavailable: If it is not there, or cannot be read by this package.
    """
    if not isinstance(source, str | os.PathLike | None):
        message = f"source must be a URL or a folder, not {source!r}"
        raise ValueError(message)  # noqa: TRY004 - all arguments are refused alike
    stack = running_stack()
    named = os.fspath(source) if source else os.environ.get(VARIABLE, "")
    if not named:
        if stack is None:
            raise SourceUnavailable(
                f"no source of candles is named or running: {REMEDY}"
            )
        named = stack.url
    offset = timedelta()
    if stack and _same_database(stack.url, named):
        offset = stack.clock_offset
    if named.startswith(POSTGRESQL):
        # The driver takes 0.1 s to load.
        from tradesmart.postgres import open_database  # noqa: PLC0415

        with open_database(named, clock() + offset) as snapshot:
            yield snapshot
        return
    if "://" in named and not named.startswith(BUCKET):
        raise SourceUnavailable(f"{named!r} is no source: {REMEDY}")
    from tradesmart.exported import open_export  # noqa: PLC0415

    with open_export(named) as export:
        yield export


def running_stack() -> Stack | None:
    """The ``make dev`` that runs in this folder, above it, or where we came from.

    A stack holds a lock on a file for as long as it runs, whatever files it left.
    """
    for folder in _folders():
        if not _is_held(folder / "lock"):
            continue
        try:
            told = json.loads((folder / "stack.json").read_text(encoding="utf-8"))
            url = told["database_url"] or os.environ.get("DATABASE_URL", "")
            return Stack(url, timedelta(seconds=told["clock_offset"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def _folders() -> Iterator[Path]:
    """Where a stack may have announced itself."""
    if named := os.environ.get("LOCAL_DIRECTORY"):
        yield Path(named)
        return
    here = Path.cwd()
    yield from (folder / ".local" for folder in (here, *here.parents))
    yield from (folder / ".local" for folder in Path(__file__).parents)
    if origin := _installed_from():
        yield from (folder / ".local" for folder in (origin, *origin.parents))


def _installed_from() -> Path | None:
    """The folder that ``pip install`` was given, if it was one."""
    try:
        told = metadata.distribution("tradesmart").read_text("direct_url.json")
        url = urlsplit(json.loads(told or "{}").get("url", ""))
    except (metadata.PackageNotFoundError, ValueError):
        return None
    return Path(unquote(url.path)) if url.scheme == "file" else None


def _is_held(lock: Path) -> bool:
    try:
        import fcntl  # noqa: PLC0415
    except ImportError:
        # Windows, where no stack runs.
        return False
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _same_database(one: str, other: str) -> bool:
    """Whether two URLs name one database, whatever the account."""
    return _place(one) == _place(other)


def _place(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2], parts.path
