"""How the embedded Pub/Sub finds out how much it may push, as the service does."""

from __future__ import annotations

import pytest

from infra.local.pubsub.push_window import (
    FIRST_WINDOW,
    MOST_OUTSTANDING,
    ServiceWindow,
    SteadyWindow,
)


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def answered(window, *statuses):
    for status in statuses:
        window.answered(acknowledged=status == 200)


def test_it_begins_with_a_few_messages(clock):
    window = ServiceWindow(clock)

    assert [window.room(out) for out in (0, 3, 4, 9)] == [FIRST_WINDOW, 1, 0, 0]


def test_it_doubles_with_every_round_of_successes_up_to_a_limit(clock):
    window = ServiceWindow(clock)

    rooms = []
    for _ in range(12):
        rooms.append(room := window.room(0))
        answered(window, *[200] * room)

    assert rooms[:4] == [4, 8, 16, 32]
    assert window.room(0) == MOST_OUTSTANDING


def test_a_refusal_halves_it_down_to_one(clock):
    window = ServiceWindow(clock)
    answered(window, *[200] * 12)

    rooms = []
    for _ in range(6):
        answered(window, 429)
        clock.now += 60
        rooms.append(window.room(0))

    assert rooms == [8, 4, 2, 1, 1, 1]


def test_refusals_in_a_row_pause_it_longer_and_longer_but_not_for_ever(clock):
    window = ServiceWindow(clock)

    pauses = []
    for _ in range(12):
        answered(window, 429)
        began = clock.now
        while not window.room(0):
            clock.now += 0.01
        pauses.append(clock.now - began)

    assert pauses[:5] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6], abs=0.02)
    assert pauses[-1] == pytest.approx(60, abs=0.02)


def test_refusals_of_messages_that_were_out_together_count_once(clock):
    window = ServiceWindow(clock)

    answered(window, *[429] * 4)

    clock.now += 0.11
    assert window.room(0) == FIRST_WINDOW / 2


def test_successes_make_refusals_good(clock):
    window = ServiceWindow(clock)
    for _ in range(3):
        answered(window, 429)
        clock.now += 60
    answered(window, 200, 200, 200)

    answered(window, 429)

    clock.now += 0.11
    assert window.room(0) >= 1


def test_a_steady_window_holds_as_many_as_there_are_places():
    window = SteadyWindow(3)
    answered(window, 503, 503, 200)

    assert [window.room(out) for out in (0, 2, 3, 4)] == [3, 1, 0, 0]
