from __future__ import annotations

import signal

from infra.local.guard import survivors


def test_a_process_that_has_ended_is_no_longer_watched():
    """Its number may be another process's by the time that the stack ends."""
    lines = ["+ 10 15\n", "+ 11 2\n", "- 10\n", "- 12\n"]

    assert survivors(lines) == {11: signal.SIGINT}
