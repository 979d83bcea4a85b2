from __future__ import annotations

from threading import Event, Thread

import pytest

from functions.collector.gate import Gate
from shared.errors import Busy


def test_as_many_pass_as_it_lets_and_the_next_one_is_busy():
    gate = Gate(2, max_wait=0.0)

    with gate.passed(), gate.passed(), pytest.raises(Busy, match="2 tasks"):
        gate.passed().__enter__()


def test_the_next_one_passes_as_soon_as_one_is_done():
    gate, passed = Gate(1, max_wait=30.0), Event()

    def wait():
        with gate.passed():
            passed.set()

    waiting = Thread(target=wait)
    with gate.passed():
        waiting.start()
        assert not passed.is_set()
    waiting.join(timeout=30)

    assert passed.is_set()


def test_a_task_that_fails_is_done_as_well():
    gate = Gate(1, max_wait=0.0)

    for _ in range(2):
        with pytest.raises(ZeroDivisionError), gate.passed():
            raise ZeroDivisionError
