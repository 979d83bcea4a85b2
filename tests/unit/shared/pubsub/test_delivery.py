from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import flask
import functions_framework
import pytest
from cloudevents.http import CloudEvent
from functions_framework import event_conversion

from shared import tracing
from shared.errors import ConfigError
from shared.pubsub.delivery import Delivery, push_endpoint

PUBLISHED = "2026-11-20T01:30:00.123456789Z"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PATH = "/projects/p/topics/triggers"
EVENT = {
    "specversion": "1.0",
    "id": "42",
    "type": "google.cloud.pubsub.topic.v1.messagePublished",
    "source": "//pubsub.googleapis.com/projects/p/topics/triggers",
    "time": PUBLISHED,
}


def a_delivery(**message):
    attributes = {name: text for name, text in EVENT.items() if name != "specversion"}
    return Delivery.of(CloudEvent(attributes, {"message": message}))


def test_a_push_is_read():
    data = base64.b64encode(b'{"timeframe":"5m"}').decode()

    delivery = a_delivery(data=data, attributes={"schema": "x"})

    assert delivery == Delivery(
        message_id="42",
        data=b'{"timeframe":"5m"}',
        attributes={"schema": "x"},
        published_at=datetime(2026, 11, 20, 1, 30, 0, 123456, UTC),
        topic="triggers",
    )


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-20T01:30:00Z",
        "2026-11-20T01:30:00.0Z",
        "2026-11-20T01:30:00.000000000Z",
        "2026-11-20T01:30:00+00:00",
        "2026-11-20T10:30:00.000+09:00",
    ],
)
def test_the_time_of_a_push_comes_in_many_forms(text):
    delivery = a_delivery(publishTime=text)

    assert delivery.published_at == datetime(2026, 11, 20, 1, 30, tzinfo=UTC)


@pytest.fixture
def endpoint():
    """An entry point as the framework serves it, and what was delivered to it."""
    app, delivered = flask.Flask("functions"), []
    with app.app_context():

        @push_endpoint
        def entry_point(event):
            delivered.append(Delivery.of(event))

    functions_framework._configure_app(app, entry_point, "cloudevent")
    return app.test_client(), delivered


ATTRIBUTES_ONLY = {"attributes": {"origin": "me"}, "messageId": "42"} | {
    "publishTime": PUBLISHED
}
RAW = {"message": ATTRIBUTES_ONLY, "subscription": "projects/p/subscriptions/s"}
BINARY_HEADERS = {f"ce-{name}": text for name, text in EVENT.items()}
LEGACY = {
    "context": {
        "eventId": "42",
        "timestamp": PUBLISHED,
        "eventType": "google.pubsub.topic.publish",
        "resource": {
            "service": "pubsub.googleapis.com",
            "name": "projects/p/topics/triggers",
            "type": "type.googleapis.com/google.pubsub.v1.PubsubMessage",
        },
    },
    "data": {"attributes": {"origin": "me"}},
}
FORMS = {
    "raw push": (RAW, {}, "application/json"),
    "raw push with empty data": (
        RAW | {"message": ATTRIBUTES_ONLY | {"data": ""}},
        {},
        "application/json",
    ),
    "binary event": (RAW, BINARY_HEADERS, "application/json"),
    "structured event": (
        EVENT | {"datacontenttype": "application/json", "data": RAW},
        {},
        "application/cloudevents+json",
    ),
    "background event": (LEGACY, {}, "application/json"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_message_of_attributes_only_is_delivered_in_every_form_of_push(
    endpoint, form
):
    client, delivered = endpoint
    push, headers, content_type = FORMS[form]

    answer = client.post(
        PATH, data=json.dumps(push), headers=headers, content_type=content_type
    )

    assert answer.status_code == 200
    (delivery,) = delivered
    assert delivery.data == b""
    assert delivery.attributes == {"origin": "me"}
    assert (delivery.message_id, delivery.topic) == ("42", "triggers")


@pytest.mark.parametrize("body", [b"", b"[]", b"3", b'{"message":[]}', b"{"])
def test_what_is_no_push_is_not_delivered(endpoint, body):
    client, delivered = endpoint

    answer = client.post(PATH, data=body, content_type="application/json")

    assert answer.status_code >= 400
    assert delivered == []


def test_without_help_the_framework_refuses_a_push_without_a_body():
    """The reason for the hook: when this fails, it can go."""
    app = flask.Flask("functions")

    with (
        app.test_request_context(PATH, method="POST", json=RAW),
        pytest.raises(event_conversion.EventConversionException),
    ):
        event_conversion.background_event_to_cloud_event(flask.request)


def test_an_instance_that_lacks_variables_says_so_and_the_message_waits(caplog):
    app = flask.Flask("functions")
    with app.app_context():

        @push_endpoint
        def entry_point(event):
            raise ConfigError("DATABASE_URL is missing")

    functions_framework._configure_app(app, entry_point, "cloudevent")

    answer = app.test_client().post(PATH, json=RAW)

    assert answer.status_code == 503
    (line,) = [record.json_fields for record in caplog.records]
    assert (line["event"], line["error_code"]) == ("misconfigured", "config")
    assert line["reason"] == "DATABASE_URL is missing"


@pytest.mark.parametrize(
    ("headers", "attributes"),
    [
        ({"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}, {}),
        ({"X-Cloud-Trace-Context": f"{TRACE}/105445;o=1"}, {}),
        ({"traceparent": f"00-{'a' * 32}-00f067aa0ba902b7-01"}, {"trace": TRACE}),
        ({"X-Cloud-Trace-Context": TRACE, "traceparent": "no trace"}, {"trace": "x"}),
    ],
    ids=["W3C header", "Google's header", "the message first", "only a valid one"],
)
def test_the_trace_and_the_attempt_of_a_push_are_known_while_it_is_handled(
    headers, attributes
):
    app, known = flask.Flask("functions"), []
    with app.app_context():

        @push_endpoint
        def entry_point(event):
            known.append(tracing.current())

    functions_framework._configure_app(app, entry_point, "cloudevent")
    push = RAW | {
        "message": ATTRIBUTES_ONLY | {"attributes": attributes},
        "deliveryAttempt": 4,
    }

    answer = app.test_client().post(PATH, json=push, headers=headers)

    assert answer.status_code == 200
    assert [(one.trace_id, one.attempt) for one in known] == [(TRACE, 4)]
    assert tracing.current() is None
