"""Google's messages as raw protocol buffers, without their slower wrappers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from google.pubsub_v1 import types

if TYPE_CHECKING:
    # Their classes are made at run time, so there is no static type to name.
    Message: TypeAlias = Any

Empty = empty_pb2.Empty
Topic = types.Topic.pb()
Subscription = types.Subscription.pb()
PubsubMessage = types.PubsubMessage.pb()
ReceivedMessage = types.ReceivedMessage.pb()
PublishResponse = types.PublishResponse.pb()
PullResponse = types.PullResponse.pb()
ListTopicsResponse = types.ListTopicsResponse.pb()
ListTopicSubscriptionsResponse = types.ListTopicSubscriptionsResponse.pb()
ListSubscriptionsResponse = types.ListSubscriptionsResponse.pb()
StreamingPullRequest = types.StreamingPullRequest.pb()
StreamingPullResponse = types.StreamingPullResponse.pb()


def request_class(name: str) -> Message:
    """The class of a request, such as ``PublishRequest``."""
    return getattr(types, name).pb()


def seconds(duration: Message) -> float:
    """A protobuf duration in seconds."""
    return float(duration.seconds + duration.nanos / 1e9)
