"""The old rows of the ledger: removed in batches, and kept as counts a day.

What is removed is counted by the statement that removes it: nothing is counted twice,
and nothing is lost, wherever a batch is cut off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from shared.database.engine import transaction

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine

# It runs with the rights of the ledger's owner; who calls it may not write the ledger.
PRUNE = text("SELECT * FROM prune_ledger(:days, :runs, :tasks)")
REMOVE_CHAINS = text("""
    DELETE FROM staged_chains WHERE chain_id = ANY(ARRAY(
        SELECT chain_id FROM staged_chains WHERE read_at < :before LIMIT :chains))
""")
# One batch takes a tenth of a second; a run of the whole market has 14,000 tasks.
RUNS_AT_ONCE = 200
TASKS_AT_ONCE = 5_000
CHAINS_AT_ONCE = 20


class LedgerPruning:
    """Removes what is old from the ledger in PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        """Read and write through ``engine``."""
        self._engine = engine

    def remove_tasks(self, days: int) -> tuple[int, int]:
        """Remove a batch of runs and tasks recorded more than ``days`` days ago.

        Days are those of Seoul by the database's clock, which dated the runs; fewer
        than 90 are refused.

        Returns:
            How many runs and how many tasks; none of either when nothing is left.
        """
        values = {"days": days, "runs": RUNS_AT_ONCE, "tasks": TASKS_AT_ONCE}
        with transaction(self._engine) as connection:
            runs, tasks = connection.execute(PRUNE, values).one()
        return runs, tasks

    def remove_chains(self, before: datetime) -> int:
        """Remove a batch of the chains that were begun ``before`` an instant.

        Their pages go with them.

        Returns:
            How many; 0 when none is left.
        """
        values = {"before": before, "chains": CHAINS_AT_ONCE}
        with transaction(self._engine) as connection:
            return connection.execute(REMOVE_CHAINS, values).rowcount
