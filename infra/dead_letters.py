"""``make dlq``, ``dlq-replay``, ``dlq-drop``: what could not be handled, and why.

Without ``--project`` it looks at the local stack, with it at the one in the cloud.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from google.api_core.exceptions import DeadlineExceeded, GoogleAPIError
from google.cloud import pubsub_v1

from infra import topology
from shared.errors import PublishFailed
from shared.pubsub import Publisher

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

SUBSCRIPTION = "dead-letters"
AT_ONCE = 1000
# Long enough to look at all of them, and to publish them again.
HELD_SECONDS = 600
PULL_SECONDS = 5.0
# Pub/Sub says so of messages that it gave up by itself.
SOURCE = "CloudPubSubDeadLetterSourceSubscription"
DELIVERIES = "CloudPubSubDeadLetterSourceDeliveryCount"
# What was added on the way here and is not sent on.
ADDED = ("error_code", "reason", "message_id", "topic", "googclient_")
UNDELIVERABLE = "undeliverable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter; ``topic`` is where it was, None if nobody knows."""

    ack_id: str
    data: bytes
    attributes: dict[str, str]
    died_at: datetime
    topic: str | None
    error_code: str
    reason: str

    @classmethod
    def of(cls, received: Any, topics: topology.Topology) -> Self:  # noqa: ANN401
        """Read one, be it put aside by a function or by Pub/Sub itself."""
        message = received.message
        attributes = dict(message.attributes)
        source = topics.subscriptions.get(attributes.get(SOURCE, ""))
        count = attributes.get(DELIVERIES, "many")
        return cls(
            ack_id=received.ack_id,
            data=message.data,
            attributes=attributes,
            died_at=message.publish_time,
            topic=attributes.get("topic") or (source.topic if source else None),
            error_code=attributes.get("error_code", UNDELIVERABLE),
            reason=attributes.get("reason", f"not done in {count} deliveries"),
        )

    @property
    def own_attributes(self) -> dict[str, str]:
        """Those that the message had before it died."""
        return {
            name: value
            for name, value in self.attributes.items()
            if not name.startswith(("CloudPubSub", *ADDED))
        }


class DeadLetters:
    """The dead letters of a project; whoever looks holds them until he lets go."""

    def __init__(self, project: str) -> None:
        """Look at those of ``project``."""
        self._topology = topology.load()
        self._subscriber = pubsub_v1.SubscriberClient()
        self._publisher = Publisher(pubsub_v1.PublisherClient(), project)
        self._path = self._subscriber.subscription_path(project, SUBSCRIPTION)

    def take(self, error_code: str | None = None) -> list[Letter]:
        """All that are there, or those with an ``error_code``; the others stay."""
        found: dict[str, Letter] = {}
        while received := self._pull():
            letters = [Letter.of(one, self._topology) for one in received]
            self._hold(letters, HELD_SECONDS)
            found |= {letter.ack_id: letter for letter in letters}
        wanted = {
            ack_id: letter
            for ack_id, letter in found.items()
            if error_code in {None, letter.error_code}
        }
        self.let_go(found[ack_id] for ack_id in found.keys() - wanted.keys())
        return sorted(wanted.values(), key=lambda letter: letter.died_at)

    def let_go(self, letters: Iterable[Letter]) -> None:
        """Leave them where they were."""
        self._hold(list(letters), 0)

    def replay(self, letter: Letter) -> None:
        """Publish one to the topic where it was; only then is it taken away.

        Raises:
            PublishFailed: If the topic is not known, or did not take it.
        """
        if letter.topic is None:
            message = "nobody knows the topic it came from"
            raise PublishFailed(message)
        self._publisher.publish(letter.topic, [letter.data], letter.own_attributes)
        self.drop([letter])

    def drop(self, letters: Sequence[Letter]) -> None:
        """Take them away."""
        for ids in _chunks(letters):
            self._subscriber.acknowledge(subscription=self._path, ack_ids=ids)

    def _pull(self) -> Sequence[Any]:
        try:
            reply = self._subscriber.pull(
                subscription=self._path, max_messages=AT_ONCE, timeout=PULL_SECONDS
            )
        except DeadlineExceeded:
            return ()
        return list(reply.received_messages)

    def _hold(self, letters: Sequence[Letter], seconds: int) -> None:
        for ids in _chunks(letters):
            self._subscriber.modify_ack_deadline(
                subscription=self._path, ack_ids=ids, ack_deadline_seconds=seconds
            )


def _chunks(letters: Sequence[Letter]) -> Iterable[list[str]]:
    for start in range(0, len(letters), AT_ONCE):
        yield [letter.ack_id for letter in letters[start : start + AT_ONCE]]


def summary(letters: Sequence[Letter]) -> list[str]:
    """Lines about the letters by what went wrong; the newest of each is told."""
    groups: dict[tuple[str, str], list[Letter]] = {}
    for letter in letters:
        group = (letter.topic or "from nowhere", letter.error_code)
        groups.setdefault(group, []).append(letter)
    lines = [f"{len(letters)} dead letters"]
    for (topic, error_code), found in groups.items():
        since = f"{found[0].died_at:%Y-%m-%d %H:%M} UTC"
        lines += [
            f"{len(found):6}  {topic}  {error_code}  since {since}",
            f"        {found[-1].reason}",
            f"        {found[-1].data.decode(errors='replace')}",
        ]
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """List, replay or drop."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("action", choices=("list", "replay", "drop"))
    parser.add_argument("--project", default="")
    parser.add_argument("--code", default="", help="only those with this error_code")
    options = parser.parse_args(arguments)
    project = options.project or _local_project()
    if project is None:
        _tell("no stack runs here; start one with make dev, or give PROJECT=")
        return 1
    try:
        return _act(DeadLetters(project), options.action, options.code or None)
    except GoogleAPIError as error:
        _tell(f"Pub/Sub does not answer as it should: {error}")
        return 1


def _act(dead_letters: DeadLetters, action: str, code: str | None) -> int:
    letters = dead_letters.take(code)
    _tell("\n".join(summary(letters)))
    if action == "list":
        dead_letters.let_go(letters)
        return 0
    if action == "drop":
        dead_letters.drop(letters)
        _tell(f"dropped {len(letters)}")
        return 0
    failed = []
    for letter in letters:
        try:
            dead_letters.replay(letter)
        except PublishFailed as error:
            _tell(f"not replayed: {error}: {letter.data.decode()}")
            failed.append(letter)
    dead_letters.let_go(failed)
    _tell(f"replayed {len(letters) - len(failed)}")
    return 1 if failed else 0


def _tell(text: str) -> None:
    print(text)  # noqa: T201 - a command


def _local_project() -> str | None:
    """The local stack's project, once its emulator is set as the one to talk to."""
    # Imported here: in the cloud nothing of the local stack is needed.
    from dotenv import dotenv_values  # noqa: PLC0415

    from infra.local.dev import GCLOUD  # noqa: PLC0415
    from infra.local.stack import PROJECT  # noqa: PLC0415

    host = os.environ.get("PUBSUB_EMULATOR_HOST")
    host = host or dotenv_values(GCLOUD).get("PUBSUB_EMULATOR_HOST")
    if not host:
        return None
    os.environ["PUBSUB_EMULATOR_HOST"] = host
    return PROJECT


if __name__ == "__main__":
    sys.exit(main())
