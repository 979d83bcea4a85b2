"""One subscription: what waits, what is out for delivery, what comes back."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from infra.local.pubsub.protos import seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from infra.local.pubsub.protos import Message

# The clients take 4 MiB at a time from anything but the service. One message is
# delivered however large it is.
REPLY_BYTES = 3_500_000
# The service's own back-off for pushes; it exists where there is no retry policy.
PUSH_BACKOFF_SECONDS = (0.1, 60.0)
MAX_DOUBLINGS = 20


@dataclass(slots=True)
class Entry:
    """A message that this subscription has not done with."""

    number: int
    message: Message
    attempts: int = 0
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that is out until it is acknowledged or its deadline passes."""

    ack_id: str
    message: Message
    attempt: int


@dataclass(slots=True)
class _Lease:
    entry: Entry
    ends_at: float


class Subscription:
    """The backlog of a subscription, in memory, without threads or timers.

    ``tick`` makes passed deadlines and back-offs happen. ``listeners`` are called
    whenever a message may have become ready, when messages are acknowledged, and when
    the subscription is changed.
    """

    def __init__(
        self,
        config: Message,
        now: Callable[[], float],
        dead_letter: Callable[[Subscription, Entry], bool],
    ) -> None:
        """Start empty.

        ``now`` is in seconds since 1970. ``dead_letter`` forwards an entry to the
        dead-letter topic and tells whether that topic exists.
        """
        self.config = config
        self.deleted = False
        self.listeners: set[Callable[[], None]] = set()
        self._now = now
        self._dead_letter = dead_letter
        self._numbers = count()
        # In the order of publishing, so the oldest come first.
        self._backlog: dict[int, Entry] = {}
        # (ready at, order of arrival, entry)
        self._waiting: list[tuple[float, int, Entry]] = []
        self._leases: dict[str, _Lease] = {}

    def __len__(self) -> int:
        """How many messages are not acknowledged."""
        return len(self._backlog)

    @property
    def counts_attempts(self) -> bool:
        """Whether receivers are told the attempt: only with a dead-letter policy."""
        return bool(self.config.HasField("dead_letter_policy"))

    def add(self, message: Message) -> None:
        """Take in a published message."""
        entry = Entry(next(self._numbers), message)
        self._backlog[entry.number] = entry
        self._wait(entry, self._now())
        self.notify()

    def take(self, most: int, max_bytes: int = REPLY_BYTES) -> list[Delivery]:
        """Up to ``most`` messages that are ready, each leased from now on."""
        self._drop_old()
        now, size = self._now(), 0
        taken: list[Delivery] = []
        while len(taken) < most and self._waiting and self._waiting[0][0] <= now:
            entry = self._waiting[0][2]
            if not entry.gone:
                size += entry.message.ByteSize()
                if taken and size > max_bytes:
                    break
                taken.append(self._lease(entry, now))
            heapq.heappop(self._waiting)
        return taken

    def acknowledge(self, ack_ids: Iterable[str]) -> None:
        """Be done with messages; an id whose deadline has passed counts for nothing."""
        for ack_id in ack_ids:
            lease = self._leases.pop(ack_id, None)
            if lease:
                self._forget(lease.entry)
        # A receiver that counts what it holds has room again.
        self.notify()

    def extend(self, ack_ids: Iterable[str], deadline_seconds: float) -> None:
        """Set a new deadline, counted from now; 0 gives the messages back."""
        for ack_id in ack_ids:
            if not deadline_seconds:
                self._return(ack_id)
            elif lease := self._leases.get(ack_id):
                lease.ends_at = self._now() + deadline_seconds

    def is_out(self, ack_id: str) -> bool:
        """Whether a delivery can still be acknowledged."""
        return ack_id in self._leases

    def tick(self) -> None:
        """Take back what has passed its deadline, drop what has become too old."""
        now = self._now()
        late = [name for name, lease in self._leases.items() if lease.ends_at <= now]
        for ack_id in late:
            self._return(ack_id)
        self._drop_old()
        if self._waiting and self._waiting[0][0] <= now:
            self.notify()

    def notify(self) -> None:
        """Call the listeners."""
        for listener in tuple(self.listeners):
            listener()

    def _lease(self, entry: Entry, now: float) -> Delivery:
        entry.attempts += 1
        # Message ids never repeat, so neither do these.
        ack_id = f"{self.config.name}:{entry.message.message_id}-{entry.attempts}"
        self._leases[ack_id] = _Lease(entry, now + self.config.ack_deadline_seconds)
        attempt = entry.attempts if self.counts_attempts else 0
        return Delivery(ack_id, entry.message, attempt)

    def _return(self, ack_id: str) -> None:
        lease = self._leases.pop(ack_id, None)
        if lease is None or lease.entry.gone:
            return
        entry = lease.entry
        if self._is_exhausted(entry) and self._dead_letter(self, entry):
            self._forget(entry)
            return
        self._wait(entry, self._now() + self._backoff_seconds(entry.attempts))
        self.notify()

    def _is_exhausted(self, entry: Entry) -> bool:
        limit = self.config.dead_letter_policy.max_delivery_attempts
        return self.counts_attempts and entry.attempts >= limit

    def _backoff_seconds(self, attempts: int) -> float:
        """How long a message waits after so many attempts."""
        if self.config.HasField("retry_policy"):
            policy = self.config.retry_policy
            low, high = seconds(policy.minimum_backoff), seconds(policy.maximum_backoff)
        elif self.config.push_config.push_endpoint:
            low, high = PUSH_BACKOFF_SECONDS
        else:
            return 0.0
        return min(low * 2.0 ** min(attempts - 1, MAX_DOUBLINGS), high)

    def _wait(self, entry: Entry, ready_at: float) -> None:
        heapq.heappush(self._waiting, (ready_at, next(self._numbers), entry))

    def _forget(self, entry: Entry) -> None:
        entry.gone = True
        self._backlog.pop(entry.number, None)

    def _drop_old(self) -> None:
        oldest = self._now() - seconds(self.config.message_retention_duration)
        for entry in list(self._too_old(oldest)):
            self._forget(entry)

    def _too_old(self, oldest: float) -> Iterable[Entry]:
        for entry in self._backlog.values():
            if seconds(entry.message.publish_time) >= oldest:
                return
            yield entry
