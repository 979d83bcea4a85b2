"""Push delivery: each message is posted to the subscription's endpoint."""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import TYPE_CHECKING

import aiohttp

from infra.local.pubsub.calls import listening

if TYPE_CHECKING:
    from infra.local.pubsub.protos import Message
    from infra.local.pubsub.subscription import Delivery, Subscription

# What Pub/Sub takes as an acknowledgement.
ACKNOWLEDGED = frozenset({102, 200, 201, 202, 204})
# How many messages of a subscription are posted at a time; the service goes as far.
WINDOW = 1_000
# A label of the subscription that sets another window: what a real subscription
# learns from its endpoint's answers, one on a developer's machine is told.
WINDOW_LABEL = "push-window"
# Below the two seconds after which gunicorn closes an idle connection.
KEEP_ALIVE_SECONDS = 1.0
HEADERS = {"content-type": "application/json", "user-agent": "CloudPubSub-Google"}

log = logging.getLogger(__name__)


def push_body(subscription: str, message: Message, attempt: int) -> dict[str, object]:
    """What is posted; ``attempt`` is 0 where the service would not tell it.

    Like the service it leaves out what is empty, and names two fields twice.
    """
    published_at = message.publish_time.ToJsonString()
    content: dict[str, object] = {
        "messageId": message.message_id,
        "message_id": message.message_id,
        "publishTime": published_at,
        "publish_time": published_at,
    }
    if message.data:
        content["data"] = base64.b64encode(message.data).decode()
    if message.attributes:
        content["attributes"] = dict(message.attributes)
    if message.ordering_key:
        content["orderingKey"] = message.ordering_key
    told = {"deliveryAttempt": attempt} if attempt else {}
    return {"message": content, "subscription": subscription, **told}


class Pump:
    """Posts the messages of one subscription, at most a window of them at a time."""

    def __init__(self, subscription: Subscription, http: aiohttp.ClientSession) -> None:
        """Nothing is posted before ``run``."""
        self._subscription = subscription
        self._http = http
        self._endpoint = subscription.config.push_config.push_endpoint
        self._posts: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Post until cancelled.

        What is being posted then is delivered again when its deadline has passed.
        """
        with listening(self._subscription) as ready:
            try:
                while True:
                    for delivery in self._subscription.take(self._room()):
                        self._post_soon(delivery, ready)
                    await ready.wait()
                    ready.clear()
            finally:
                for post in self._posts:
                    post.cancel()

    def _room(self) -> int:
        """How many more may be posted now.

        The one place for a window that shrinks and grows with the answers.
        """
        label = self._subscription.config.labels.get(WINDOW_LABEL, "")
        window = int(label) if label.isdecimal() else WINDOW
        return max(window - len(self._posts), 0)

    def _post_soon(self, delivery: Delivery, ready: asyncio.Event) -> None:
        def done(post: asyncio.Task[None]) -> None:
            self._posts.discard(post)
            ready.set()

        post = asyncio.create_task(self._post(delivery))
        self._posts.add(post)
        post.add_done_callback(done)

    async def _post(self, delivery: Delivery) -> None:
        config = self._subscription.config
        body = push_body(config.name, delivery.message, delivery.attempt)
        # The ack deadline is the time that an endpoint has to answer.
        deadline = aiohttp.ClientTimeout(total=config.ack_deadline_seconds)
        status = None
        try:
            async with self._http.post(
                self._endpoint,
                json=body,
                headers=HEADERS,
                timeout=deadline,
                allow_redirects=False,
            ) as reply:
                status = reply.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("%s does not answer: %s", self._endpoint, type(error).__name__)
        if status in ACKNOWLEDGED:
            self._subscription.acknowledge([delivery.ack_id])
        else:
            self._subscription.extend([delivery.ack_id], 0)


class Pumps:
    """A pump for every subscription with an endpoint."""

    def __init__(self) -> None:
        """Nothing is pumped yet; needs a running event loop."""
        connector = aiohttp.TCPConnector(
            limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS, force_close=False
        )
        self._http = aiohttp.ClientSession(connector=connector)
        self._running: dict[str, asyncio.Task[None]] = {}

    def follow(self, subscription: Subscription) -> None:
        """Start, restart or stop the pump of a subscription that has changed."""
        name = subscription.config.name
        if running := self._running.pop(name, None):
            running.cancel()
        if subscription.config.push_config.push_endpoint and not subscription.deleted:
            pump = Pump(subscription, self._http)
            self._running[name] = asyncio.create_task(pump.run())

    async def close(self) -> None:
        """Stop them all."""
        for running in self._running.values():
            running.cancel()
        await self._http.close()
