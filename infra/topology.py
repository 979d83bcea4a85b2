"""``pipeline.yaml`` as values, checked on reading."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from shared.freshness import Tick

PIPELINE = Path(__file__).with_name("pipeline.yaml")
# Connections for operators, migrations, the readers of candles, and PostgreSQL itself.
RESERVED_CONNECTIONS = 15


TriggerKind = Literal["pubsub", "http"]
DatabaseAccess = Literal["none", "read", "write"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One deployable: ``functions/<source>/main.py`` and what it may use.

    Attributes:
        source: The folder; the function's name where ``pipeline.yaml`` does not say.
        trigger: What reaches it: pushes of its subscriptions, or people over HTTP.
        database: What it may do in the database; "write" is no more than
            ``infra.database_rights`` gives to its own role.
        database_pool: How many connections an instance may open.
        lists_secrets: Of which it may see when they got their versions, and no more.
        reads_schedules: Whether it is told the schedules that are not paused.
        calls_broker: Whether its requests leave through the registered address.
    """

    name: str
    source: str
    trigger: TriggerKind
    entry_point: str
    memory: str
    timeout_seconds: int
    concurrency: int
    min_instances: int
    max_instances: int
    database: DatabaseAccess
    database_pool: int = 0
    calls_broker: bool
    publishes: list[str]
    reads_secrets: list[str]
    adds_to_secrets: list[str]
    lists_secrets: list[str] = field(default_factory=list)
    reads_schedules: bool = False
    environment: dict[str, str]

    def __post_init__(self) -> None:
        """Refuse what neither Terraform nor the local stack could make sense of."""
        self._check_choice("trigger", self.trigger, get_args(TriggerKind))
        self._check_choice("database", self.database, get_args(DatabaseAccess))
        if (self.database == "none") != (self.database_pool == 0):
            message = (
                f"{self.name}: database_pool must be at least 1 with a database, and "
                "must not be set with database: none"
            )
            raise ValueError(message)

    def _check_choice(self, field: str, value: str, choices: tuple[str, ...]) -> None:
        if value not in choices:
            message = f"{self.name}: {field} must be {' or '.join(choices)}"
            raise ValueError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class PushSubscription:
    """A subscription that pushes to a function."""

    name: str
    topic: str
    function: str
    ack_deadline_seconds: int
    minimum_backoff_seconds: int
    maximum_backoff_seconds: int
    dead_letter_topic: str
    max_delivery_attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PullSubscription:
    """A subscription in which messages wait for an operator."""

    name: str
    topic: str
    retention_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A cron expression (in the topology's time zone) and what it publishes."""

    name: str
    cron: str
    topic: str
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Everything the pipeline consists of, but for the database and the secrets."""

    time_zone: str
    python: str
    topics: dict[str, str]
    secrets: dict[str, str]
    environment: dict[str, str]
    functions: dict[str, Function]
    subscriptions: dict[str, PushSubscription]
    dead_letter_subscriptions: dict[str, PullSubscription]
    schedules: dict[str, Schedule]

    @property
    def most_connections(self) -> int:
        """Connections that all functions may open while a revision is replaced."""
        functions = self.functions.values()
        return 2 * sum(each.max_instances * each.database_pool for each in functions)


def ticks(topology: Topology) -> list[Tick]:
    """The schedules that ask for new candles."""
    schedules = topology.schedules.values()
    return Tick.all_of(each for each in schedules if each.topic == "triggers")


def schedules_setting(topology: Topology) -> str:
    """``SCHEDULES`` as a function is told it: what fires triggers, and with what."""
    return json.dumps(
        [
            {"cron": schedule.cron, "payload": schedule.payload}
            for schedule in topology.schedules.values()
            if schedule.topic == "triggers"
        ]
    )


def load(path: Path = PIPELINE) -> Topology:
    """Read the topology.

    Raises:
        TypeError: If an entry lacks a field or has one too many; the text names it.
        ValueError: If a field of a function has a value that does not exist.
    """
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, fields in raw["functions"].items():
        fields.setdefault("source", name)

    def each(section: str, kind: type) -> dict[str, Any]:
        return {
            name: kind(name=name, **fields) for name, fields in raw[section].items()
        }

    return Topology(
        time_zone=raw["time_zone"],
        topics=raw["topics"],
        secrets=raw["secrets"],
        environment=raw["environment"],
        functions=each("functions", Function),
        subscriptions=each("subscriptions", PushSubscription),
        dead_letter_subscriptions=each("dead_letter_subscriptions", PullSubscription),
        schedules=each("schedules", Schedule),
        python=raw["python"],
    )
