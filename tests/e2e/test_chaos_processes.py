"""A few of the rounds of ``make chaos``."""

from __future__ import annotations

from tests.chaos.processes import play


def test_whatever_dies_on_the_way_nothing_is_lost():
    wrong, kinds = play(count=5, seed=11)

    assert wrong == []
    assert kinds["tasks"] >= 10
