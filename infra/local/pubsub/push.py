"""Push delivery: each message is posted to the subscription's endpoint."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import aiohttp

from infra.local.pubsub.calls import listening
from infra.local.pubsub.push_request import (
    ACKNOWLEDGED,
    CLOUD,
    PLACES_LABEL,
    PUSH_LABEL,
    push_body,
)
from infra.local.pubsub.push_window import ServiceWindow, SteadyWindow

if TYPE_CHECKING:
    from infra.local.pubsub.push_window import PushWindow
    from infra.local.pubsub.subscription import Delivery, Subscription

# How many messages the endpoint of a subscription without the label serves at a time.
PLACES = 1_000
# So long a request waits at Cloud Run for a place, before it is answered with 429.
PLACE_SECONDS = 10.0
TOO_MANY_REQUESTS = 429
# Below the two seconds after which gunicorn closes an idle connection.
KEEP_ALIVE_SECONDS = 1.0
HEADERS = {"content-type": "application/json", "user-agent": "CloudPubSub-Google"}

log = logging.getLogger(__name__)


class Pump:
    """Posts the messages of one subscription, at most a window of them at a time.

    Labels of the subscription say how; they are read when it starts.
    """

    def __init__(self, subscription: Subscription, http: aiohttp.ClientSession) -> None:
        """Nothing is posted before ``run``."""
        self._subscription = subscription
        self._http = http
        self._endpoint = subscription.config.push_config.push_endpoint
        self._posts: set[asyncio.Task[None]] = set()
        labels = subscription.config.labels
        label = labels.get(PLACES_LABEL, "")
        places = int(label) if label.isdecimal() else PLACES
        self._places = asyncio.Semaphore(places)
        self._window: PushWindow = SteadyWindow(places)
        if labels.get(PUSH_LABEL) == CLOUD:
            self._window = ServiceWindow(time.monotonic)

    async def run(self) -> None:
        """Post until cancelled.

        What is being posted then is delivered again when its deadline has passed.
        """
        with listening(self._subscription) as ready:
            try:
                while True:
                    while deliveries := self._subscription.take(
                        self._window.room(len(self._posts))
                    ):
                        for delivery in deliveries:
                            self._post_soon(delivery, ready)
                    await ready.wait()
                    ready.clear()
            finally:
                for post in self._posts:
                    post.cancel()

    def _post_soon(self, delivery: Delivery, ready: asyncio.Event) -> None:
        def done(post: asyncio.Task[None]) -> None:
            self._posts.discard(post)
            ready.set()

        post = asyncio.create_task(self._post(delivery))
        self._posts.add(post)
        post.add_done_callback(done)

    async def _post(self, delivery: Delivery) -> None:
        status = await self._status(delivery)
        self._window.answered(acknowledged=status in ACKNOWLEDGED)
        if status in ACKNOWLEDGED:
            self._subscription.acknowledge([delivery.ack_id])
        else:
            self._subscription.extend([delivery.ack_id], 0)

    async def _status(self, delivery: Delivery) -> int | None:
        """The answer to a message: Cloud Run's own where no place becomes free."""
        try:
            async with asyncio.timeout(PLACE_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            return TOO_MANY_REQUESTS
        try:
            return await self._answer(delivery)
        finally:
            self._places.release()

    async def _answer(self, delivery: Delivery) -> int | None:
        """What the endpoint answers, None if it does not."""
        config = self._subscription.config
        body = push_body(config.name, delivery.message, delivery.attempt)
        # The ack deadline is the time that an endpoint has to answer.
        deadline = aiohttp.ClientTimeout(total=config.ack_deadline_seconds)
        try:
            async with self._http.post(
                self._endpoint,
                json=body,
                headers=HEADERS,
                timeout=deadline,
                allow_redirects=False,
            ) as reply:
                return int(reply.status)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("%s does not answer: %s", self._endpoint, type(error).__name__)
        return None


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
