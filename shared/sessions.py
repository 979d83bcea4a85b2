"""The trading calendar: sessions, the grid of candles in them, and when they settle.

Times of the exchange are Korean Standard Time (KST, UTC+9). Korea's clocks were an hour
ahead in the summers of 1987 and 1988; hours are in KST even then.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import TYPE_CHECKING

from shared.candles import CandleSession, Timeframe
from shared.errors import CalendarUnknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KST = timezone(timedelta(hours=9), "KST")
DAY = timedelta(days=1)

OPENS = time(9, 0)
CLOSES = time(15, 30)
# KRX trades after hours, 16:00-20:00, since this day.
AFTER_MARKET_SINCE = date(2026, 9, 14)
AFTER_OPENS = time(16, 0)
AFTER_CLOSES = time(20, 0)
# From the closing auction to the after-market.
AFTER_PAUSE = timedelta(minutes=30)
# Orders for the closing auction are gathered for ten minutes.
AUCTION_CALL = timedelta(minutes=10)
# A small five-minute candle follows the closing auction, five minutes after it.
LATE_CANDLE = timedelta(minutes=5)

# The exchange opened in Seoul on this day.
EXCHANGE_BEGAN = date(1956, 3, 3)
SATURDAY = 5
# No market closes for longer; a search that passes this is a broken calendar.
LONGEST_CLOSURE = timedelta(days=30)


def kst_date(instant: datetime) -> date:
    """The date in Seoul at ``instant``."""
    return instant.astimezone(KST).date()


def midnight(day: date) -> datetime:
    """The instant ``day`` begins in Seoul."""
    return datetime.combine(day, time.min, KST)


def week_of(day: date) -> tuple[date, date]:
    """Monday and Sunday of the week ``day`` is in."""
    monday = day - DAY * day.weekday()
    return monday, monday + DAY * 6


@dataclass(frozen=True, slots=True)
class MarketSession:
    """A trading day of the exchange, with its opening and its closing auction."""

    session_date: date
    opens_at: datetime
    closes_at: datetime

    @classmethod
    def regular(cls, day: date) -> MarketSession:
        """A session with the usual hours, 09:00-15:30."""
        return cls.at(day, OPENS, CLOSES)

    @classmethod
    def at(cls, day: date, opens: time, closes: time) -> MarketSession:
        """A session of ``day`` with these hours in Seoul."""
        return cls(
            day,
            datetime.combine(day, opens, KST),
            datetime.combine(day, closes, KST),
        )


# Opening and closing auction of a session, in KST.
Hours = tuple[time, time]
USUAL_HOURS: Hours = (OPENS, CLOSES)


@dataclass(frozen=True, slots=True)
class SessionOverride:
    """What an operator says about one day: its ``hours``, None where it is closed."""

    day: date
    hours: Hours | None


class Calendar:
    """The sessions of the exchange from ``first`` to ``last``, both included.

    Within that span a day without a session is closed. Outside of it only the single
    days are known that an operator described; asking about any other day raises
    ``CalendarUnknown``. ``version`` grows with every change of the stored calendar.
    """

    def __init__(
        self,
        sessions: Mapping[date, Hours | None],
        first: date,
        last: date,
        version: int = 0,
    ) -> None:
        """Take the hours of each session; None is a day that an operator closed."""
        self.sessions = sessions
        self.first = first
        self.last = last
        self.version = version
        self._built: dict[date, MarketSession] = {}

    def knows(self, day: date) -> bool:
        """Whether it is known if ``day`` has a session."""
        return self.first <= day <= self.last or day in self.sessions

    def has_session(self, day: date) -> bool:
        """Whether the exchange trades on ``day``.

        Raises:
            CalendarUnknown: If the calendar does not know the day.
        """
        if self.sessions.get(day):
            return True
        self._check(day)
        return False

    def session_on(self, day: date) -> MarketSession | None:
        """The session of ``day``, or None when the exchange is closed.

        Raises:
            CalendarUnknown: If the calendar does not know the day.
        """
        hours = self.sessions.get(day)
        if hours is None:
            self._check(day)
            return None
        # Most of the ten thousand sessions are never used.
        session = self._built.get(day)
        if session is None:
            session = self._built[day] = MarketSession.at(day, *hours)
        return session

    def _check(self, day: date) -> None:
        if not self.knows(day):
            raise CalendarUnknown(day, self.first, self.last)

    def session_dates(self, first: date, last: date) -> Iterator[date]:
        """Yield the days with a session from ``first`` to ``last``, both included.

        Raises:
            CalendarUnknown: If the calendar does not know one of the days.
        """
        return filter(self.has_session, _days(first, last))

    def latest(self, day: date) -> date | None:
        """The newest session on or before ``day``.

        None when there is none near, or none since the calendar begins.

        Raises:
            CalendarUnknown: If the calendar does not know ``day``, or a day between it
                and the session.
        """
        self._check(day)
        return self._latest(day)

    def _latest(self, day: date) -> date | None:
        for candidate in (day - DAY * n for n in range(LONGEST_CLOSURE.days)):
            if candidate < self.first and not self.knows(candidate):
                return None
            if self.has_session(candidate):
                return candidate
        return None

    def next_session(self, day: date) -> date | None:
        """The first session after ``day``; None when no near one is known.

        Raises:
            CalendarUnknown: If the calendar does not know ``day``.
        """
        self._check(day)
        days = filter(self.knows, _days(day + DAY, day + LONGEST_CLOSURE))
        return next(filter(self.has_session, days), None)

    def latest_opened(self, now: datetime) -> date | None:
        """The newest session that has opened by ``now``.

        Raises:
            CalendarUnknown: If the calendar does not know the day in Seoul.
        """
        today = kst_date(now)
        session = self.session_on(today)
        if session and now >= session.opens_at:
            return today
        return self._latest(today - DAY)

    def settled_through(
        self, timeframe: Timeframe, now: datetime, last: date
    ) -> date | None:
        """The newest session up to ``last`` whose candles are final if read at ``now``.

        The broker changes a session until midnight in Seoul, so that it is final when
        it is read on a later calendar day. A weekly candle is final when the last
        session of its week is.

        Raises:
            CalendarUnknown: If the calendar does not know the days in question.
        """
        day = self._latest(min(kst_date(now) - DAY, last))
        if day is None or timeframe is not Timeframe.WEEK_1:
            return day
        monday, sunday = week_of(day)
        # A day that is not known might still belong to the week.
        rest = _days(day + DAY, sunday)
        is_over = all(self.knows(d) and not self.has_session(d) for d in rest)
        return day if is_over else self._latest(monday - DAY)

    def first_slot(self, timeframe: Timeframe, start: date) -> datetime:
        """The earliest instant at which a candle on or after ``start`` can open.

        Raises:
            CalendarUnknown: If the calendar does not know ``start``.
        """
        self._check(start)
        for day in _days(start, start + LONGEST_CLOSURE):
            if not self.knows(day):
                return midnight(day)
            session = self.session_on(day)
            if session is None:
                continue
            if timeframe.minutes:
                return _floor(session.opens_at, timeframe.minutes)
            if timeframe is Timeframe.DAY_1 or self._opens_week(day):
                return midnight(day)
        return midnight(start)

    def _opens_week(self, day: date) -> bool:
        monday, _ = week_of(day)
        earlier = filter(self.knows, _days(monday, day - DAY))
        return not any(map(self.has_session, earlier))

    def slots(self, timeframe: Timeframe, day: date) -> list[datetime]:
        """When the candles of a session open where all of them were traded.

        No trade takes place while orders for the closing auction are gathered; a small
        five-minute candle follows it. A week opens with its first session.

        Raises:
            CalendarUnknown: If the calendar does not know the day.
        """
        session = self.session_on(day)
        if session is None:
            return []
        if timeframe is Timeframe.WEEK_1:
            return [midnight(day)] if self._opens_week(day) else []
        if timeframe.minutes is None:
            return [midnight(day)]
        step = timedelta(minutes=timeframe.minutes)
        opens_at = _floor(session.opens_at, timeframe.minutes)
        called = session.closes_at - AUCTION_CALL
        if timeframe is Timeframe.MINUTE_5:
            regular = _every(step, opens_at, called)
            regular += [session.closes_at, session.closes_at + LATE_CANDLE]
        else:
            regular = _every(step, opens_at, session.closes_at + LATE_CANDLE)
        if day < AFTER_MARKET_SINCE:
            return regular
        opens = datetime.combine(day, AFTER_OPENS, KST)
        opens = max(opens, session.closes_at + AFTER_PAUSE)
        opens = _floor(opens, timeframe.minutes)
        closes = datetime.combine(day, AFTER_CLOSES, KST)
        return regular + [at for at in _every(step, opens, closes) if at > regular[-1]]

    def place(self, timeframe: Timeframe, opened_at: datetime) -> CandleSession:
        """Tell which part of its session a candle belongs to.

        Raises:
            ValueError: If no candle of this timeframe can open at that instant; the
                text is the reason.
        """
        local = opened_at.astimezone(KST)
        if not self.knows(local.date()):
            span = f"{self.first} to {self.last}"
            message = f"{local:%Y-%m-%d} is outside the trading calendar ({span})"
            raise ValueError(message)
        session = self.session_on(local.date())
        if session is None:
            message = f"no session on {local:%Y-%m-%d}"
            raise ValueError(message)
        if not timeframe.minutes:
            if local.time() != time.min:
                message = f"{timeframe} candles open at midnight, not {local:%H:%M:%S}"
                raise ValueError(message)
            return CandleSession.REGULAR
        if (local.hour * 60 + local.minute) % timeframe.minutes or local.second:
            message = f"{local:%H:%M:%S} is not on the {timeframe} grid"
            raise ValueError(message)
        opens_at = _floor(session.opens_at, timeframe.minutes)
        if opens_at <= local <= session.closes_at + LATE_CANDLE:
            return CandleSession.REGULAR
        after_market = (
            local.date() >= AFTER_MARKET_SINCE
            and local > session.closes_at
            and AFTER_OPENS <= local.time() < AFTER_CLOSES
        )
        if not after_market:
            message = f"{local:%H:%M} is outside the session of {local:%Y-%m-%d}"
            raise ValueError(message)
        return CandleSession.AFTER


def _every(step: timedelta, first: datetime, beyond: datetime) -> list[datetime]:
    return [first + step * n for n in range(-((first - beyond) // step))]


def _floor(instant: datetime, minutes: int) -> datetime:
    """The opening of the candle that ``instant`` is in: candles follow the clock."""
    return instant - timedelta(minutes=(instant.hour * 60 + instant.minute) % minutes)


def _days(first: date, last: date) -> Iterator[date]:
    """The days from ``first`` to ``last``, both included; none if it is earlier."""
    return map(date.fromordinal, range(first.toordinal(), last.toordinal() + 1))
