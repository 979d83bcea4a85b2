"""The trading calendar in PostgreSQL."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from sqlalchemy import text

from shared.database.engine import transaction
from shared.sessions import Calendar, MarketSession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import Engine

# An operator's change of the calendar is felt within this time, without a deploy.
FRESH_SECONDS = 300.0

READ = text("SELECT session_date, opens_at, closes_at FROM market_sessions")
WRITE = text("""
    INSERT INTO market_sessions (session_date, opens_at, closes_at, source)
    SELECT session_date, opens_at, closes_at, :source
    FROM unnest(cast(:dates AS date[]), cast(:opens AS timestamptz[]),
                cast(:closes AS timestamptz[])) AS t (session_date, opens_at, closes_at)
    ON CONFLICT (session_date) DO UPDATE
    SET opens_at = excluded.opens_at, closes_at = excluded.closes_at,
        source = excluded.source
    WHERE (market_sessions.opens_at, market_sessions.closes_at)
          IS DISTINCT FROM (excluded.opens_at, excluded.closes_at)
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
        """Add or change sessions; return how many were."""
        rows = list(sessions)
        columns = {
            "dates": [session.session_date for session in rows],
            "opens": [session.opens_at for session in rows],
            "closes": [session.closes_at for session in rows],
            "source": source,
        }
        with transaction(self._engine) as connection:
            return connection.execute(WRITE, columns).rowcount
