"""What ``make publish`` accepts, and refuses before it is sent."""

from __future__ import annotations

import pytest

from infra.local.publish import READERS, main
from shared.messages import Heartbeat, Trigger


def test_a_trigger_and_a_heartbeat_are_messages_for_triggers():
    read = READERS["triggers"]

    assert read(b'{"heartbeat":"operator"}') == Heartbeat(source="operator")
    assert isinstance(read(b'{"timeframe":"5m"}'), Trigger)


@pytest.mark.parametrize("message", ['{"heartbeat":1}', '{"timeframe":"7m"}'])
def test_a_wrong_message_is_refused_by_its_field(message, capsys):
    assert main([message]) == 1
    assert capsys.readouterr().err.startswith("not published: ")
