"""What is wanted, checked before anything is asked of a source."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Literal, get_args
from zoneinfo import ZoneInfo

from shared.candles import Timeframe
from shared.messages.fields import ALIASES
from shared.sessions import midnight

if TYPE_CHECKING:
    from collections.abc import Sequence

Session = Literal["regular", "after", "all"]
Require = Literal["complete", "asked"]
Moment = str | date | datetime | None

PRICES = ("open", "high", "low", "close", "volume")
COLUMNS = (*PRICES, "turnover")
OFFICIAL_CLOSE = "official_close"
KOREAN = {
    "open": "시가",
    "high": "고가",
    "low": "저가",
    "close": "종가",
    "volume": "거래량",
    "turnover": "거래대금",
    OFFICIAL_CLOSE: "공식종가",
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is wanted of one or more stocks.

    Attributes:
        stocks: Codes and names as they were given, or "targets" or "all".
        is_one: Whether one code was given, and not a list.
        first: The first instant, None for all that there is.
        beyond: The first instant that is not wanted any more; None for "up to now".
        names: The columns, in the order in which they are returned.
    """

    stocks: tuple[str, ...]
    is_one: bool
    timeframe: Timeframe
    first: datetime | None
    beyond: datetime | None
    session: Session
    settled: bool
    require: Require | None
    zone: ZoneInfo
    names: tuple[str, ...]
    korean: bool
    wide: str | None

    @property
    def group(self) -> Literal["targets", "all"] | None:
        """Which stocks are meant where no single ones are named."""
        if self.is_one and self.stocks[0] in {"targets", "all"}:
            return "all" if self.stocks[0] == "all" else "targets"
        return None

    @property
    def has_plain_index(self) -> bool:
        """Whether the index is the opening alone: one code was given, not a list."""
        return self.is_one and self.group is None


def parse(  # noqa: PLR0913 - the arguments of read_candles
    stocks: str | Sequence[str],
    timeframe: str,
    start: Moment,
    end: Moment,
    *,
    session: str,
    settled: bool,
    require: str | None,
    tz: str,
    columns: str | Sequence[str] | None,
    wide: str | None,
) -> Request:
    """Check every argument.

    Raises:
        ValueError: If one cannot be accepted; the text names it, and the remedy.
    """
    span = timeframe_of(timeframe)
    first, beyond = _instant("start", start), _instant("end", end)
    if first and beyond and first >= beyond:
        raise ValueError(
            f"start must be before end (end is not included), not {start} and {end}"
        )
    given: tuple[str, ...] = ()
    if isinstance(stocks, str):
        given = (stocks,)
    elif isinstance(stocks, Iterable):
        given = tuple(stocks)
    if not given or not all(isinstance(stock, str) and stock for stock in given):
        raise ValueError(
            "stocks must be a code such as '005930', a name, a list of them, 'targets' "
            f"or 'all', not {stocks!r}"
        )
    _check("session", session, get_args(Session))
    _check("require", require, (*get_args(Require), None))
    known = _known_columns(span)
    if wide is not None:
        _check("wide", wide, known)
        if columns is not None:
            message = "wide is the one column that is wanted; leave columns out"
            raise ValueError(message)
    if session == "after" and not span.minutes:
        raise ValueError(
            f"session 'after' is for minutes: a {span} candle includes the after-market"
        )
    korean = columns == "ko"
    return Request(
        stocks=given,
        is_one=isinstance(stocks, str),
        timeframe=span,
        first=first,
        beyond=beyond,
        session=session,  # type: ignore[arg-type]
        settled=bool(settled),
        require=require,  # type: ignore[arg-type]
        zone=zone(tz),
        names=known if korean or columns is None else _columns(columns, known),
        korean=korean,
        wide=wide,
    )


def _known_columns(timeframe: Timeframe) -> tuple[str, ...]:
    is_daily = timeframe is Timeframe.DAY_1
    return (*COLUMNS, OFFICIAL_CLOSE) if is_daily else COLUMNS


def _columns(columns: str | Sequence[str], known: tuple[str, ...]) -> tuple[str, ...]:
    wanted = (columns,) if isinstance(columns, str) else columns
    found = tuple(wanted) if isinstance(wanted, Iterable) else (wanted,)
    for name in found:
        if name not in known:
            raise ValueError(
                f"columns must be 'ko' or some of {', '.join(known)}, not {name!r}"
            )
    if not found or len(set(found)) < len(found):
        raise ValueError(f"columns must name each column once, not {columns!r}")
    return found


def _check(name: str, value: object, known: Sequence[object]) -> None:
    if value not in known:
        listed = ", ".join(map(repr, known))
        raise ValueError(f"{name} must be one of {listed}, not {value!r}")


def timeframe_of(text: str) -> Timeframe:
    """The timeframe that is meant.

    Raises:
        ValueError: If it is none.
    """
    try:
        return ALIASES.get(text) or Timeframe(text)
    except (ValueError, TypeError):
        raise ValueError(
            f"timeframe must be one of {', '.join(Timeframe)}, not {text!r}"
        ) from None


def zone(name: str) -> ZoneInfo:
    """The zone of that name.

    Raises:
        ValueError: If there is none.
    """
    try:
        return ZoneInfo(str(name))
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"tz must be the name of a zone such as 'Asia/Seoul', not {name!r}"
        ) from None


def _instant(name: str, given: Moment) -> datetime | None:
    """The instant that is meant; a day begins in Seoul."""
    moment = given
    if moment is None:
        return None
    if isinstance(moment, str):
        moment = _parsed(name, moment)
    # Only pandas' NaT is not equal to itself, which calls itself a datetime.
    if not isinstance(moment, date) or moment != moment:  # noqa: PLR0124
        message = (
            f"{name} must be a day such as '2026-06-01' or an instant with a zone, not "
            f"{given!r}"
        )
        raise ValueError(message)
    try:
        return _absolute(name, given, moment)
    except OverflowError:
        raise ValueError(
            f"{name} is out of what a calendar has: {given!r}; give a day between "
            "1900-01-01 and 2100-01-01, or leave it out"
        ) from None


def _absolute(name: str, given: Moment, moment: date) -> datetime:
    """The instant in UTC.

    Raises:
        OverflowError: If it is out of the years 1 to 9999.
    """
    if not isinstance(moment, datetime):
        return midnight(moment).astimezone(UTC)
    if moment.tzinfo is None:
        raise ValueError(
            f"{name} is an instant without a zone: {given!r}; give a day such as "
            f"'2026-06-01', or add the zone, as in '{moment:%Y-%m-%dT%H:%M}+09:00'"
        )
    # Of pandas' timestamps, too, only what datetime knows.
    return EPOCH + timedelta(seconds=moment.timestamp())


def _parsed(name: str, text: str) -> date | datetime:
    try:
        if DAY.fullmatch(text):
            return date.fromisoformat(text)
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{name} must be a day such as '2026-06-01' or an instant such as "
            f"'2026-06-01T09:00+09:00', not {text!r}"
        ) from None
