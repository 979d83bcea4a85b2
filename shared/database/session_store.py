"""The trading calendar in PostgreSQL."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from sqlalchemy import text

from shared.database.engine import transaction
from shared.sessions import DAY, LATE_CANDLE, Calendar, MarketSession, midnight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import date

    from sqlalchemy import Connection, Engine

# An operator's change of the calendar is felt within this time, without a deploy.
FRESH_SECONDS = 300.0

READ = text("SELECT session_date, opens_at, closes_at FROM market_sessions")
WRITE = text("""
    INSERT INTO market_sessions (session_date, opens_at, closes_at, source)
    SELECT session_date, opens_at, closes_at, source
    FROM unnest(cast(:dates AS date[]), cast(:opens AS timestamptz[]),
                cast(:closes AS timestamptz[]), cast(:sources AS text[]))
         AS t (session_date, opens_at, closes_at, source)
    ON CONFLICT (session_date) DO UPDATE
    SET opens_at = excluded.opens_at, closes_at = excluded.closes_at,
        source = excluded.source
    WHERE (market_sessions.opens_at, market_sessions.closes_at)
          IS DISTINCT FROM (excluded.opens_at, excluded.closes_at)
    RETURNING session_date
""")
CLOSE = text("""
    DELETE FROM market_sessions
    WHERE session_date BETWEEN :first AND :last
      AND session_date <> ALL(cast(:dates AS date[]))
    RETURNING session_date
""")
OVERRIDES = text("SELECT session_date, opens_at, closes_at FROM session_overrides")
OVERRIDE = text("""
    INSERT INTO session_overrides (session_date, opens_at, closes_at)
    VALUES (:session_date, :opens_at, :closes_at)
    ON CONFLICT (session_date) DO UPDATE
    SET opens_at = excluded.opens_at, closes_at = excluded.closes_at,
        said_at = clock_timestamp()
""")
# Days that changed are judged anew: they are no longer settled, so the next tick reads
# them again; candles that have no place in them any more are put aside.
JUDGED_THROUGH = text("SELECT max(settled_through) + 7 FROM series")
UNSETTLE = text("""
    UPDATE series
    SET version = version + 1,
        settled_through = nullif(greatest(covered_from - 1,
            CASE WHEN timeframe = '1w' THEN date_trunc('week', cast(:day AS date))::date
                 ELSE cast(:day AS date) END - 1), covered_from - 1)
    WHERE settled_through >= :day
""")
PUT_ASIDE = text("""
    WITH homeless AS (
        DELETE FROM candles
        WHERE opened_at >= :day_begins AND opened_at < :day_ends
          AND timeframe <> '1w'
          AND (cast(:opens_at AS timestamptz) IS NULL
               OR timeframe <> '1d' AND (opened_at < :opens_at
                  OR session = 'regular' AND opened_at > :last_slot))
        RETURNING *
    )
    INSERT INTO quarantine (run_id, stock_code, timeframe, reason, raw)
    SELECT 'calendar', stock_code, timeframe, :reason, row_to_json(homeless)::text
    FROM homeless
    ON CONFLICT (stock_code, timeframe, md5(raw)) DO NOTHING
""")


class SessionStore:
    """Sessions of the exchange; ``calendar`` is read at most every five minutes."""

    def __init__(self, engine: Engine, monotonic: Callable[[], float]) -> None:
        """Tell freshness by ``monotonic`` seconds."""
        self._engine = engine
        self._monotonic = monotonic
        self._lock = Lock()
        self._calendar: Calendar | None = None
        self._read_at = 0.0

    def calendar(self) -> Calendar:
        """The sessions as they are known now."""
        with self._lock:
            stale = self._monotonic() - self._read_at > FRESH_SECONDS
            if self._calendar is None or stale:
                with transaction(self._engine) as connection:
                    rows = connection.execute(READ).all()
                self._calendar = Calendar(MarketSession(*row) for row in rows)
                self._read_at = self._monotonic()
            return self._calendar

    def write(self, sessions: Iterable[MarketSession], source: str) -> int:
        """Take ``sessions`` as the calendar of the years they span.

        What an operator said about a day wins. Days that change are judged anew.

        Returns:
            How many days changed.
        """
        table = {session.session_date: (session, source) for session in sessions}
        first, last = min(table), max(table)
        with transaction(self._engine) as connection:
            for day, opens_at, closes_at in connection.execute(OVERRIDES):
                table.pop(day, None)
                if opens_at is not None:
                    table[day] = MarketSession(day, opens_at, closes_at), "operator"
            rows = [session for session, _ in table.values()]
            columns = {
                "dates": [session.session_date for session in rows],
                "opens": [session.opens_at for session in rows],
                "closes": [session.closes_at for session in rows],
                "sources": [source for _, source in table.values()],
            }
            period = {"first": first, "last": last}
            closed = connection.execute(CLOSE, columns | period).scalars().all()
            moved = connection.execute(WRITE, columns).scalars().all()
            judged = connection.execute(JUDGED_THROUGH).scalar()
            for day in {*closed, *moved}:
                if judged is None or day > judged:
                    continue
                session = table[day][0] if day in table else None
                _judge_anew(connection, day, session)
        with self._lock:
            self._calendar = None
        return len(closed) + len(moved)

    def override(self, day: date, session: MarketSession | None) -> None:
        """Note what an operator says about a day: its session, or that it is closed.

        ``write`` makes it the calendar's.
        """
        said = {
            "session_date": day,
            "opens_at": session and session.opens_at,
            "closes_at": session and session.closes_at,
        }
        with transaction(self._engine) as connection:
            connection.execute(OVERRIDE, said)


def _judge_anew(
    connection: Connection, day: date, session: MarketSession | None
) -> None:
    connection.execute(UNSETTLE, {"day": day})
    reason = "the calendar was changed: "
    reason += "closed" if session is None else f"{session.opens_at:%H:%M}"
    place = {
        "day_begins": midnight(day),
        "day_ends": midnight(day + DAY),
        "opens_at": session and session.opens_at,
        "last_slot": session and session.closes_at + LATE_CANDLE,
        "reason": reason,
    }
    connection.execute(PUT_ASIDE, place)
