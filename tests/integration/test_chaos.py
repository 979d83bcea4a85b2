"""A few of the random histories of ``make chaos``."""

from __future__ import annotations

import pytest

from tests.chaos import play


@pytest.mark.parametrize("seed", range(1, 7))
def test_whatever_happens_the_end_is_that_of_a_clean_run(engine, seed):
    assert play(engine, seed).wrong == ""
