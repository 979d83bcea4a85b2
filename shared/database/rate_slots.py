"""Request slots, kept in PostgreSQL so that all instances share one limit."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from shared.database.engine import transaction
from shared.errors import Busy

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import Engine

# One statement reserves the next slot (GCRA). clock_timestamp(), because now() is the
# start of the transaction, before the wait for the row. A slot is returned as the
# seconds until it comes and the instant of the last refusal that it knows of.
RESERVE = text("""
    INSERT INTO rate_slots AS slot (app_key_id, api_id, next_free_at, live_until)
    VALUES (:app_key_id, :api_id, clock_timestamp() + make_interval(secs => :interval),
            CASE WHEN NOT :gives_way THEN clock_timestamp() END)
    ON CONFLICT (app_key_id, api_id) DO UPDATE
    SET next_free_at = greatest(slot.next_free_at, clock_timestamp())
                       + make_interval(
                           secs => :interval * greatest(1, slot.slowdown - :recovery)),
        live_until = CASE WHEN :gives_way THEN slot.live_until
                     ELSE greatest(slot.next_free_at, clock_timestamp()) END,
        slowdown = greatest(1, slot.slowdown - :recovery),
        slowed_seconds = slot.slowed_seconds + :interval
                         * (greatest(1, slot.slowdown - :recovery) - 1)
    WHERE slot.next_free_at < clock_timestamp() + make_interval(secs => :ahead)
      AND NOT (:gives_way AND coalesce(slot.live_until > clock_timestamp(), false))
    RETURNING greatest(0, extract(epoch FROM
        next_free_at - make_interval(secs => :interval * slowdown) - clock_timestamp()
    ))::float8 AS seconds, slowed_at
""")
# When work that gives way may look again: once no live request waits, and the queue is
# short enough.
NEXT_CHANCE = text("""
    SELECT greatest(0, extract(epoch FROM
        greatest(live_until, next_free_at - make_interval(secs => :ahead))
        - clock_timestamp()))::float8
    FROM rate_slots
    WHERE app_key_id = :app_key_id AND api_id = :api_id
""")
LAST_REFUSAL = text("""
    SELECT slowed_at FROM rate_slots
    WHERE app_key_id = :app_key_id AND api_id = :api_id
""")
# Requests that were sent before the pause are refused together: they count once. The
# clock is set anew, since all slots that were reserved are void.
SLOW_DOWN = text("""
    UPDATE rate_slots
    SET next_free_at = clock_timestamp() + make_interval(secs => :pause),
        slowdown = least(:slowest, slowdown * :step),
        slowed_at = clock_timestamp(), live_until = NULL,
        slowed_seconds = slowed_seconds + :pause
    WHERE app_key_id = :app_key_id AND api_id = :api_id
      AND (slowed_at IS NULL
           OR slowed_at < clock_timestamp() - make_interval(secs => :pause))
""")
# So much longer is the interval than the rate says: a request that is a little late
# must not share its second with one too many.
MARGIN = 1.02
# Work that gives way reserves no slot further ahead: this long at most does a live
# request stand behind it.
AHEAD_SECONDS = 2.0
# Then it looks again this much later: before the slot after the live ones is due.
LOOK_AGAIN_SECONDS = 0.05
# So long before its slot a request looks for a refusal. Any later, it might still wait
# for a connection then: requests that wait for one store would be sent at once.
LAST_LOOK_SECONDS = 0.5
# The broker counts by the second.
PAUSE_SECONDS = 1.0
# A refusal halves the pace again and again, down to a quarter; two hundred slots that
# were granted later the first halving is forgotten.
SLOWDOWN = {"step": 2.0, "slowest": 4.0}
RECOVERY = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitPolicy:
    """How long a request may wait, and whether it gives way to live work.

    ``max_wait`` is in seconds.
    """

    max_wait: float
    gives_way: bool = False

    @property
    def ahead(self) -> float:
        """How many seconds ahead a slot may be reserved."""
        return min(self.max_wait, AHEAD_SECONDS) if self.gives_way else self.max_wait


class RateSlots:
    """The next free request slot of each (app key, call)."""

    def __init__(
        self,
        engine: Engine,
        requests_per_second: float,
        wait_policy: WaitPolicy,
        sleep: Callable[[float], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Wait for a slot as ``wait_policy`` allows, with ``sleep``.

        ``monotonic`` counts seconds.
        """
        self._engine = engine
        self._wait_policy = wait_policy
        self._sleep = sleep
        self._monotonic = monotonic
        self._terms = {
            "interval": MARGIN / requests_per_second,
            "ahead": wait_policy.ahead,
            "gives_way": wait_policy.gives_way,
            "recovery": RECOVERY,
        }

    def wait(self, app_key_id: str, api_id: str) -> None:
        """Return when the next request may be sent.

        The wait itself holds no connection. A slot that the broker's refusal has made
        void meanwhile is reserved again, as is one that was missed.

        Raises:
            Busy: If the wait would be too long.
        """
        slot = {"app_key_id": app_key_id, "api_id": api_id}
        looks = True
        while True:
            seconds, refused_at = self._reserve_in_turn(slot)
            if looks and seconds > LAST_LOOK_SECONDS:
                self._sleep(seconds - LAST_LOOK_SECONDS)
                began = self._monotonic()
                if self._last_refusal(slot) != refused_at:
                    continue
                seconds = LAST_LOOK_SECONDS - (self._monotonic() - began)
                if seconds < 0:
                    # Late, it would share its second with the requests after it. The
                    # next slot is not risked by a look: while the database is slow,
                    # slot after slot would be missed and no request sent.
                    looks = False
                    continue
            if seconds:
                self._sleep(seconds)
            return

    def slow_down(self, app_key_id: str, api_id: str) -> None:
        """Pause all callers, then halve the rate: the broker refused a request."""
        slot = {"app_key_id": app_key_id, "api_id": api_id}
        with transaction(self._engine) as connection:
            connection.execute(SLOW_DOWN, slot | SLOWDOWN | {"pause": PAUSE_SECONDS})

    def _reserve_in_turn(self, slot: dict[str, str]) -> tuple[float, datetime | None]:
        """Reserve a slot, for work that gives way once the live requests have theirs.

        It waits here, without a slot, and so keeps no one from one.
        """
        policy = self._wait_policy
        patience = policy.max_wait
        while (reserved := self._reserve(slot)) is None:
            pause = self._next_chance(slot) if policy.gives_way else patience
            patience -= pause
            if patience <= 0:
                live = " or live ones" if policy.gives_way else ""
                longest = f"more than {policy.max_wait:.0f} s of {slot['api_id']}"
                message = f"{longest} requests{live} wait"
                raise Busy(message)
            self._sleep(pause)
        return reserved

    def _reserve(self, slot: dict[str, str]) -> tuple[float, datetime | None] | None:
        with transaction(self._engine) as connection:
            found = connection.execute(RESERVE, slot | self._terms).first()
        return None if found is None else (found.seconds, found.slowed_at)

    def _next_chance(self, slot: dict[str, str]) -> float:
        with transaction(self._engine) as connection:
            seconds: float = connection.execute(
                NEXT_CHANCE, slot | self._terms
            ).scalar_one()
        return seconds + LOOK_AGAIN_SECONDS

    def _last_refusal(self, slot: dict[str, str]) -> datetime | None:
        with transaction(self._engine) as connection:
            refused_at: datetime | None = connection.execute(
                LAST_REFUSAL, slot
            ).scalar()
        return refused_at


def new_throttle(
    engine: Engine, requests_per_second: float | None, wait_policy: WaitPolicy
) -> RateSlots | NoLimit:
    """Slots at this pace; None is a broker without a limit."""
    if requests_per_second is None:
        return NoLimit()
    return RateSlots(engine, requests_per_second, wait_policy, time.sleep)


class NoLimit:
    """For a broker without a limit, such as the simulated one told to have none."""

    def wait(self, app_key_id: str, api_id: str) -> None:
        """Return at once."""

    def slow_down(self, app_key_id: str, api_id: str) -> None:
        """Do nothing."""
