"""Deliver a message as Pub/Sub does, past the emulator."""

from __future__ import annotations

import base64

import requests

from infra.local.stack import PROJECT

SECONDS = 90


def push(stack, function, topic, data, message_id):
    """Push to a running function; return the status of its answer."""
    return requests.post(
        f"http://127.0.0.1:{stack.ports[function]}/projects/{PROJECT}/topics/{topic}",
        json=body(data, message_id, topic),
        timeout=SECONDS,
    ).status_code


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
