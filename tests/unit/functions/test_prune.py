from __future__ import annotations

from datetime import timedelta

from functions.reference_sync.prune import SECONDS, Pruned, prune
from tests.support.builders import kst

NOW = kst("2026-11-20 04:40")


class FakeLedger:
    """Has so many batches of tasks and chains; each takes ten seconds to remove."""

    def __init__(self, tasks=0, chains=0):
        self.tasks, self.chains = tasks, chains
        self.time, self.asked = 0.0, []

    def monotonic(self):
        return self.time

    def remove_tasks(self, days):
        self.asked.append(days)
        self.time += 10
        self.tasks -= 1
        return (1, 100) if self.tasks >= 0 else (0, 0)

    def remove_chains(self, before):
        self.asked.append(before)
        self.chains -= 1
        return 20 if self.chains >= 0 else 0


def test_everything_old_is_removed_batch_by_batch():
    ledger = FakeLedger(tasks=3, chains=4)

    pruned = prune(ledger, NOW, ledger.monotonic)

    assert pruned == Pruned(runs=3, tasks=300, chains=80, is_done=True)
    assert set(ledger.asked) == {90, NOW - timedelta(days=1)}


def test_a_delivery_ends_after_a_minute_and_leaves_the_rest_to_the_next_one():
    ledger = FakeLedger(tasks=10_000)

    pruned = prune(ledger, NOW, ledger.monotonic)

    assert not pruned.is_done
    assert ledger.time == SECONDS
