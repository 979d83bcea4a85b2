"""StreamingPull, which ``SubscriberClient.subscribe`` uses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from infra.local.pubsub import limits, protos
from infra.local.pubsub.calls import listening
from infra.local.pubsub.errors import InvalidArgument
from infra.local.pubsub.service import received
from infra.local.pubsub.subscription import REPLY_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from infra.local.pubsub.protos import Message
    from infra.local.pubsub.service import PubSub
    from infra.local.pubsub.subscription import Delivery, Subscription

MESSAGES_PER_REPLY = 1_000


class Stream:
    """One client's stream: messages go out while fewer are out than it allows."""

    def __init__(self, pubsub: PubSub, requests: AsyncIterator[Message]) -> None:
        """Serve the stream that begins with the first of ``requests``."""
        self._pubsub = pubsub
        self._requests = requests
        self._out: dict[str, Delivery] = {}
        self._ended = False

    async def replies(self) -> AsyncIterator[Message]:
        """Deliver until the client ends the stream or the subscription is deleted.

        Raises:
            CallRefused: If a request is refused.
        """
        first = await anext(aiter(self._requests))
        subscription = self._pubsub.find_pulled(first.subscription)
        deadline = first.stream_ack_deadline_seconds
        limits.check_stream_deadline("stream_ack_deadline_seconds", deadline)
        with listening(subscription) as ready:
            reading = asyncio.create_task(self._read(subscription, ready))
            try:
                while not self._ended:
                    if deliveries := self._take(first):
                        ids = [delivery.ack_id for delivery in deliveries]
                        subscription.extend(ids, deadline)
                        yield protos.StreamingPullResponse(
                            received_messages=received(deliveries)
                        )
                        continue
                    await ready.wait()
                    ready.clear()
                await reading
            finally:
                reading.cancel()

    def _take(self, first: Message) -> list[Delivery]:
        """What the client has room for; 0 means that it sets no limit."""
        subscription = self._pubsub.find_pulled(first.subscription)
        self._out = {
            ack_id: delivery
            for ack_id, delivery in self._out.items()
            if subscription.is_out(ack_id)
        }
        most = first.max_outstanding_messages or MESSAGES_PER_REPLY + len(self._out)
        max_bytes = first.max_outstanding_bytes or REPLY_BYTES
        size = sum(delivery.message.ByteSize() for delivery in self._out.values())
        if self._out and size >= max_bytes:
            return []
        room = min(most - len(self._out), MESSAGES_PER_REPLY)
        taken = subscription.take(room, min(max_bytes - size, REPLY_BYTES))
        self._out |= {delivery.ack_id: delivery for delivery in taken}
        return taken

    async def _read(self, subscription: Subscription, ready: asyncio.Event) -> None:
        """Do what the client says; acknowledging makes room for more."""
        try:
            async for request in self._requests:
                subscription.acknowledge(request.ack_ids)
                seconds = request.modify_deadline_seconds
                ids = request.modify_deadline_ack_ids
                if len(seconds) != len(ids):
                    problem = f"must be as many as modify_deadline_ack_ids: {len(ids)}"
                    raise InvalidArgument("modify_deadline_seconds", problem)
                for ack_id, value in zip(ids, seconds, strict=True):
                    subscription.extend([ack_id], value)
                ready.set()
        finally:
            self._ended = True
            ready.set()
