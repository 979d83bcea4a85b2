"""What the service refuses and Google's emulator lets through.

Source: https://cloud.google.com/pubsub/quotas#resource_limits and the reference of the
API, read in November 2026. Each check raises ``InvalidArgument`` with the field's name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from infra.local.pubsub.errors import InvalidArgument, Unimplemented
from infra.local.pubsub.protos import seconds

if TYPE_CHECKING:
    from infra.local.pubsub.protos import Message

REQUEST_BYTES = 10_000_000
MESSAGES_PER_REQUEST = 1_000
ATTRIBUTES = 100
KEY_BYTES = 256
VALUE_BYTES = 1_024
ACKNOWLEDGE_BYTES = 524_288
ACK_DEADLINE_SECONDS = (10, 600)
DELIVERY_ATTEMPTS = (5, 100)
BACKOFF_SECONDS = (0, 600)
RETENTION_SECONDS = (600, 31 * 86_400)
EXPIRATION_SECONDS = 86_400

NAME = re.compile(
    r"projects/[^/]+/(topics|subscriptions)/([A-Za-z][\w.~+%-]{2,254})", re.ASCII
)
# The clients' own attributes are let through; all others with this prefix are not.
RESERVED, CLIENTS_OWN = "goog", "googclient_"
# What a subscription may ask for and would silently not get.
MISSING_FEATURES = (
    "filter",
    "enable_message_ordering",
    "enable_exactly_once_delivery",
    "retain_acked_messages",
    "message_transforms",
)
MISSING_TARGETS = ("bigquery_config", "cloud_storage_config", "bigtable_config")


def check_name(field: str, name: str, kind: str) -> None:
    """Check the full name of a topic or subscription; ``kind`` is its plural."""
    match = NAME.fullmatch(name)
    if not match or match[1] != kind or match[2].startswith(RESERVED):
        problem = (
            f"must be projects/PROJECT/{kind}/NAME, with a NAME of 3 to 255 letters, "
            f"digits and -._~+% that starts with a letter and not with goog: {name!r}"
        )
        raise InvalidArgument(field, problem)


def check_publish(request: Message) -> None:
    """Check a publish request and each of its messages."""
    count = len(request.messages)
    if not 1 <= count <= MESSAGES_PER_REQUEST:
        problem = f"must be 1 to {MESSAGES_PER_REQUEST:,} messages, not {count:,}"
        raise InvalidArgument("messages", problem)
    _check_size("request", request, REQUEST_BYTES)
    for number, message in enumerate(request.messages):
        _check_message(f"messages[{number}]", message)


def check_acknowledgement(request: Message) -> None:
    """Check a request that names messages by their ``ack_ids``."""
    if not request.ack_ids:
        raise InvalidArgument("ack_ids", "must not be empty")
    _check_size("request", request, ACKNOWLEDGE_BYTES)


def check_new_deadline(field: str, value: int) -> None:
    """Check an ack deadline for messages that are out; 0 gives them back."""
    _check_range(field, value, (0, ACK_DEADLINE_SECONDS[1]))


def check_stream_deadline(field: str, value: int) -> None:
    """Check the ack deadline of a stream."""
    _check_range(field, value, ACK_DEADLINE_SECONDS)


def check_subscription(config: Message) -> None:
    """Check a subscription whose defaults are filled in."""
    check_name("name", config.name, "subscriptions")
    _check_range(
        "ack_deadline_seconds", config.ack_deadline_seconds, ACK_DEADLINE_SECONDS
    )
    _check_range(
        "message_retention_duration",
        seconds(config.message_retention_duration),
        RETENTION_SECONDS,
    )
    _check_expiration(config)
    _check_push(config.push_config)
    if config.HasField("retry_policy"):
        _check_retries(config.retry_policy)
    if config.HasField("dead_letter_policy"):
        _check_dead_letters(config.dead_letter_policy)
    missing = [name for name in MISSING_FEATURES if getattr(config, name)]
    missing += [name for name in MISSING_TARGETS if config.HasField(name)]
    if missing:
        raise Unimplemented(f"the field {missing[0]} of a subscription")


def _check_message(field: str, message: Message) -> None:
    if not message.data and not message.attributes:
        raise InvalidArgument(field, "must have data or at least one attribute")
    if len(message.attributes) > ATTRIBUTES:
        count = len(message.attributes)
        problem = f"must be at most {ATTRIBUTES} attributes, not {count}"
        raise InvalidArgument(f"{field}.attributes", problem)
    for key, value in message.attributes.items():
        _check_attribute(f"{field}.attributes[{key[:KEY_BYTES]!r}]", key, value)


def _check_attribute(field: str, key: str, value: str) -> None:
    if not 1 <= len(key.encode()) <= KEY_BYTES:
        raise InvalidArgument(field, f"a key must have 1 to {KEY_BYTES} bytes")
    if key.startswith(RESERVED) and not key.startswith(CLIENTS_OWN):
        raise InvalidArgument(field, f"a key must not start with {RESERVED!r}")
    if (size := len(value.encode())) > VALUE_BYTES:
        problem = f"a value must have at most {VALUE_BYTES:,} bytes, not {size:,}"
        raise InvalidArgument(field, problem)


def _check_size(field: str, request: Message, limit: int) -> None:
    if (size := request.ByteSize()) > limit:
        raise InvalidArgument(field, f"{size:,} bytes exceed the limit of {limit:,}")


def _check_push(push: Message) -> None:
    endpoint = push.push_endpoint
    if endpoint and not re.match(r"https?://[^/\s]+", endpoint):
        problem = f"must be an http or https URL: {endpoint!r}"
        raise InvalidArgument("push_config.push_endpoint", problem)
    if push.HasField("no_wrapper"):
        raise Unimplemented("the field push_config.no_wrapper of a subscription")


def _check_retries(policy: Message) -> None:
    low, high = seconds(policy.minimum_backoff), seconds(policy.maximum_backoff)
    _check_range("retry_policy.minimum_backoff", low, BACKOFF_SECONDS)
    _check_range("retry_policy.maximum_backoff", high, BACKOFF_SECONDS)
    if low > high:
        problem = f"must not exceed maximum_backoff: {low:g} s > {high:g} s"
        raise InvalidArgument("retry_policy.minimum_backoff", problem)


def _check_dead_letters(policy: Message) -> None:
    field = "dead_letter_policy"
    check_name(f"{field}.dead_letter_topic", policy.dead_letter_topic, "topics")
    attempts = policy.max_delivery_attempts
    _check_range(f"{field}.max_delivery_attempts", attempts, DELIVERY_ATTEMPTS)


def _check_expiration(config: Message) -> None:
    if not config.expiration_policy.HasField("ttl"):
        return
    field = "expiration_policy.ttl"
    if seconds(config.expiration_policy.ttl) < EXPIRATION_SECONDS:
        raise InvalidArgument(field, f"must be at least {EXPIRATION_SECONDS:,} s")


def _check_range(field: str, value: float, limits: tuple[int, int]) -> None:
    low, high = limits
    if not low <= value <= high:
        raise InvalidArgument(field, f"must be {low:,} to {high:,}, not {value:g}")
