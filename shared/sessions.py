"""The trading calendar: sessions, the grid of candles in them, and when they settle.

Times of the exchange are Korean (KST, UTC+9 without daylight saving since 1988).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from itertools import takewhile
from typing import TYPE_CHECKING

from shared.candles import CandleSession, Timeframe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
# The after-market ends at 20:00; corrections still arrive some minutes later.
SETTLES = time(20, 30)
# A small five-minute candle follows the closing auction, five minutes after it.
LATE_CANDLE = timedelta(minutes=5)

SATURDAY = 5
# No market closes for longer; a search that passes this is a broken calendar.
LONGEST_CLOSURE = timedelta(days=30)


def kst_date(instant: datetime) -> date:
    """The date in Seoul at ``instant``."""
    return instant.astimezone(KST).date()


def midnight(day: date) -> datetime:
    """The instant ``day`` begins in Seoul."""
    return datetime.combine(day, time.min, KST)


def settles_at(day: date) -> datetime:
    """From this instant on, what the broker says about ``day`` is final."""
    return datetime.combine(day, SETTLES, KST)


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


class Calendar:
    """The sessions of the exchange.

    Within the years that the given sessions span, a day without one is closed.
    Outside of them every weekday counts as a session with the usual hours, which is
    right but for holidays: nothing is lost by asking for a day too many.
    """

    def __init__(self, sessions: Iterable[MarketSession]) -> None:
        """Take ``sessions`` in any order."""
        self._sessions = {session.session_date: session for session in sessions}
        years = {day.year for day in self._sessions}
        self._years = range(min(years), max(years) + 1) if years else range(0)

    def session_on(self, day: date) -> MarketSession | None:
        """The session of ``day``, or None when the exchange is closed."""
        if day.year in self._years:
            return self._sessions.get(day)
        return MarketSession.regular(day) if day.weekday() < SATURDAY else None

    def session_dates(self, first: date, last: date) -> Iterator[date]:
        """Yield the days with a session from ``first`` to ``last``, both included."""
        day = first
        while day <= last:
            if self.session_on(day):
                yield day
            day += DAY

    def latest(self, day: date) -> date | None:
        """The newest session on or before ``day``, None when there is none near."""
        days = (day - DAY * n for n in range(LONGEST_CLOSURE.days))
        return next(filter(self.session_on, days), None)

    def latest_opened(self, now: datetime) -> date | None:
        """The newest session that has opened by ``now``."""
        today = kst_date(now)
        session = self.session_on(today)
        if session and now >= session.opens_at:
            return today
        return self.latest(today - DAY)

    def settled_through(
        self, timeframe: Timeframe, now: datetime, last: date
    ) -> date | None:
        """The newest session up to ``last`` whose candles are final at ``now``.

        A weekly candle is final when the last session of its week is.
        """
        today = kst_date(now)
        finished = today if now >= settles_at(today) else today - DAY
        day = self.latest(min(finished, last))
        if day is None or timeframe is not Timeframe.WEEK_1:
            return day
        monday, sunday = week_of(day)
        still_open = any(self.session_dates(day + DAY, sunday))
        return self.latest(monday - DAY) if still_open else day

    def first_slot(self, timeframe: Timeframe, start: date) -> datetime:
        """The earliest instant at which a candle on or after ``start`` can open."""
        days = (start + DAY * n for n in range(LONGEST_CLOSURE.days))
        for day in days:
            session = self.session_on(day)
            if session is None:
                continue
            if timeframe.minutes:
                return session.opens_at
            if timeframe is Timeframe.DAY_1 or self._opens_week(day):
                return midnight(day)
        return midnight(start)

    def _opens_week(self, day: date) -> bool:
        monday, _ = week_of(day)
        return not any(self.session_dates(monday, day - DAY))

    def slots(self, timeframe: Timeframe, day: date) -> list[datetime]:
        """When the candles of a session open where all of them were traded.

        Nobody trades while the closing auction is called; of five minutes a small
        candle follows it. A week opens with its first session.
        """
        session = self.session_on(day)
        if session is None:
            return []
        if timeframe is Timeframe.WEEK_1:
            return [midnight(day)] if self._opens_week(day) else []
        if timeframe.minutes is None:
            return [midnight(day)]
        step = timedelta(minutes=timeframe.minutes)
        called = session.closes_at - AUCTION_CALL
        if timeframe is Timeframe.MINUTE_5:
            regular = _every(step, session.opens_at, called)
            regular += [session.closes_at, session.closes_at + LATE_CANDLE]
        else:
            regular = _every(step, session.opens_at, session.closes_at + LATE_CANDLE)
        if day < AFTER_MARKET_SINCE:
            return regular
        opens = datetime.combine(day, AFTER_OPENS, KST)
        opens = max(opens, session.closes_at + AFTER_PAUSE)
        closes = datetime.combine(day, AFTER_CLOSES, KST)
        return regular + [at for at in _every(step, opens, closes) if at > regular[-1]]

    def place(self, timeframe: Timeframe, opened_at: datetime) -> CandleSession:
        """Tell which part of its session a candle belongs to.

        Raises:
            ValueError: If no candle of this timeframe can open at that instant; the
                text is the reason.
        """
        local = opened_at.astimezone(KST)
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
        if session.opens_at <= local <= session.closes_at + LATE_CANDLE:
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


def sessions_between(
    first: date,
    last: date,
    *,
    closed: Iterable[date],
    hours: dict[date, tuple[time, time]],
) -> Iterator[MarketSession]:
    """Expand weekdays, ``closed`` weekdays and unusual ``hours`` into sessions."""
    holidays = set(closed)
    days = takewhile(lambda day: day <= last, (first + DAY * n for n in range(10**6)))
    for day in days:
        if day.weekday() < SATURDAY and day not in holidays:
            yield MarketSession.at(day, *hours.get(day, (OPENS, CLOSES)))
