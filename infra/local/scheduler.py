"""Cloud Scheduler on one machine: fires the schedules of ``pipeline.yaml``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from cronsim import CronSim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from threading import Event

    from infra.topology import Schedule, Topology
    from shared.clock import Clock


def firings(topology: Topology, since: datetime) -> Iterator[tuple[datetime, Schedule]]:
    """Yield every firing after ``since``, in order, without end."""
    zone = ZoneInfo(topology.time_zone)
    coming = {
        schedule.name: CronSim(schedule.cron, since.astimezone(zone))
        for schedule in topology.schedules.values()
    }
    due = {name: next(times) for name, times in coming.items()}
    while True:
        name = min(due, key=lambda name: (due[name], name))
        yield due[name], topology.schedules[name]
        due[name] = next(coming[name])


def run(
    topology: Topology,
    clock: Clock,
    publish: Callable[[str, bytes], None],
    stopped: Event,
) -> None:
    """Publish each schedule's payload when it is due, until ``stopped``."""
    for due_at, schedule in firings(topology, clock()):
        if stopped.wait(max(0.0, (due_at - clock()).total_seconds())):
            return
        publish(schedule.topic, json.dumps(schedule.payload).encode())
