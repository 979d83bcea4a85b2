"""Faults of single answers that the simulated broker shows on demand."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

Row = dict[str, str]


class Kind(StrEnum):
    """What goes wrong; the numbers of rows count from the newest, 0."""

    # Nothing is left of the answer.
    SERVER_ERROR = "server_error"  # HTTP 500 with the broker's JSON
    HTML = "html"  # HTTP 400 from the firewall
    RESET = "reset"  # the connection breaks
    TIMEOUT = "timeout"  # no answer
    TRUNCATED = "truncated"  # half a JSON body
    RATE_LIMIT = "rate_limit"  # HTTP 429 although there was room
    TOKEN_DIES = "token_dies"  # noqa: S105 - 8005, and every token issued so far
    REJECT = "reject"  # the broker says no
    SLOW = "slow"  # the right answer, two seconds late
    # Tokens
    NULL_TOKEN = "null_token"  # noqa: S105 - issued, but null in the answer
    EMPTY_TOKEN = "empty_token"  # noqa: S105 - issued, but empty in the answer
    EXPIRED_TOKEN = "expired_token"  # noqa: S105 - expires_dt is a minute ago
    # Rows
    BLANK = "blank"  # the one empty row, and no further page
    EMPTY = "empty"  # a list without rows; the key of the next page stays
    CORRUPT = "corrupt"  # the row, or the one that opens at, is no candle; see how
    CUT = "cut"  # so many rows are missing, from the row on
    DOUBLED = "doubled"  # so many rows are there twice, from the row on
    REVERSED = "reversed"  # the oldest row comes first
    STALE = "stale"  # the answer as of an earlier instant
    # Pages
    LAST = "last"  # cont-yn N although there is more; with rows, after so many
    UNMARKED = "unmarked"  # no cont-yn header
    STALL = "stall"  # the key of this page again: the same page without end
    RESTART = "restart"  # the newest page again, with another key
    # The stock list
    DUPLICATE_CODE = "duplicate_code"  # the first entry is there twice
    BOTH_LISTS = "both_lists"  # the first KOSPI entry is also in the KOSDAQ list
    NULL_FIELDS = "null_fields"  # the first entry has nothing but its code
    CONTINUED = "continued"  # the list has two pages
    SHORT_LIST = "short_list"  # only so many entries, and no further page


class How(StrEnum):
    """How a row is spoilt."""

    BAD_OHLC = "bad_ohlc"  # a high below the low
    UNREADABLE = "unreadable"  # a close that is no number
    BLANK_FIELD = "blank_field"  # no close
    NO_FIELD = "no_field"  # not even the field of the close
    NO_DATE = "no_date"  # nothing says when it opens
    EPOCH = "epoch"  # it opens in 1970


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request as a fault sees it; ``page`` counts from 1 within a chain.

    Charts have a stock and a timeframe, stock lists a market (0 KOSPI, 10 KOSDAQ).
    """

    api_id: str
    stock_code: str = ""
    timeframe: str = ""
    market: str = ""
    page: int
    at: datetime


@dataclass(slots=True)
class Reply:
    """The rows of one answer and its key of the next page, before they are sent.

    ``opened`` is the field that says when a row opens, ``blank`` the empty row.
    """

    rows: list[Row]
    key: str
    opened: str
    blank: Row
    is_marked: bool = True


@dataclass(slots=True, kw_only=True)
class Fault:
    """A fault and when it shows; None matches everything.

    ``page`` counts from 1 within one chain of pages. ``times`` is how often it shows;
    None means until it is taken away; ``shown`` counts. ``since`` and ``until`` bound
    it in time. Several faults can strike one answer, in their order.

    ``row`` is a row, ``opens`` the instant of one, ``rows`` how many; ``how`` a row is
    spoilt; ``as_of`` is the instant of a stale answer.
    """

    kind: Kind
    api_id: str | None = None
    stock_code: str | None = None
    timeframe: str | None = None
    market: str | None = None
    page: int | None = None
    times: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    row: int = 0
    rows: int | None = None
    opens: datetime | None = None
    how: How = How.BAD_OHLC
    as_of: datetime | None = None
    shown: int = field(default=0, init=False)

    def strikes(self, call: Call) -> bool:
        """Whether it shows in the answer to a call."""
        return (
            self.api_id in {None, call.api_id}
            and self.stock_code in {None, call.stock_code}
            and self.timeframe in {None, call.timeframe}
            and self.market in {None, call.market}
            and self.page in {None, call.page}
            and (self.since is None or call.at >= self.since)
            and (self.until is None or call.at < self.until)
            and (self.times is None or self.shown < self.times)
        )

    def spoil(self, reply: Reply, same_key: str) -> None:
        """Change a reply in place; ``same_key`` is the key of the page itself."""
        if self.kind in ROW_EFFECTS:
            if not ROW_EFFECTS[self.kind](self, reply):
                return
        elif self.kind is Kind.BLANK:
            reply.rows, reply.key = [reply.blank], ""
        elif self.kind is Kind.LAST:
            reply.rows, reply.key = reply.rows[: self.rows], ""
        elif self.kind is Kind.UNMARKED:
            reply.is_marked = False
        elif self.kind is Kind.STALL:
            reply.key = same_key or reply.key
        elif self.kind not in {Kind.STALE, Kind.RESTART, Kind.SLOW}:
            return
        self.shown += 1

    def corrupt(self, reply: Reply) -> bool:
        """Spoil the row; tell whether it is in the reply."""
        at = self.row
        if self.opens is not None:
            digits = f"{self.opens:%Y%m%d%H%M%S}"
            instants = [row[reply.opened].ljust(14, "0") for row in reply.rows]
            at = instants.index(digits) if digits in instants else len(reply.rows)
        if not -len(reply.rows) <= at < len(reply.rows):
            return False
        reply.rows[at] = _spoilt(reply.rows[at], reply.opened, self.how)
        return True

    def cut(self, reply: Reply) -> bool:
        """Leave rows out; tell whether there were some."""
        before = len(reply.rows)
        del reply.rows[self.row : self.row + (self.rows or 1)]
        return len(reply.rows) < before

    def double(self, reply: Reply) -> bool:
        """Say rows twice."""
        twice = reply.rows[self.row : self.row + (self.rows or 1)]
        reply.rows[self.row : self.row] = twice
        return True

    def reverse(self, reply: Reply) -> bool:
        """Begin with the oldest row."""
        reply.rows.reverse()
        return True

    def empty(self, reply: Reply) -> bool:
        """Leave all rows out."""
        reply.rows.clear()
        return True


ROW_EFFECTS = {
    Kind.CORRUPT: Fault.corrupt,
    Kind.CUT: Fault.cut,
    Kind.DOUBLED: Fault.double,
    Kind.REVERSED: Fault.reverse,
    Kind.EMPTY: Fault.empty,
}


def _spoilt(row: Row, opened: str, how: How) -> Row:
    if how is How.NO_FIELD:
        return {name: value for name, value in row.items() if name != "cur_prc"}
    name, value = {
        How.BAD_OHLC: ("high_pric", "1"),
        How.UNREADABLE: ("cur_prc", "N/A"),
        How.BLANK_FIELD: ("cur_prc", ""),
        How.NO_DATE: (opened, ""),
        How.EPOCH: (opened, "19700101000000"[: len(row[opened])]),
    }[how]
    return row | {name: value}
