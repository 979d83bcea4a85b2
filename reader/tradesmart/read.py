"""Read candles: one line into pandas or Arrow, complete unless told otherwise."""

from __future__ import annotations

from datetime import UTC
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from shared.candles import Timeframe
from shared.sessions import DAY, kst_date, midnight, week_of
from shared.stocks import STOCK_CODE
from tradesmart import frames
from tradesmart.errors import IncompleteData, describe
from tradesmart.judgement import (
    MICROSECOND,
    NAMES,
    NONE,
    Judgement,
    microseconds,
)
from tradesmart.request import EPOCH, KOREAN, Moment, Request, parse, zone
from tradesmart.source import open_source

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from datetime import date, datetime
    from zoneinfo import ZoneInfo

    from tradesmart.judgement import Instants, Known
    from tradesmart.source import Snapshot

Stocks = str | list[str] | tuple[str, ...]
Columns = str | list[str] | tuple[str, ...] | None
# The most rows of a frame that iter_candles yields.
MOST_ROWS = 250_000
NEAREST = 3
GAP_COLUMNS = (
    "stock_code",
    "timeframe",
    "first",
    "last",
    "sessions",
    "state",
    "reason",
    "missing",
    "remedy",
)


def read_candles(  # noqa: PLR0913 - each is a question that a reader may have
    stocks: Stocks,
    timeframe: str,
    start: Moment = None,
    end: Moment = None,
    *,
    source: str | os.PathLike[str] | None = None,
    session: str = "regular",
    settled: bool = True,
    require: str | None = "complete",
    tz: str = "Asia/Seoul",
    columns: Columns = None,
    wide: str | None = None,
) -> pd.DataFrame:
    """Read candles into a frame.

    The frame has the columns ``open high low close volume`` (int64) and ``turnover``
    (Int64), days also ``official_close`` (Int64); prices are adjusted KRW a share,
    turnover is in KRW. Its index is ``opened_at`` (datetime64[us, tz]) for one code,
    and ``(stock_code, opened_at)`` for a list, "targets" or "all"; it is sorted and
    unique. Nothing is filled or resampled. ``frame.attrs["coverage"]`` tells how many
    sessions were in which state, and at which instant that was read.

    Args:
        stocks: A code, a name that exactly one stock has, a list of them, "targets",
            or "all" stocks that have candles of this timeframe, delisted ones too.
        timeframe: 5m, 30m, 60m, 1d or 1w.
        start: The first day in Seoul, or an instant with a zone; None for the first
            one that was collected.
        end: The day or instant that is not included any more; None for all that is
            settled by now, or with ``settled=False`` for all that there is by now.
        source: A URL ``postgresql://…``, a folder with an export, or ``gs://…``; else
            the variable TRADESMART_SOURCE, else the running ``make dev``.
        session: "regular", "after" (16:00 to 20:00) or "all".
        settled: Whether only final candles are wanted.
        require: "complete" refuses sessions that are late, missing, never asked for
            or, with ``settled``, not settled. "asked" accepts what was never asked
            for. None accepts everything.
        tz: The zone of the index.
        columns: "ko" for Korean names, or the names of the columns that are wanted.
        wide: The one column that is wanted, over time and stock.

    Raises:
        IncompleteData: If candles are lacking; its ``gaps`` are a frame.
        SourceUnavailable: If the source is not there, or is not readable.
        ValueError: If an argument cannot be accepted.
    """
    request = parse(
        stocks,
        timeframe,
        start,
        end,
        session=session,
        settled=settled,
        require=require,
        tz=tz,
        columns=columns,
        wide=wide,
    )
    with open_source(source) as snapshot:
        reading = Reading(snapshot, request)
        table = reading.table(one_stock=request.has_plain_index)
    made = frames.frame(table, request, reading.codes)
    made.attrs["coverage"] = reading.coverage()
    return made


def read_arrow(  # noqa: PLR0913 - as read_candles
    stocks: Stocks,
    timeframe: str,
    start: Moment = None,
    end: Moment = None,
    *,
    source: str | os.PathLike[str] | None = None,
    session: str = "regular",
    settled: bool = True,
    require: str | None = "complete",
    tz: str = "Asia/Seoul",
    columns: Columns = None,
) -> pa.Table:
    """Read candles into an Arrow table, sorted by ``stock_code`` and ``opened_at``.

    Arguments and errors are those of ``read_candles``.
    """
    request = parse(
        stocks,
        timeframe,
        start,
        end,
        session=session,
        settled=settled,
        require=require,
        tz=tz,
        columns=columns,
        wide=None,
    )
    with open_source(source) as snapshot:
        table = Reading(snapshot, request).table(one_stock=False)
    table = table.cast(frames.schema(request.names, request.zone.key))
    names = [KOREAN.get(name, name) for name in table.column_names]
    return table.rename_columns(names) if request.korean else table


def iter_candles(  # noqa: PLR0913 - as read_candles
    stocks: Stocks,
    timeframe: str,
    start: Moment = None,
    end: Moment = None,
    *,
    source: str | os.PathLike[str] | None = None,
    session: str = "regular",
    settled: bool = True,
    require: str | None = "complete",
    tz: str = "Asia/Seoul",
    columns: Columns = None,
) -> Iterator[pd.DataFrame]:
    """Yield what ``read_candles`` would return, in frames of at most 250,000 rows.

    Memory does not grow with the number of rows. All of it is one snapshot, and is
    judged before the first frame.
    """
    request = parse(
        stocks,
        timeframe,
        start,
        end,
        session=session,
        settled=settled,
        require=require,
        tz=tz,
        columns=columns,
        wide=None,
    )
    return _frames(request, source)


def read_stocks(*, source: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """Read the stocks of KOSPI and KOSDAQ by ``stock_code``; delisted ones stay."""
    with open_source(source) as snapshot:
        table = snapshot.stocks()
    made = table.to_pandas(integer_object_nulls=True)
    made["listed_shares"] = made["listed_shares"].astype("Int64")
    made["listed_on"] = _days(made["listed_on"])
    return made.set_index("stock_code")


def read_sessions(
    *, source: str | os.PathLike[str] | None = None, tz: str = "Asia/Seoul"
) -> pd.DataFrame:
    """Read the sessions of the exchange by ``session_date``, with their hours."""
    shown = zone(tz)
    with open_source(source) as snapshot:
        made = snapshot.sessions().to_pandas()
    made["session_date"] = _days(made["session_date"])
    for name in ("opens_at", "closes_at"):
        made[name] = _instants(made[name], shown)
    return made.set_index("session_date")


def read_actions(
    *, source: str | os.PathLike[str] | None = None, tz: str = "Asia/Seoul"
) -> pd.DataFrame:
    """Read splits and the like: prices up to ``after_date`` were times ``ratio``."""
    shown = zone(tz)
    with open_source(source) as snapshot:
        made = snapshot.actions().to_pandas()
    for name in ("after_date", "effective_by"):
        made[name] = _days(made[name])
    made["detected_at"] = _instants(made["detected_at"], shown)
    return made.set_index(["stock_code", "timeframe", "after_date"])


def _days(column: pd.Series) -> pd.Series:
    return pd.to_datetime(column).astype("datetime64[us]")


def _instants(column: pd.Series, tz: ZoneInfo) -> pd.Series:
    instants = pd.to_datetime(column, utc=True).astype("datetime64[us, UTC]")
    return instants.dt.tz_convert(tz.key)


class Reading:
    """One request to one snapshot."""

    def __init__(self, snapshot: Snapshot, request: Request) -> None:
        """Find the stocks and what is known of them.

        Raises:
            ValueError: If a stock is not known.
        """
        self._snapshot = snapshot
        self._request = request
        self.codes = find(snapshot, request)
        self._known = snapshot.known(request, self.codes)
        first = request.first
        begins = kst_date(first) if first else self._covered_from()
        calendar = snapshot.calendar(begins, kst_date(snapshot.read_at))
        self._judgement = Judgement(calendar, request, snapshot.read_at)
        self._begins = {known.stock_code: self._begin(known) for known in self._known}
        self._ends = {known.stock_code: self._end(known) for known in self._known}

    def table(self, *, one_stock: bool) -> pa.Table:
        """All candles, sorted and judged; of ``one_stock``, without its code.

        Raises:
            IncompleteData: If candles are lacking that are required.
        """
        table = _from_batches(
            self._batches(one_stock=one_stock), self._request, one_stock
        )
        table = self._wanted(frames.in_order(table))
        begins = {
            code: (begin, end) for code, begin, end in self._parts(table, one_stock)
        }
        instants = frames.instants(table)
        for known in self._known:
            begin, end = begins.get(known.stock_code, (0, 0))
            self._judgement.add(known, instants[begin:end])
        self.check()
        return table

    def judge(self) -> None:
        """Judge all of it without keeping it: one pass over the instants."""
        open_parts: dict[str, list[Any]] = {}
        waiting = {known.stock_code: known for known in self._known}
        batches = self._batches(one_stock=False, names=(), in_order=True)
        for batch in batches:
            table = self._wanted(pa.Table.from_batches([batch]))
            instants = frames.instants(table)
            for code, begin, end in self._parts(table, one_stock=False):
                if open_parts and code not in open_parts:
                    self._judge_parts(waiting, open_parts)
                open_parts.setdefault(code, []).append(instants[begin:end])
        self._judge_parts(waiting, open_parts)
        for known in waiting.values():
            self._judgement.add(known, NONE)
        self.check()

    def _judge_parts(
        self, waiting: dict[str, Known], parts: dict[str, list[Any]]
    ) -> None:
        for code, instants in parts.items():
            self._judgement.add(waiting.pop(code), np.concatenate(instants))
        parts.clear()

    def tables(self) -> Iterator[pa.Table]:
        """Yield the candles, sorted, in tables of at most ``MOST_ROWS`` rows."""
        one_stock = self._request.has_plain_index
        waiting: list[pa.RecordBatch] = []
        rows = 0
        for batch in self._batches(one_stock=one_stock, in_order=True):
            rest = batch
            while rows + len(rest) >= MOST_ROWS:
                taken = rest.slice(0, MOST_ROWS - rows)
                rest = rest.slice(len(taken))
                yield self._wanted(pa.Table.from_batches([*waiting, taken]))
                waiting, rows = [], 0
            waiting.append(rest)
            rows += len(rest)
        if rows:
            yield self._wanted(pa.Table.from_batches(waiting))

    def check(self) -> None:
        """Refuse what is not complete.

        Raises:
            IncompleteData: If candles are lacking that are required.
        """
        gaps = self._judgement.gaps
        if gaps and self._request.require is not None:
            rows = pd.DataFrame([gap.row() for gap in gaps], columns=list(GAP_COLUMNS))
            for name in ("first", "last"):
                rows[name] = _days(rows[name])
            raise IncompleteData(rows, describe(gaps, self._snapshot.damaged))

    def coverage(self) -> dict[str, object]:
        """What is said of a frame: states of sessions, gaps, the instant read.

        All of it is JSON, as Parquet and Feather keep it with a frame.
        """
        states = self._judgement.states
        return {
            "read_at": self._snapshot.read_at.astimezone(UTC).isoformat(),
            "states": {
                name: states[state] for state, name in NAMES.items() if states[state]
            },
            "gaps": [gap.row() for gap in self._judgement.gaps],
        }

    def _batches(
        self,
        *,
        one_stock: bool,
        names: Sequence[str] | None = None,
        in_order: bool = False,
    ) -> Iterator[pa.RecordBatch]:
        if not self.codes:
            return iter(())
        request = self._request
        beyond = microseconds(request.beyond) if request.beyond else None
        if request.settled:
            latest = max(self._ends.values())
            beyond = latest if beyond is None else min(beyond, latest)
        columns = [frames.INDEX, *(request.names if names is None else names)]
        if request.wide is not None:
            columns = [frames.INDEX, request.wide]
        if not one_stock:
            columns.insert(0, frames.STOCK)
        batches = self._snapshot.candles(
            request, self.codes, instant(beyond), columns, in_order=in_order
        )
        # While the source is at work on the next batch.
        return batches if one_stock else map(frames.encoded, batches)

    def _wanted(self, table: pa.Table) -> pa.Table:
        """Without what is not settled or covered, where only that is wanted."""
        request = self._request
        opened = frames.instants(table)
        is_wanted = np.ones(len(table), dtype=bool)
        if request.settled:
            is_wanted &= opened < self._bounds(table, self._ends)
        if request.first is None and request.require is not None:
            is_wanted &= opened >= self._bounds(table, self._begins)
        return table if is_wanted.all() else table.filter(pa.array(is_wanted))

    def _bounds(self, table: pa.Table, of_stocks: dict[str, int]) -> Instants | int:
        """The bound of each row; one for all, where they are alike."""
        if len(set(of_stocks.values())) == 1:
            return next(iter(of_stocks.values()))
        stocks, names = frames.stocks(table)
        bounds: Instants = np.array([of_stocks[name] for name in names], dtype=np.int64)
        return bounds[stocks]

    def _parts(
        self,
        table: pa.Table,
        one_stock: bool,  # noqa: FBT001
    ) -> Iterator[tuple[str, int, int]]:
        """Where the rows of each stock begin and end in a sorted table."""
        if one_stock:
            yield self.codes[0], 0, len(table)
            return
        numbers, names = frames.stocks(table)
        ends = np.searchsorted(numbers, np.arange(len(names) + 1)).tolist()
        yield from zip(names, ends, ends[1:], strict=False)

    def _begin(self, known: Known) -> int:
        """From when on a series is covered; a week is, if one of its days is."""
        covered_from = known.facts.series.covered_from
        if covered_from and self._request.timeframe is Timeframe.WEEK_1:
            covered_from, _ = week_of(covered_from)
        return microseconds(midnight(covered_from)) if covered_from else 0

    def _end(self, known: Known) -> int:
        """Up to where candles of a series are final, in microseconds since 1970."""
        through = known.facts.series.settled_through
        return microseconds(midnight(through + DAY)) if through else 0

    def _covered_from(self) -> date | None:
        days = [known.facts.series.covered_from for known in self._known]
        return min(filter(None, days), default=None)


def _frames(
    request: Request, source: str | os.PathLike[str] | None
) -> Iterator[pd.DataFrame]:
    with open_source(source) as snapshot:
        reading = Reading(snapshot, request)
        reading.judge()
        for table in reading.tables():
            made = frames.frame(table, request, reading.codes)
            made.attrs["coverage"] = reading.coverage()
            yield made


def _from_batches(
    batches: Iterator[pa.RecordBatch],
    request: Request,
    one_stock: bool,  # noqa: FBT001
) -> pa.Table:
    read = list(batches)
    if read:
        return pa.Table.from_batches(read).unify_dictionaries()
    names = request.names if request.wide is None else (request.wide,)
    return frames.schema(names, "UTC", stocks=not one_stock).empty_table()


def instant(at: int | None) -> datetime | None:
    """An instant from microseconds since 1970."""
    return None if at is None else EPOCH + at * MICROSECOND


def find(snapshot: Snapshot, request: Request) -> list[str]:
    """The codes of the stocks that are meant, in ascending order.

    Raises:
        ValueError: If one is not known, or a name fits several.
    """
    if request.group == "all":
        return snapshot.covered(request.timeframe)
    table = snapshot.stocks()
    codes = table.column("stock_code").to_pylist()
    if request.group == "targets":
        is_target = table.column("is_target").to_pylist()
        return [code for code, target in zip(codes, is_target, strict=True) if target]
    names = dict(zip(codes, table.column("stock_name").to_pylist(), strict=True))
    found = [_code(given, names) for given in request.stocks]
    return sorted(set(found))


def _code(given: str, names: dict[str, str]) -> str:
    if given in names:
        return given
    fits = [code for code, name in names.items() if name == given]
    if len(fits) == 1:
        return fits[0]
    if fits:
        told = ", ".join(f"{code} {names[code]}" for code in fits)
        raise ValueError(
            f"{given!r} is the name of several stocks; give a code: {told}"
        )
    if not names:
        raise ValueError(
            f"{given!r} is not known: the source has no stock list yet; publish "
            '{"sync":["stocks"]} to the topic reference'
        )
    told = ", ".join(f"{code} {names[code]}" for code in _nearest(given, names))
    raise ValueError(
        f"there is no stock {given!r} among the {len(names):,} of the stock list; the "
        f"nearest are {told}"
    )


def _nearest(given: str, names: dict[str, str]) -> list[str]:
    """The codes that come next to what was given, by code or by name."""
    meant = given.strip().upper()
    # A spreadsheet takes the zeros off a code.
    meant = meant.zfill(6) if meant.isascii() and meant.isdigit() else meant
    if STOCK_CODE.fullmatch(meant):
        return get_close_matches(meant, names, NEAREST, 0.0)
    by_name = {name: code for code, name in names.items()}
    return [by_name[name] for name in get_close_matches(meant, by_name, NEAREST, 0.0)]
