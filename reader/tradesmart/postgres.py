"""PostgreSQL: the views of the schema ``reader``, in one snapshot a call.

A bind parameter would switch ADBC's ``COPY`` off, so values stand in the statements:
only codes, instants and words that are checked where they become literals.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import pyarrow as pa

from shared.sessions import Calendar
from shared.stocks import STOCK_CODE
from tradesmart.errors import SourceUnavailable
from tradesmart.frames import INSTANT, candle_columns
from tradesmart.knowledge import around, assemble, facts_of
from tradesmart.request import OFFICIAL_CLOSE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from shared.candles import Timeframe
    from tradesmart.judgement import Known
    from tradesmart.request import Request

# Of the views in the schema reader.
CONTRACT = 1
# Of what pg8000 reads.
BY_COPY = ("cloudsql://", "postgresql+pg8000://")
AT_ONCE = 50
ABSENT = pa.schema(
    {"stock_code": pa.string(), "opened_at": INSTANT, "confirmations": pa.int32()}
)
ALL_ABSENT = ABSENT.insert(0, pa.field("timeframe", pa.string()))

STOCKS = """
    SELECT stock_code, stock_name, market_code, market_name, sector, listed, is_target,
           halted, listed_on, listed_shares
    FROM reader.stocks ORDER BY stock_code
"""
SESSIONS = """
    SELECT session_date, opens_at, closes_at, source
    FROM reader.sessions ORDER BY session_date
"""
ACTIONS = """
    SELECT stock_code, timeframe, after_date, effective_by, ratio, evidence, detected_at
    FROM reader.actions
    ORDER BY stock_code, timeframe, after_date, effective_by
"""
# Hours are minutes since midnight in Seoul, days are days since 1970.
HOURS = """
    SELECT (session_date - date '1970-01-01')::bigint,
           (extract(epoch FROM opens_at)::bigint + 32400) % 86400 / 60,
           (extract(epoch FROM closes_at)::bigint + 32400) % 86400 / 60
    FROM reader.sessions WHERE session_date BETWEEN {first} AND {last}
"""
SERIES = """
    SELECT stock_code, covered_from, wanted_from, settled_through, oldest, newest,
           end_seen_on, history_exhausted, ended, asked_at, version,
           coalesce(listed, true) AS listed, coalesce(halted, false) AS halted,
           listed_on, coalesce(is_target, false) AS is_target
    FROM reader.series LEFT JOIN reader.stocks USING (stock_code)
    WHERE timeframe = {timeframe} AND {stocks}
"""
COVERED = """
    SELECT stock_code FROM reader.series
    WHERE timeframe = {timeframe} ORDER BY stock_code
"""
ABSENCES = """
    SELECT stock_code, opened_at, confirmations FROM reader.absences
    WHERE timeframe = {timeframe} AND {stocks} AND {period}
"""
WITHOUT_TRADES = """
    SELECT stock_code, session_date FROM reader.days_without_trades WHERE {stocks}
"""
EXPORTED = {
    "stocks": STOCKS,
    "sessions": SESSIONS,
    "actions": ACTIONS,
    "series": """
        SELECT stock_code, timeframe, covered_from, wanted_from, settled_through,
               oldest, newest, end_seen_on, history_exhausted, ended, asked_at, version
        FROM reader.series ORDER BY stock_code, timeframe
    """,
    "quiet": """
        SELECT stock_code, session_date FROM reader.days_without_trades
        ORDER BY stock_code, session_date
    """,
    "absences": """
        SELECT timeframe, stock_code, opened_at, confirmations FROM reader.absences
        ORDER BY timeframe, stock_code, opened_at
    """,
}
# A month of minutes, a year of days or weeks: its seals in order, as one digest.
PERIODS = """
    SELECT timeframe, period, sum(candles)::bigint, min(session_date),
           max(session_date),
           encode(sha256(convert_to(string_agg(
               concat_ws(',', stock_code, to_char(session_date, 'YYYY-MM-DD'), candles,
                         digest) || chr(10),
               '' ORDER BY stock_code COLLATE "C", session_date), 'UTF8')), 'hex')
    FROM (SELECT *, to_char(session_date, CASE WHEN timeframe IN ('1d', '1w')
                                               THEN 'YYYY' ELSE 'YYYY-MM' END) AS period
          FROM reader.seals) AS seals
    GROUP BY timeframe, period ORDER BY timeframe, period
"""


class Driver(Protocol):
    """A connection, in a transaction from its first statement on."""

    def execute(self, statement: str) -> None:
        """Execute what returns nothing."""

    def table(self, statement: str, schema: pa.Schema | None = None) -> pa.Table:
        """All rows; many of them come faster if their ``schema`` is known."""

    def batches(self, statement: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches with the columns of ``schema``."""


@contextmanager
def open_database(url: str, now: datetime) -> Iterator[Database]:
    """Connect, and see the database as it is at this instant.

    Raises:
        SourceUnavailable: If it cannot be reached or read by this package.
    """
    place = _place(url)
    at_once = AT_ONCE if url.startswith(BY_COPY) else None
    with _connect(url, place) as driver:
        yield Database(driver, place, now, at_once=at_once)


def _connect(url: str, place: str) -> AbstractContextManager[Driver]:
    """Connect by the driver for a URL; the other one is not loaded."""
    if url.startswith(BY_COPY):
        from tradesmart import copy_driver  # noqa: PLC0415

        return copy_driver.connect(url, place)
    from tradesmart import adbc_driver  # noqa: PLC0415

    return adbc_driver.connect(url, place)


class Database:
    """A snapshot of a database, through the views of the schema ``reader``."""

    def __init__(
        self, driver: Driver, place: str, now: datetime, *, at_once: int | None = None
    ) -> None:
        """Begin a transaction; ``place`` is how the database is called in errors.

        Where rows do not arrive one after another, candles that are wanted in their
        order are fetched of so many stocks ``at_once``.
        """
        self.read_at = now
        self.damaged: list[str] = []
        self._driver = driver
        self._place = place
        self._at_once = at_once
        driver.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        # Compiling the view of days takes two seconds, and running it a third of one.
        driver.execute("SET LOCAL jit = off")
        self._check_contract()

    def stocks(self) -> pa.Table:
        """All stocks, in the order of their codes."""
        return self._table(STOCKS)

    def sessions(self) -> pa.Table:
        """All sessions of the calendar, in their order."""
        return self._table(SESSIONS)

    def actions(self) -> pa.Table:
        """All corporate actions, by stock, timeframe and day."""
        return self._table(ACTIONS)

    def exported(self, name: str) -> pa.Table:
        """One of the tables of an export, in its order."""
        return self._table(EXPORTED[name], ALL_ABSENT if name == "absences" else None)

    def periods(self) -> list[tuple[str, str, int, date, date, str]]:
        """Timeframe, period, candles, first and last day and digest of all seals."""
        return self._rows(PERIODS)

    def span(self) -> tuple[date, date, int]:
        """First and last day that the calendar knows, and its version.

        Raises:
            SourceUnavailable: If no calendar was loaded yet.
        """
        statement = "SELECT first_day, last_day, version FROM reader.calendar"
        (begins, ends, version), *_ = self._rows(statement) or [(None, None, 0)]
        if begins is None:
            raise SourceUnavailable(
                f"{self._place} has no trading calendar yet; wait for reference_sync, "
                'or publish {"sync":["calendar","stocks"]} to the topic reference'
            )
        return begins, ends, version

    def covered(self, timeframe: Timeframe) -> list[str]:
        """Codes of the stocks that have a series of ``timeframe``."""
        statement = COVERED.format(timeframe=_text(timeframe.value))
        codes: list[str] = self._table(statement).column(0).to_pylist()
        return codes

    def calendar(self, first: date | None, last: date) -> Calendar:
        """The calendar around the days from ``first`` to ``last``.

        Raises:
            SourceUnavailable: If no calendar was loaded yet.
        """
        begins, ends, version = self.span()
        begins, ends = around(first, last, begins, ends)
        hours = HOURS.format(first=_text(f"{begins}"), last=_text(f"{ends}"))
        days, opens, closes = (
            column.to_pylist() for column in self._table(hours).columns
        )
        epoch = date(1970, 1, 1).toordinal()
        sessions = {
            date.fromordinal(epoch + day): (_time(open_), _time(close))
            for day, open_, close in zip(days, opens, closes, strict=True)
        }
        return Calendar(sessions, begins, ends, version)

    def known(self, request: Request, codes: Sequence[str]) -> list[Known]:
        """What is known of the series of these stocks, in the order of ``codes``."""
        values = {
            "timeframe": _text(request.timeframe.value),
            "stocks": _among(codes),
            "period": _period(request.first, request.beyond),
        }
        rows = self._table(SERIES.format(**values)).to_pylist()
        facts = {row["stock_code"]: facts_of(row) for row in rows}
        absences = self._table(ABSENCES.format(**values), ABSENT)
        quiet = (
            self._rows(WITHOUT_TRADES.format(**values))
            if request.timeframe.minutes
            else []
        )
        return assemble(codes, facts, absences, quiet)

    def candles(
        self,
        request: Request,
        codes: Sequence[str],
        beyond: datetime | None,
        names: Sequence[str],
        *,
        in_order: bool = False,
    ) -> Iterator[pa.RecordBatch]:
        """Yield candles that open before ``beyond``, with these columns."""
        size = self._at_once if in_order and self._at_once else max(len(codes), 1)
        for at in range(0, len(codes), size):
            statement = _candles(request, codes[at : at + size], beyond, names)
            if in_order:
                statement += " ORDER BY stock_code, opened_at"
            yield from self._driver.batches(statement, candle_columns(names))

    def _check_contract(self) -> None:
        found = self._rows("SELECT to_regclass('reader.contract') IS NOT NULL")
        version = 0
        if found[0][0]:
            ((version,),) = self._rows("SELECT version::bigint FROM reader.contract")
        if version < CONTRACT:
            raise SourceUnavailable(
                f"{self._place} is older than this package: bring it up to date with "
                "`make migrate` (make dev does so when it starts)"
            )
        if version > CONTRACT:
            raise SourceUnavailable(
                f"{self._place} is newer than this package: install the package of "
                "the same release"
            )

    def _table(self, statement: str, schema: pa.Schema | None = None) -> pa.Table:
        return self._driver.table(statement, schema)

    def _rows(self, statement: str) -> list[tuple]:  # type: ignore[type-arg]
        columns = [column.to_pylist() for column in self._table(statement).columns]
        return list(zip(*columns, strict=True))


def _candles(
    request: Request,
    codes: Sequence[str],
    beyond: datetime | None,
    names: Sequence[str],
) -> str:
    """The statement that selects candles, in no order."""
    conditions = [_among(codes), _period(request.first, beyond)]
    columns = list(names)
    view = "reader.daily_candles" if OFFICIAL_CLOSE in names else "reader.candles"
    if view == "reader.candles":
        conditions.append(f"timeframe = {_text(request.timeframe.value)}")
        if request.session != "all" and request.timeframe.minutes:
            conditions.append(f"session = {_text(request.session)}")
    elif "session" in columns:
        columns[columns.index("session")] = "'regular' AS session"
    statement = f"SELECT {', '.join(columns)} FROM {view} WHERE "  # noqa: S608
    return statement + " AND ".join(conditions)


def _time(minutes: int) -> time:
    return time(*divmod(minutes, 60))


def _among(codes: Sequence[str]) -> str:
    if any(STOCK_CODE.fullmatch(code) is None for code in codes):
        message = f"a stock code is six digits or capitals: {codes!r}"
        raise ValueError(message)
    if len(codes) == 1:
        return f"stock_code = '{codes[0]}'"
    return f"stock_code = ANY ('{{{','.join(codes)}}}')"


def _period(first: datetime | None, beyond: datetime | None) -> str:
    conditions = []
    if first is not None:
        conditions.append(f"opened_at >= {_instant(first)}")
    if beyond is not None:
        conditions.append(f"opened_at < {_instant(beyond)}")
    return " AND ".join(conditions) or "true"


def _instant(instant: datetime) -> str:
    return f"timestamptz '{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00'"


def _text(value: str) -> str:
    """A string that we wrote ourselves, as a literal."""
    if re.fullmatch(r"[0-9a-z-]+", value) is None:
        message = f"not a literal: {value!r}"
        raise ValueError(message)
    return f"'{value}'"


def _place(url: str) -> str:
    """How errors call a database; its account and password are not told."""
    try:
        parts = urlsplit(url)
        if parts.scheme == "cloudsql":
            return f"the database {parts.path.lstrip('/')} of {parts.netloc}"
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        message = (
            "the URL of the database cannot be read; write "
            "postgresql://user@host:5432/database"
        )
        raise SourceUnavailable(message) from None
    host = f"{parts.hostname or 'this machine'}{port}"
    return f"the database {parts.path.lstrip('/')} at {host}"
