"""Push delivery: each message is posted to the subscription's endpoint."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import aiohttp

from infra.local.pubsub.calls import listening
from infra.local.pubsub.push_request import ACKNOWLEDGED, WINDOW_LABEL, push_body

if TYPE_CHECKING:
    from infra.local.pubsub.subscription import Delivery, Subscription

# How many messages of a subscription without the label are posted at a time.
WINDOW = 1_000
# Below the two seconds after which gunicorn closes an idle connection.
KEEP_ALIVE_SECONDS = 1.0
HEADERS = {"content-type": "application/json", "user-agent": "CloudPubSub-Google"}

log = logging.getLogger(__name__)


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
                    while deliveries := self._subscription.take(self._room()):
                        for delivery in deliveries:
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
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS)
        self._http = aiohttp.ClientSession(connector=connector)
        # The endpoint of each subscription's pump, and the pump.
        self._running: dict[str, tuple[str, asyncio.Task[None]]] = {}

    def follow(self, subscription: Subscription) -> None:
        """Start, stop or redirect the pump of a subscription that has changed."""
        config = subscription.config
        endpoint = "" if subscription.deleted else config.push_config.push_endpoint
        before, running = self._running.get(config.name, ("", None))
        if endpoint == before:
            return
        if running:
            running.cancel()
            del self._running[config.name]
        if endpoint:
            pump = asyncio.create_task(Pump(subscription, self._http).run())
            self._running[config.name] = endpoint, pump

    async def close(self) -> None:
        """Stop them all."""
        for _, running in self._running.values():
            running.cancel()
        await self._http.close()
