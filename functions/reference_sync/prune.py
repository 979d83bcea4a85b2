"""Keep the ledger small: old runs become counts, pages that no one continues go."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

KEPT_DAYS = 90
# An attempt continues pages of ten minutes at most (shared/pages.py).
CHAINS_KEPT = timedelta(days=1)
# What is left goes the next time; the function may take three times as long.
SECONDS = 60.0


class Ledger(Protocol):
    """Where runs, tasks and the pages of unfinished attempts are recorded."""

    def remove_tasks(self, days: int) -> tuple[int, int]:
        """Remove a batch of runs and tasks older than ``days``; return how many."""

    def remove_chains(self, before: datetime) -> int:
        """Remove a batch of chains of pages begun ``before``; return how many."""


@dataclass(slots=True, kw_only=True)
class Pruned:
    """What was removed; ``is_done`` says that nothing old is left."""

    runs: int = 0
    tasks: int = 0
    chains: int = 0
    is_done: bool = False


def prune(
    ledger: Ledger, now: datetime, monotonic: Callable[[], float] = time.monotonic
) -> Pruned:
    """Remove what is old, batch by batch, for a minute at most.

    Every batch is a transaction of its own: what was removed stays removed, and the
    next message continues there.

    Raises:
        DatabaseUnavailable: If PostgreSQL did not answer.
    """
    pruned = Pruned()
    until = monotonic() + SECONDS
    while monotonic() < until:
        chains = ledger.remove_chains(now - CHAINS_KEPT)
        runs, tasks = ledger.remove_tasks(KEPT_DAYS)
        if not (chains or runs or tasks):
            pruned.is_done = True
            break
        pruned.chains += chains
        pruned.runs += runs
        pruned.tasks += tasks
    return pruned
