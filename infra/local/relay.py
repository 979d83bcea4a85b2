"""Push for Google's emulator, which by itself pushes two messages at a time."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Semaphore, Thread
from typing import TYPE_CHECKING, Any

import requests
from google.api_core.exceptions import GoogleAPIError
from google.cloud import pubsub_v1
from google.pubsub_v1.types import PullRequest, PullResponse
from grpc import RpcError

from infra.local.pubsub.push_request import ACKNOWLEDGED, push_body

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.topology import PushSubscription

CONNECT_SECONDS = 5
IDLE_SECONDS = 0.03
RPC_SECONDS = 10

log = logging.getLogger(__name__)


class Relay:
    """Pulls from a subscription and posts each message as Pub/Sub would push it.

    The embedded Pub/Sub pushes by itself; see docs/decisions/0009.

    Every pull is answered at once: the emulator goes on to give messages to a pull or
    a stream that waits although its client is gone, and keeps them until their ack
    deadline has passed.
    """

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
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="relay")
        self._free = Semaphore(at_once)
        self._stopped = Event()
        self._thread = Thread(target=self._work, daemon=True)

    def start(self) -> None:
        """Deliver from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Deliver no more.

        What is being posted at the moment will be delivered again, when its ack
        deadline has passed.
        """
        self._stopped.set()
        self._thread.join()
        self._pool.shutdown(wait=False)
        self._subscriber.close()
        self._http.close()

    def _work(self) -> None:
        while not self._stopped.is_set():
            if not self._free.acquire(timeout=IDLE_SECONDS):
                continue
            slots = 1
            while slots < self._at_once and self._free.acquire(blocking=False):
                slots += 1
            found = self._pull(slots)
            for received in found:
                self._pool.submit(self._deliver, received)
            for _ in range(slots - len(found)):
                self._free.release()
            if not found:
                self._stopped.wait(IDLE_SECONDS)

    def _pull(self, count: int) -> Sequence[Any]:
        request = PullRequest(
            subscription=self._path, max_messages=count, return_immediately=True
        )
        try:
            # The client's own pull warns of what is right here; see the class.
            reply = self._subscriber.transport.pull(request, timeout=RPC_SECONDS)
        except RpcError as error:
            log.warning("no pull from %s: %s", self._path, type(error).__name__)
            return ()
        return list(PullResponse.pb(reply).received_messages)

    def _deliver(self, received: Any) -> None:  # noqa: ANN401 - Google's type is dynamic
        try:
            done = self._post(received)
            # A message that failed is its subscription's until its back-off is over.
            seconds = 0 if done else self._backoff_seconds(received.delivery_attempt)
            self._settle(received.ack_id, done=done, seconds=seconds)
        finally:
            self._free.release()

    def _post(self, received: Any) -> bool:  # noqa: ANN401 - see above
        body = push_body(self._path, received.message, received.delivery_attempt)
        seconds = self._subscription.ack_deadline_seconds
        try:
            reply = self._http.post(
                self._endpoint, json=body, timeout=(CONNECT_SECONDS, seconds)
            )
        except requests.RequestException as error:
            log.warning("%s does not answer: %s", self._endpoint, type(error).__name__)
            return False
        return reply.status_code in ACKNOWLEDGED

    def _settle(self, ack_id: str, *, done: bool, seconds: int) -> None:
        if self._stopped.is_set():
            return
        try:
            if done:
                self._subscriber.acknowledge(subscription=self._path, ack_ids=[ack_id])
                return
            self._subscriber.modify_ack_deadline(
                subscription=self._path, ack_ids=[ack_id], ack_deadline_seconds=seconds
            )
        except (GoogleAPIError, ValueError) as error:
            # It comes again when its ack deadline has passed.
            log.warning("not settled: %s", type(error).__name__)

    def _backoff_seconds(self, attempt: int) -> int:
        """How long Pub/Sub would wait after so many attempts."""
        doubled = self._subscription.minimum_backoff_seconds * 2 ** min(attempt - 1, 10)
        return min(int(doubled), self._subscription.maximum_backoff_seconds)
