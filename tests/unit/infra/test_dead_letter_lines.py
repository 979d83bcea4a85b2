"""What ``make dlq`` writes."""

from __future__ import annotations

from datetime import timedelta

from infra.dead_letters import summary
from shared.pubsub.dead_letters import DeadLetter
from tests.support.builders import kst


def a_letter():
    return DeadLetter(
        ack_id="ack",
        data=b"{}",
        attributes={},
        died_at=kst("2026-11-30 18:32"),
        topic="triggers",
        error_code="malformed_message",
        reason="mode: is wrong",
    )


def test_a_dead_letter_is_dated_in_seoul_by_the_clock_of_its_stack():
    lines = summary([a_letter()], timedelta(days=-10))

    assert lines[0] == "1 dead letter"
    assert lines[1].split("  ")[-1] == "since 2026-11-20 18:32 KST"
    assert summary([])[0] == "0 dead letters"
