from __future__ import annotations

import io
import json
import logging
from datetime import timedelta

import pytest

from shared import tracing
from shared.events import Event
from shared.logging import LINE_BYTES, JsonLines, TextFormatter, log_event
from tests.support.builders import kst


@pytest.fixture
def lines():
    """What is written to stdout."""
    stream = io.StringIO()
    log = logging.getLogger("pipeline")
    handler = JsonLines(stream, "p", {"service": "s"})
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield lambda: stream.getvalue().splitlines()
    log.removeHandler(handler)


def test_an_event_is_one_line_of_json(lines):
    log_event(Event.COLLECTED, severity=logging.ERROR, stock_name="삼성전자", rows=3)

    line = json.loads(lines()[-1])
    assert (line["event"], line["severity"]) == ("collected", "ERROR")
    assert (line["stock_name"], line["rows"]) == ("삼성전자", 3)


def test_a_line_tells_of_the_delivery_that_is_being_handled(lines):
    with tracing.handling("4bf92f3577b34da6a3ce929d0e0e4736", 3):
        log_event(Event.COLLECTED)
    log_event(Event.COLLECTED)

    during, after = map(json.loads, lines())
    assert during["attempt"] == 3
    assert during["duration_ms"] >= 0
    assert during["logging.googleapis.com/trace"] == (
        "projects/p/traces/4bf92f3577b34da6a3ce929d0e0e4736"
    )
    assert "attempt" not in after
    assert after["logging.googleapis.com/trace"] == ""


def test_a_line_names_the_source_of_its_event(lines):
    log_event(Event.COLLECTED)

    (line,) = map(json.loads, lines())
    assert line["logging.googleapis.com/sourceLocation"]["file"] == __file__


@pytest.mark.parametrize("character", ["a", "가", '"', "\\", "\x01", "\n"])
def test_a_line_is_never_longer_than_cloud_logging_accepts(lines, character):
    log_event(Event.DEAD_LETTER, severity=logging.ERROR, reason=character * 200_000)

    written = lines()[-1]
    assert len(written.encode()) <= LINE_BYTES
    line = json.loads(written)
    assert (line["event"], line["severity"]) == ("dead_letter", "ERROR")
    assert line["truncated"]


def test_a_line_can_always_be_encoded(lines):
    log_event(Event.DEAD_LETTER, reason="a\ud800b")

    line = json.loads(lines()[-1].encode())
    assert line["reason"] == "a\N{REPLACEMENT CHARACTER}b"


def a_record(message="", **facts):
    record = logging.LogRecord("pipeline", logging.INFO, "", 0, message, (), None)
    record.created = kst("2026-11-25 10:30").timestamp()
    if facts:
        record.json_fields = facts
    return record


def test_a_line_of_text_has_the_time_in_seoul_the_event_and_its_facts():
    record = a_record(event="collected", stock_code="005930", requests=3, ratio=None)

    assert TextFormatter().format(record) == (
        "2026-11-25 10:30:00.000 INFO    collected stock_code=005930 requests=3"
    )


def test_a_value_that_could_be_misread_is_quoted():
    record = a_record(event="dead_letter", reason='a="b" 종목', empty="")

    assert (
        TextFormatter()
        .format(record)
        .endswith(r'dead_letter reason="a=\"b\" 종목" empty=""')
    )


def test_the_time_is_that_of_the_stack():
    line = TextFormatter(timedelta(days=-5)).format(a_record("Booting"))

    assert line == "2026-11-20 10:30:00.000 INFO    Booting"
