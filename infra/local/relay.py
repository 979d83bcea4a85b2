"""Cloud push on one machine: the emulator alone pushes two messages at a time."""

from __future__ import annotations

import base64
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Timer
from typing import TYPE_CHECKING

import requests
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber.scheduler import ThreadScheduler
from google.cloud.pubsub_v1.types import FlowControl

if TYPE_CHECKING:
    from google.cloud.pubsub_v1.subscriber.futures import StreamingPullFuture
    from google.cloud.pubsub_v1.subscriber.message import Message

    from infra.topology import PushSubscription

# What Pub/Sub takes as an acknowledgement.
ACKNOWLEDGED = {102, 200, 201, 202, 204}
CONNECT_SECONDS = 5
MESSAGES_HELD = 1000

log = logging.getLogger(__name__)


class Relay:
    """Pulls from a subscription and posts each message as Pub/Sub would push it."""

    def __init__(
        self,
        project: str,
        subscription: PushSubscription,
        endpoint: str,
        *,
        at_once: int,
    ) -> None:
        """Post to ``endpoint``, so many messages ``at_once``."""
        self._path = f"projects/{project}/subscriptions/{subscription.name}"
        self._subscription = subscription
        self._endpoint = endpoint
        self._at_once = at_once
        self._http = requests.Session()
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=at_once)
        self._http.mount("http://", adapter)
        self._subscriber = pubsub_v1.SubscriberClient()
        self._pull: StreamingPullFuture | None = None
        self._refusals: Counter[str] = Counter()
        self._waiting: set[Timer] = set()

    def start(self) -> None:
        """Deliver from now on."""
        pool = ThreadPoolExecutor(self._at_once, thread_name_prefix="relay")
        self._pull = self._subscriber.subscribe(
            self._path,
            callback=self._deliver,
            # More than are posted at once: some only wait for their next try.
            flow_control=FlowControl(max_messages=MESSAGES_HELD),
            scheduler=ThreadScheduler(pool),
            await_callbacks_on_shutdown=False,
        )

    def stop(self) -> None:
        """Deliver no more; what was not acknowledged will be delivered again."""
        if self._pull is not None:
            self._pull.cancel()
            self._pull.result()
        for timer in self._waiting:
            timer.cancel()
        self._subscriber.close()
        self._http.close()

    def _deliver(self, message: Message) -> None:
        push = {
            "message": {
                "data": base64.b64encode(message.data).decode(),
                "attributes": dict(message.attributes),
                "messageId": message.message_id,
                "publishTime": message.publish_time.isoformat(),
                "orderingKey": message.ordering_key,
            },
            "subscription": self._path,
            "deliveryAttempt": message.delivery_attempt,
        }
        seconds = self._subscription.ack_deadline_seconds
        try:
            reply = self._http.post(
                self._endpoint, json=push, timeout=(CONNECT_SECONDS, seconds)
            )
        except requests.RequestException as error:
            log.warning("%s does not answer: %s", self._endpoint, type(error).__name__)
            self._try_later(message)
            return
        if reply.status_code in ACKNOWLEDGED:
            message.ack()
        else:
            self._try_later(message)

    def _try_later(self, message: Message) -> None:
        """Give it back after the back-off, which the emulator keeps for pushes only."""
        self._refusals[message.message_id] += 1
        doubled = 2 ** (self._refusals[message.message_id] - 1)
        seconds = min(
            self._subscription.minimum_backoff_seconds * doubled,
            self._subscription.maximum_backoff_seconds,
        )
        timer = Timer(seconds, message.nack)
        timer.daemon = True
        self._waiting.add(timer)
        timer.start()
