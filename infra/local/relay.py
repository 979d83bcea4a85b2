"""Cloud push on one machine: the emulator alone pushes two messages at a time."""

from __future__ import annotations

import base64
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import requests
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber.scheduler import ThreadScheduler
from google.cloud.pubsub_v1.types import FlowControl

if TYPE_CHECKING:
    from google.cloud.pubsub_v1.subscriber.futures import StreamingPullFuture
    from google.cloud.pubsub_v1.subscriber.message import Message

# What Pub/Sub takes as an acknowledgement.
ACKNOWLEDGED = {102, 200, 201, 202, 204}
CONNECT_SECONDS = 5

log = logging.getLogger(__name__)


class Relay:
    """Pulls from a subscription and posts each message as Pub/Sub would push it."""

    def __init__(
        self,
        project: str,
        subscription: str,
        endpoint: str,
        *,
        at_once: int,
        seconds: int,
    ) -> None:
        """Post to ``endpoint``, so many messages ``at_once``, each for ``seconds``."""
        self._path = f"projects/{project}/subscriptions/{subscription}"
        self._endpoint = endpoint
        self._at_once = at_once
        self._seconds = seconds
        self._http = requests.Session()
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=at_once)
        self._http.mount("http://", adapter)
        self._subscriber = pubsub_v1.SubscriberClient()
        self._pull: StreamingPullFuture | None = None
        self._pool: ThreadPoolExecutor | None = None

    def start(self) -> None:
        """Deliver from now on."""
        self._pool = ThreadPoolExecutor(self._at_once, thread_name_prefix="relay")
        self._pull = self._subscriber.subscribe(
            self._path,
            callback=self._deliver,
            flow_control=FlowControl(max_messages=self._at_once),
            scheduler=ThreadScheduler(self._pool),
            await_callbacks_on_shutdown=False,
        )

    def stop(self) -> None:
        """Deliver no more; what was not acknowledged will be delivered again."""
        if self._pull is not None:
            self._pull.cancel()
            self._pull.result()
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
        try:
            reply = self._http.post(
                self._endpoint, json=push, timeout=(CONNECT_SECONDS, self._seconds)
            )
        except requests.RequestException as error:
            log.warning("%s does not answer: %s", self._endpoint, type(error).__name__)
            message.nack()
            return
        if reply.status_code in ACKNOWLEDGED:
            message.ack()
        else:
            message.nack()
