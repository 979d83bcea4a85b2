"""The trading calendar in PostgreSQL."""

from __future__ import annotations

from datetime import date, time
from typing import TYPE_CHECKING

from sqlalchemy import text

from shared.database.engine import transaction
from shared.database.session_seals import unseal
from shared.errors import CalendarMissing
from shared.sessions import DAY, LATE_CANDLE, Calendar, MarketSession, midnight

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sqlalchemy import Connection, Engine

    from shared.sessions import Hours, SessionOverride

VERSION = text("SELECT version FROM calendar_state")
LOCK_VERSION = text("SELECT version FROM calendar_state FOR SHARE")
LOCK_STATE = text("SELECT first_day, last_day FROM calendar_state FOR UPDATE")
# Days of the same hours in one line: ten thousand rows would take a hundred times as
# long to decode. A day is its number, as Python counts.
READ = text("""
    SELECT first_day, last_day, version,
           (SELECT string_agg(hours || ' ' || days, E'\\n') FROM (
                SELECT to_char(opens_at AT TIME ZONE interval '9 hours', 'HH24:MI') ||
                       to_char(closes_at AT TIME ZONE interval '9 hours', '-HH24:MI')
                           AS hours,
                       string_agg((session_date - date '0001-01-01' + 1)::text, ' ')
                           AS days
                FROM market_sessions GROUP BY 1) AS sessions) AS sessions,
           (SELECT string_agg((session_date - date '0001-01-01' + 1)::text, ' ')
            FROM session_overrides WHERE opens_at IS NULL) AS closed
    FROM calendar_state
""")
# Times of a day are minutes since midnight in Seoul.
WRITE = text("""
    INSERT INTO market_sessions (session_date, opens_at, closes_at, source)
    SELECT day, (day + opens * interval '1 minute') AT TIME ZONE interval '9 hours',
           (day + closes * interval '1 minute') AT TIME ZONE interval '9 hours',
           'repository'
    FROM unnest(cast(:days AS date[]), cast(:opens AS integer[]),
                cast(:closes AS integer[])) AS t (day, opens, closes)
    ON CONFLICT (session_date) DO UPDATE
    SET opens_at = excluded.opens_at, closes_at = excluded.closes_at
""")
CLOSE = text(
    "DELETE FROM market_sessions WHERE session_date = ANY(cast(:days AS date[]))"
)
NAME_SOURCES = text("""
    UPDATE market_sessions AS session SET source = named.source
    FROM (SELECT session_date,
                 CASE WHEN override.session_date IS NULL THEN 'repository'
                      ELSE 'operator' END AS source
          FROM market_sessions LEFT JOIN session_overrides AS override
               USING (session_date)) AS named
    WHERE named.session_date = session.session_date
      AND named.source <> session.source
""")
MOVE_STATE = text("""
    UPDATE calendar_state
    SET first_day = :first_day, last_day = :last_day, version = version + 1
""")
OVERRIDES = text("""
    SELECT session_date, to_char(opens_at AT TIME ZONE interval '9 hours', 'HH24:MI'),
           to_char(closes_at AT TIME ZONE interval '9 hours', 'HH24:MI')
    FROM session_overrides
""")
OVERRIDE = text("""
    INSERT INTO session_overrides (session_date, opens_at, closes_at)
    VALUES (:session_date, :opens_at, :closes_at)
    ON CONFLICT (session_date) DO UPDATE
    SET opens_at = excluded.opens_at, closes_at = excluded.closes_at,
        said_at = clock_timestamp()
    WHERE (session_overrides.opens_at, session_overrides.closes_at)
          IS DISTINCT FROM (excluded.opens_at, excluded.closes_at)
""")
FORGET = text("DELETE FROM session_overrides WHERE session_date = :session_date")
# Days that changed are judged anew: they are no longer settled, so the next tick reads
# them again, and the candles of their weeks; what has no place in them any more goes to
# the quarantine.
JUDGED_THROUGH = text("SELECT max(settled_through) + 7 FROM series")
UNSETTLE = text("""
    WITH judged AS (
        SELECT stock_code, timeframe,
               CASE WHEN timeframe = '1w'
                    THEN date_trunc('week', cast(:day AS date))::date
                    ELSE cast(:day AS date) END AS since
        FROM series
    )
    UPDATE series
    SET version = version + 1,
        settled_through = nullif(greatest(covered_from - 1, since - 1),
                                 covered_from - 1)
    FROM judged
    WHERE judged.stock_code = series.stock_code
      AND judged.timeframe = series.timeframe AND settled_through >= since
    RETURNING series.stock_code, series.timeframe
""")
# The broker's answers of before are no proof of a day that has other slots now. A week
# may be covered from one of its later days.
ASK_AGAIN = text("""
    UPDATE series SET asked_at = :day_begins, version = version + 1
    WHERE asked_at > :day_begins AND covered_from <= cast(:day AS date) + 6
""")
QUARANTINE = text("""
    WITH homeless AS (
        DELETE FROM candles
        WHERE opened_at >= :day_begins AND opened_at < :day_ends
          AND timeframe <> '1w'
          AND (cast(:opens_at AS timestamptz) IS NULL
               OR timeframe <> '1d'
                  AND (opened_at + cast(timeframe AS interval) <= :opens_at
                       OR session = 'regular' AND opened_at > :last_slot))
        RETURNING *
    )
    INSERT INTO quarantine (run_id, stock_code, timeframe, reason, raw, opened_at)
    SELECT 'calendar', stock_code, timeframe, :reason, row_to_json(homeless)::text,
           opened_at
    FROM homeless
    ON CONFLICT (stock_code, timeframe, md5(raw)) DO NOTHING
""")
# What the broker did not have on a day that changed is requested again; a day without a
# session has no slots that could be absent.
FORGET_ABSENT = text("""
    DELETE FROM absent_slots
    USING calendar_state
    WHERE (opened_at AT TIME ZONE interval '9 hours')::date = ANY(cast(:days AS date[]))
       OR (opened_at AT TIME ZONE interval '9 hours')::date
              BETWEEN first_day AND last_day
          AND NOT EXISTS (
              SELECT FROM market_sessions
              WHERE session_date = (opened_at AT TIME ZONE interval '9 hours')::date)
""")


def lock_version(connection: Connection) -> int:
    """The calendar's version, which cannot grow before this transaction ends.

    Compare it with the ``version`` of the calendar that was planned with. Call it
    before any row of ``series`` is locked: a calendar change locks in the same order.
    """
    version: int = connection.execute(LOCK_VERSION).scalar_one()
    return version


class SessionStore:
    """Sessions of the exchange, and what an operator says about single days."""

    def __init__(self, engine: Engine) -> None:
        """Read and write through ``engine``."""
        self._engine = engine
        self._calendar: Calendar | None = None

    def calendar(self) -> Calendar:
        """The sessions as they are known now; read again only where they changed.

        Raises:
            CalendarMissing: If no calendar was loaded yet.
            DatabaseUnavailable: If PostgreSQL did not answer.
        """
        known = self._calendar
        with transaction(self._engine) as connection:
            if known and known.version == connection.execute(VERSION).scalar_one():
                return known
            known = _read(connection)
        if known is None:
            message = (
                'no calendar was loaded yet; publish {"sync":["calendar"]} to the '
            )
            message += "topic reference (make reference)"
            raise CalendarMissing(message)
        self._calendar = known
        return known

    def write(
        self,
        table: Calendar,
        *,
        override: SessionOverride | None = None,
        forget: date | None = None,
    ) -> int:
        """Take ``table`` as the calendar, in one transaction with an operator's word.

        What an operator said about a day, now or earlier, takes precedence over the
        table until it is forgotten. A table that ends earlier than before removes no
        day. Days that change are judged anew.

        Returns:
            How many days changed.
        """
        with transaction(self._engine) as connection:
            state = connection.execute(LOCK_STATE).one()
            former = _read(connection)
            said = 0
            if override:
                said += connection.execute(OVERRIDE, _columns(override)).rowcount
            if forget:
                said += connection.execute(FORGET, {"session_date": forget}).rowcount
            before = _open_days(former.sessions) if former else {}
            overrides = dict(_overrides(connection))
            after = _open_days(
                {day: hours for day, hours in before.items() if not _in(table, day)}
                | dict(table.sessions)
                | ({forget: None} if forget and not _in(table, forget) else {})
                | overrides
            )
            changed = {
                day
                for day in before.keys() | after.keys()
                if before.get(day) != after.get(day)
            }
            span = {
                "first_day": min(table.first, state.first_day or table.first),
                "last_day": max(table.last, state.last_day or table.last),
            }
            _store(connection, after, changed)
            if changed or said or span != state._asdict():
                connection.execute(MOVE_STATE, span)
                connection.execute(NAME_SOURCES)
                judged = {d for d in changed if d in overrides or d == forget}
                judged |= {d for d in changed if former and _in(former, d)}
                connection.execute(FORGET_ABSENT, {"days": _literal(judged)})
                _judge_anew(connection, judged, after)
        return len(changed)


def _in(calendar: Calendar, day: date) -> bool:
    return calendar.first <= day <= calendar.last


def _open_days(sessions: Mapping[date, Hours | None]) -> dict[date, Hours]:
    return {day: hours for day, hours in sessions.items() if hours}


def _read(connection: Connection) -> Calendar | None:
    """The stored calendar, None before the first was written."""
    state = connection.execute(READ).one()
    if state.first_day is None:
        return None
    sessions: dict[date, Hours | None] = {}
    for line in (state.sessions or "").splitlines():
        hours, *days = line.split()
        opens, _, closes = hours.partition("-")
        both = time.fromisoformat(opens), time.fromisoformat(closes)
        sessions |= dict.fromkeys(map(date.fromordinal, map(int, days)), both)
    closed = map(int, (state.closed or "").split())
    sessions |= dict.fromkeys(map(date.fromordinal, closed))
    return Calendar(sessions, state.first_day, state.last_day, state.version)


def _overrides(connection: Connection) -> Iterator[tuple[date, Hours | None]]:
    for day, opens, closes in connection.execute(OVERRIDES):
        hours = (
            (time.fromisoformat(opens), time.fromisoformat(closes)) if opens else None
        )
        yield day, hours


def _columns(override: SessionOverride) -> dict[str, object]:
    day, hours = override.day, override.hours
    session = MarketSession.at(day, *hours) if hours else None
    return {
        "session_date": day,
        "opens_at": session and session.opens_at,
        "closes_at": session and session.closes_at,
    }


def _store(
    connection: Connection, after: Mapping[date, Hours], changed: set[date]
) -> None:
    opened = sorted(changed & after.keys())
    connection.execute(CLOSE, {"days": _literal(changed - after.keys())})
    rows = {
        "days": _literal(opened),
        "opens": _literal(_minutes(after[day][0]) for day in opened),
        "closes": _literal(_minutes(after[day][1]) for day in opened),
    }
    connection.execute(WRITE, rows)


def _minutes(at: time) -> int:
    return at.hour * 60 + at.minute


def _literal(elements: Iterable[date | int]) -> str:
    """An array of PostgreSQL: the driver encodes lists element by element, slowly."""
    return "{" + ",".join(map(str, elements)) + "}"


def _judge_anew(
    connection: Connection, days: set[date], after: Mapping[date, Hours]
) -> None:
    judged_through = connection.execute(JUDGED_THROUGH).scalar()
    if judged_through is None:
        return
    for day in sorted(day for day in days if day <= judged_through):
        session = MarketSession.at(day, *after[day]) if day in after else None
        unsettled = connection.execute(UNSETTLE, {"day": day}).all()
        if unsettled:
            unseal(connection, [(row.stock_code, row.timeframe) for row in unsettled])
        reason = "the calendar was changed: "
        reason += "closed" if session is None else f"{session.opens_at:%H:%M}"
        place = {
            "day_begins": midnight(day),
            "day_ends": midnight(day + DAY),
            "opens_at": session and session.opens_at,
            "last_slot": session and session.closes_at + LATE_CANDLE,
            "reason": reason,
        }
        connection.execute(QUARANTINE, place)
        if session:
            connection.execute(ASK_AGAIN, {"day": day, "day_begins": midnight(day)})
