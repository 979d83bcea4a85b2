"""``make dlq``, ``dlq-replay``, ``dlq-drop``: what could not be handled, and why.

Without ``--project`` it looks at the local stack, with it at the one in the cloud.
"""

from __future__ import annotations

import argparse
import os
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc
from google.api_core.exceptions import DeadlineExceeded, GoogleAPIError
from google.cloud import pubsub_v1
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from infra import topology
from infra.local.announcement import NotRunning, running
from infra.local.deadline import deadline
from shared.errors import MalformedMessage, PublishFailed
from shared.lanes import collect_topic
from shared.messages import CollectRequest
from shared.plain_text import shortened
from shared.pubsub.dead_letters import DeadLetter
from shared.pubsub.publisher import Publisher
from shared.sessions import KST

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SUBSCRIPTION = "dead-letters"
# The one topic that all collect requests once had.
BEFORE_LANES = "collect"
AT_ONCE = 1000
# Long enough to look at all of them, and to publish them again.
HELD_SECONDS = 600
PULL_SECONDS = 5.0
# A message may have 10 MB, of which its beginning tells enough.
SHOWN_BYTES = 2000
# Pulled letters stay leased this long; what is not done by then is not done twice.
TOTAL_SECONDS = 300.0


class DeadLetters:
    """The dead letters of a project, pulled and then released or discarded."""

    def __init__(self, project: str) -> None:
        """Look at those of ``project``."""
        subscriptions = topology.load().subscriptions
        self._topics = {name: one.topic for name, one in subscriptions.items()}
        self._subscriber = _subscriber()
        self._publisher = Publisher(project)
        self._path = self._subscriber.subscription_path(project, SUBSCRIPTION)

    def pull(self, error_code: str | None = None) -> list[DeadLetter]:
        """All that are there, or those with an ``error_code``; the others stay."""
        found: dict[str, DeadLetter] = {}
        while received := self._pull():
            letters = [DeadLetter.of(one, self._topics) for one in received]
            self._hold(letters, HELD_SECONDS)
            found |= {letter.ack_id: letter for letter in letters}
        wanted = {
            ack_id: letter
            for ack_id, letter in found.items()
            if error_code in {None, letter.error_code}
        }
        self.release(found[ack_id] for ack_id in found.keys() - wanted.keys())
        return sorted(wanted.values(), key=lambda letter: letter.died_at)

    def release(self, letters: Iterable[DeadLetter]) -> None:
        """Put them back: they can be pulled again at once."""
        self._hold(list(letters), 0)

    def replay(self, letter: DeadLetter) -> None:
        """Publish one to the topic where it was; only then is it discarded.

        Raises:
            PublishFailed: If the topic is not known, or did not take it.
        """
        topic = _topic(letter)
        if topic is None:
            message = "the topic it came from is unknown"
            raise PublishFailed(message)
        self._publisher.publish(topic, [letter.data], letter.own_attributes)
        self.discard([letter])

    def discard(self, letters: Sequence[DeadLetter]) -> None:
        """Remove them permanently."""
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

    def _hold(self, letters: Sequence[DeadLetter], seconds: int) -> None:
        for ids in _chunks(letters):
            self._subscriber.modify_ack_deadline(
                subscription=self._path, ack_ids=ids, ack_deadline_seconds=seconds
            )


def _subscriber() -> pubsub_v1.SubscriberClient:
    """A client that also receives large messages from the emulator.

    For the service Google's client lifts gRPC's limit of 4 MB, for the emulator it
    leaves it.
    """
    host = os.environ.get("PUBSUB_EMULATOR_HOST")
    if not host:
        return pubsub_v1.SubscriberClient()
    unlimited = [("grpc.max_receive_message_length", -1)]
    channel = grpc.insecure_channel(host, options=unlimited)
    return pubsub_v1.SubscriberClient(
        transport=SubscriberGrpcTransport(channel=channel)
    )


def _topic(letter: DeadLetter) -> str | None:
    """Where a letter was; a collect request of before there were lanes has one now.

    Letters that Pub/Sub wrote then name a subscription that no longer exists.
    """
    if letter.topic not in {None, BEFORE_LANES}:
        return letter.topic
    try:
        request = CollectRequest.from_bytes(letter.data)
    except MalformedMessage:
        return None
    return collect_topic(request.lane, request.timeframe)


def _chunks(letters: Sequence[DeadLetter]) -> Iterable[list[str]]:
    for start in range(0, len(letters), AT_ONCE):
        yield [letter.ack_id for letter in letters[start : start + AT_ONCE]]


def summary(
    letters: Sequence[DeadLetter], clock_offset: timedelta = timedelta()
) -> list[str]:
    """Lines about the letters, grouped by what went wrong, with the newest of each.

    Instants are those of a stack that lives ``clock_offset`` ahead, in Seoul.
    """
    groups: dict[tuple[str, str], list[DeadLetter]] = {}
    for letter in letters:
        group = (letter.topic or "from nowhere", letter.error_code)
        groups.setdefault(group, []).append(letter)
    lines = [f"{len(letters)} dead letter{'' if len(letters) == 1 else 's'}"]
    for (topic, error_code), found in groups.items():
        since = (found[0].died_at + clock_offset).astimezone(KST)
        lines += [
            f"{len(found):6}  {topic}  {error_code}  since {since:%Y-%m-%d %H:%M} KST",
            f"        {found[-1].reason}",
            f"        {_shown(found[-1])}",
        ]
    return lines


def _shown(letter: DeadLetter) -> str:
    return shortened(letter.data.decode(errors="replace"), SHOWN_BYTES)


def main(arguments: Sequence[str] | None = None) -> int:
    """List, replay or drop."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("action", choices=("list", "replay", "drop"))
    parser.add_argument("--project", default="")
    parser.add_argument("--code", default="", help="only those with this error_code")
    options = parser.parse_args(arguments)
    late = f"Pub/Sub has not answered for {TOTAL_SECONDS:.0f} s; nothing is lost"
    try:
        with deadline(TOTAL_SECONDS, late):
            project, offset = options.project, timedelta()
            if not project:
                project, offset = _local_project(), _local_offset()
            dead_letters = DeadLetters(project)
            return _act(dead_letters, options.action, options.code or None, offset)
    except NotRunning as error:
        _tell(f"{error}, or give PROJECT=")
        return 1
    except GoogleAPIError as error:
        _tell(f"Pub/Sub does not answer as it should: {error}")
        return 1


def _act(
    dead_letters: DeadLetters, action: str, code: str | None, clock_offset: timedelta
) -> int:
    letters = dead_letters.pull(code)
    _tell("\n".join(summary(letters, clock_offset)))
    if action == "list":
        dead_letters.release(letters)
        return 0
    if action == "drop":
        dead_letters.discard(letters)
        _tell(f"dropped {len(letters)}")
        return 0
    failed = []
    for letter in letters:
        try:
            dead_letters.replay(letter)
        except PublishFailed as error:
            _tell(f"not replayed: {error}: {_shown(letter)}")
            failed.append(letter)
    dead_letters.release(failed)
    _tell(f"replayed {len(letters) - len(failed)}")
    return 1 if failed else 0


def _tell(text: str) -> None:
    print(text)


def _local_project() -> str:
    """The local stack's project, once its emulator is set as the one to talk to.

    Raises:
        NotRunning: If no stack runs here.
    """
    if os.environ.get("PUBSUB_EMULATOR_HOST"):
        # Imported here: in the cloud nothing of the local stack is needed.
        from infra.local.stack import PROJECT  # noqa: PLC0415

        return PROJECT
    stack = running()
    os.environ["PUBSUB_EMULATOR_HOST"] = stack.pubsub_host
    return stack.project


def _local_offset() -> timedelta:
    """How far ahead of this machine's clock the local stack lives."""
    try:
        return timedelta(seconds=running().clock_offset)
    except NotRunning:
        # A Pub/Sub server that others have started.
        return timedelta()


if __name__ == "__main__":
    sys.exit(main())
