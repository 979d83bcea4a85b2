"""Request slots, kept in PostgreSQL so that all instances keep one limit together."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy import text

from shared.database.engine import transaction
from shared.errors import Busy

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

# One statement reserves the next slot (GCRA). clock_timestamp(), because now() is the
# start of the transaction, before the wait for the row.
RESERVE = text("""
    INSERT INTO rate_slots AS slot (app_key_id, api_id, next_free_at)
    VALUES (:app_key_id, :api_id, clock_timestamp() + make_interval(secs => :interval))
    ON CONFLICT (app_key_id, api_id) DO UPDATE
    SET next_free_at = greatest(slot.next_free_at, clock_timestamp())
                       + make_interval(secs => :interval)
    WHERE slot.next_free_at < clock_timestamp() + make_interval(secs => :max_wait)
    RETURNING greatest(0, extract(epoch FROM
        next_free_at - make_interval(secs => :interval) - clock_timestamp()))::float8
""")
POSTPONE = text("""
    UPDATE rate_slots
    SET next_free_at = greatest(next_free_at, clock_timestamp())
                       + make_interval(secs => :penalty)
    WHERE app_key_id = :app_key_id AND api_id = :api_id
""")
# The broker counts by the second.
PENALTY_SECONDS = 1.0


class RateSlots:
    """The next free request slot of each (app key, call)."""

    def __init__(
        self,
        engine: Engine,
        requests_per_second: float,
        max_wait: float,
        sleep: Callable[[float], None],
    ) -> None:
        """Wait at most ``max_wait`` seconds for a slot, with ``sleep``."""
        self._engine = engine
        self._interval = 1 / requests_per_second
        self._max_wait = max_wait
        self._sleep = sleep

    def wait(self, app_key_id: str, api_id: str) -> None:
        """Return when the next request may be sent.

        The wait itself holds no connection.

        Raises:
            Busy: If the queue is longer than ``max_wait``.
        """
        slot = {"app_key_id": app_key_id, "api_id": api_id}
        limits = {"interval": self._interval, "max_wait": self._max_wait}
        with transaction(self._engine) as connection:
            seconds = connection.execute(RESERVE, slot | limits).scalar()
        if seconds is None:
            message = f"more than {self._max_wait:.0f} s of {api_id} requests wait"
            raise Busy(message)
        self._sleep(seconds)

    def slow_down(self, app_key_id: str, api_id: str) -> None:
        """Let everybody pause: the broker counted too many requests."""
        slot = {"app_key_id": app_key_id, "api_id": api_id}
        with transaction(self._engine) as connection:
            connection.execute(POSTPONE, slot | {"penalty": PENALTY_SECONDS})


def new_throttle(
    engine: Engine, requests_per_second: float | None, max_wait: float
) -> RateSlots | NoLimit:
    """Slots at this pace; None is a broker without a limit."""
    if requests_per_second is None:
        return NoLimit()
    return RateSlots(engine, requests_per_second, max_wait, time.sleep)


class NoLimit:
    """For a broker without a limit, such as the simulated one told to have none."""

    def wait(self, app_key_id: str, api_id: str) -> None:
        """Return at once."""

    def slow_down(self, app_key_id: str, api_id: str) -> None:
        """Do nothing."""
