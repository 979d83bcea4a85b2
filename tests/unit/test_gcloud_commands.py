"""Commands of ``gcloud`` in documents and code: their names, flags and messages exist."""

from __future__ import annotations

import re

import pytest

from shared.events import Event
from shared.messages import (
    Heartbeat,
    ReferenceRequest,
    ReportRequest,
    TokenRequest,
    Trigger,
    is_heartbeat,
)
from tests.support import gcloud

KNOWN = gcloud.table()
COMMANDS = sorted(gcloud.in_documents() | gcloud.in_code())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_name_and_flags_that_exist(command):
    assert gcloud.problems(command, KNOWN) == []


def test_what_terraform_and_make_run_is_among_them():
    beginnings = {" ".join(command.split()[:4]) for command in COMMANDS}

    assert any(name.startswith("gcloud builds submit") for name in beginnings)
    assert "gcloud run jobs execute" in beginnings


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("gcloud run jobs execute export --regoin=x", "has no flag --regoin"),
        ("gcloud run job execute export", "no such command"),
        ("gcloud beta services identity create pubsub", "takes nothing: pubsub"),
    ],
)
def test_a_misspelt_one_is_found(command, problem):
    (found,) = gcloud.problems(command, KNOWN)

    assert problem in found


MESSAGE = re.compile(r"gcloud pubsub topics publish (\w+).* --message='([^']+)'")
MESSAGES = sorted(found.groups() for each in COMMANDS if (found := MESSAGE.match(each)))
READERS = {
    "reference": ReferenceRequest,
    "reports": ReportRequest,
    "tokens": TokenRequest,
    "triggers": Trigger,
}


@pytest.mark.parametrize(("topic", "message"), MESSAGES)
def test_every_message_is_one_that_its_function_takes(topic, message):
    data = message.replace("…", "005930").encode()

    reader = Heartbeat if is_heartbeat(data) else READERS[topic]
    reader.from_bytes(data)


EVENTS = sorted(
    name
    for command in COMMANDS
    for pattern in re.findall(r'jsonPayload\.event=~?"([^"]+)"', command)
    for name in pattern.split("|")
)


@pytest.mark.parametrize("beginning", EVENTS)
def test_every_event_that_is_looked_for_is_one_that_is_logged(beginning):
    assert any(event.startswith(beginning) for event in Event)
