"""Deliver a message as Pub/Sub does, past the emulator."""

from __future__ import annotations

import base64

import requests

from infra.local.stack import PROJECT
from shared.candles import Timeframe
from shared.lanes import Lane, call_of, collect_topic
from shared.messages import CollectRequest

SECONDS = 90


def push(stack, function, topic, data, message_id):
    """Push to a running function; return the status of its answer."""
    return requests.post(
        f"http://127.0.0.1:{stack.ports[function]}/projects/{PROJECT}/topics/{topic}",
        json=body(data, message_id, topic),
        timeout=SECONDS,
    ).status_code


def push_request(stack, data, message_id):
    """Push a collect request to the collector of its lane."""
    request = CollectRequest.from_bytes(data)
    topic = collect_topic(request.lane, request.timeframe)
    function = collector_of(request.timeframe, request.lane)
    return push(stack, function, topic, data, message_id)


def collector_of(timeframe, lane=Lane.HISTORY):
    """The function that collects a timeframe in a lane."""
    return f"collector_{lane}_{call_of(Timeframe(timeframe))}"


def body(data, message_id, topic="triggers"):
    """What a push has as its body."""
    return {
        "message": {
            "data": base64.b64encode(data).decode(),
            "attributes": {},
            "messageId": message_id,
            "publishTime": "2026-11-20T01:30:00Z",
        },
        "subscription": f"projects/{PROJECT}/subscriptions/{topic}",
    }
