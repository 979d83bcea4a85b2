from __future__ import annotations

import pytest

from infra.local.ports import Ports

USUAL = {"postgres": 54320, "pubsub": 8085}


@pytest.fixture
def ports(tmp_path):
    """Ports of the same folder at a start where some are taken."""

    def start(taken=(), wait=lambda _: None):
        said = []
        started = Ports(
            tmp_path,
            said.append,
            usual=USUAL,
            is_free=lambda port: port not in taken,
            wait=wait,
        )
        return started, said

    return start


def test_the_usual_ports_are_taken(ports):
    started, said = ports()

    assert [started.take("postgres"), started.take("pubsub")] == [54320, 8085]
    assert said == []


def test_the_next_port_is_taken_and_said_where_the_usual_one_is_in_use(ports):
    started, said = ports(taken={54320, 54321})

    assert started.take("postgres") == 54322
    assert said == ["port 54320 is in use: postgres listens on 54322"]


def test_a_port_stays_the_same_from_start_to_start(ports):
    ports(taken={54320})[0].take("postgres")

    assert ports()[0].take("postgres") == 54321


def test_a_port_that_is_in_use_for_once_is_remembered(ports):
    ports()[0].take("postgres")
    assert ports(taken={54320})[0].take("postgres") == 54321

    assert ports()[0].take("postgres") == 54320


def test_a_stack_that_is_still_ending_is_waited_for(ports):
    ports()[0].take("postgres")
    taken = {54320}

    started, said = ports(taken, wait=lambda _: taken.clear())

    assert started.take("postgres") == 54320
    assert said == []


def test_no_two_parts_are_given_one_port(ports, tmp_path):
    (tmp_path / "ports.json").write_text('{"a": 9000, "b": 9000}', encoding="utf-8")
    started, _ = ports()

    assert [started.take("a"), started.take("b")] == [9000, 9001]


def test_a_broken_file_is_no_obstacle(ports, tmp_path):
    (tmp_path / "ports.json").write_text("[1", encoding="utf-8")

    assert ports()[0].take("postgres") == 54320
