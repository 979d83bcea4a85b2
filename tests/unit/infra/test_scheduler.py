from __future__ import annotations

from itertools import islice
from threading import Event

from infra.local import scheduler
from infra.topology import load
from tests.support.builders import kst

TOPOLOGY = load()


def test_schedules_fire_in_the_order_of_their_times():
    firings = scheduler.firings(TOPOLOGY, kst("2026-11-20 09:00"))

    soon = [(str(at.time())[:5], schedule.name) for at, schedule in islice(firings, 5)]

    assert soon == [
        ("09:02", "collect-30m"),
        ("09:03", "collect-60m"),
        ("09:05", "collect-5m"),
        ("09:10", "collect-5m"),
        ("09:15", "collect-5m"),
    ]


def test_a_schedule_of_weekdays_rests_at_the_weekend():
    firings = scheduler.firings(TOPOLOGY, kst("2026-11-20 21:00"))

    collecting = (at for at, s in firings if s.name.startswith("collect"))

    assert next(collecting) == kst("2026-11-23 09:00")


def test_it_publishes_until_it_is_stopped():
    published = []
    stopped = Event()

    def publish(topic, data):
        published.append((topic, data))
        stopped.set()

    # The clock stands one second before a firing: there is nothing to wait for.
    moments = iter([kst("2026-11-20 09:04:59"), *[kst("2026-11-20 09:05")] * 9])
    scheduler.run(TOPOLOGY, lambda: next(moments), publish, stopped)

    assert published == [("triggers", b'{"timeframe": "5m"}')]
