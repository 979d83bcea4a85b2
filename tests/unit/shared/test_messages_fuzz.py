"""Whatever is published: a value or a ``MalformedMessage``, nothing else."""

from __future__ import annotations

import json
from datetime import date

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.candles import Timeframe
from shared.errors import MalformedMessage
from shared.messages import (
    CollectRequest,
    ReferenceRequest,
    ReportRequest,
    TokenRequest,
    Trigger,
)
from shared.modes import Mode

FEW = settings(max_examples=50)

MESSAGES = st.sampled_from(
    [Trigger, CollectRequest, ReferenceRequest, ReportRequest, TokenRequest]
)
DATES = st.dates(date(1956, 3, 3), date(2100, 1, 1))
TEXTS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1)
CODES = st.from_regex("[0-9A-Z]{6}", fullmatch=True)
# What some field accepts, and what looks like it.
PLAUSIBLE = st.one_of(
    st.sampled_from([*Timeframe, *Mode, "1h", "M5", "all", "calendar", "stocks"]),
    DATES.map(str),
    CODES,
    st.from_regex(r"[0-9]{1,4}[dmyw]", fullmatch=True),
    st.from_regex(r"[0-2][0-9]:[0-6][05](:00|Z|\+09:00)?", fullmatch=True),
    st.integers(-1, 100_001),
    st.booleans(),
)
HUGE = "a number of 5,000 digits"
ODD = st.one_of(
    st.none(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["", "\0", "\ud800", "２０２６-01-01", "9999-12-31", "a" * 99, HUGE]
    ),
)
VALUES = st.recursive(
    PLAUSIBLE | ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAUSIBLE, inner),
    max_leaves=3,
)
NAMES = [
    *("timeframe", "timeframes", "mode", "stocks", "start", "end", "period", "force"),
    *("budget", "run_id", "stock_code", "move", "sync", "open", "close", "forget"),
    *("hours", "add_targets", "remove_targets", "reason", "rejected_version", "report"),
]
OBJECTS = st.dictionaries(st.sampled_from(NAMES) | ODD, VALUES, max_size=4)
# Objects that lack nothing, so that what else they hold decides.
WHOLE = st.one_of(
    st.builds(lambda odd: {"timeframe": "1d"} | odd, OBJECTS),
    st.builds(
        lambda odd: {"run_id": "1", "stock_code": "005930", "timeframe": "1d"} | odd,
        OBJECTS,
    ),
    st.builds(lambda odd: {"reason": "operator"} | odd, OBJECTS),
    st.builds(lambda odd: {"report": "latest"} | odd, OBJECTS),
    st.builds(lambda odd: {"sync": ["calendar"]} | odd, OBJECTS),
    st.tuples(st.sampled_from(NAMES), VALUES).map(lambda field: dict([field])),
)


@st.composite
def bodies(draw):
    """A JSON object as it is sent, now and then damaged."""
    written = json.dumps(draw(OBJECTS | WHOLE), ensure_ascii=draw(st.booleans()))
    written = written.replace(f'"{HUGE}"', "1" * 5_000)
    body = written.encode(errors="surrogatepass")
    if draw(st.integers(0, 5)):
        return body
    at = draw(st.integers(0, len(body)))
    return (
        body[:at] + draw(st.binary(max_size=4)) + body[at + draw(st.integers(0, 4)) :]
    )


def accepted(message, body):
    """The value of a body, None where it was refused by name in a short sentence."""
    try:
        value = message.from_bytes(body)
    except MalformedMessage as refused:
        error = refused
    else:
        assert isinstance(value, message)
        return value
    text = str(error)
    assert text.startswith(f"{error.field}: ")
    assert text.isprintable()
    assert len(text) < 300
    return None


@FEW
@given(MESSAGES, bodies() | st.binary(max_size=20))
def test_a_body_is_a_message_or_refused(message, body):
    accepted(message, body)


@FEW
@given(st.sampled_from([CollectRequest, TokenRequest]), bodies())
def test_what_was_read_is_written_and_read_again(message, body):
    read = accepted(message, body)

    assert read is None or message.from_bytes(read.to_bytes()) == read


@FEW
@given(
    st.builds(
        CollectRequest,
        run_id=TEXTS,
        stock_code=CODES,
        timeframe=st.sampled_from(Timeframe),
        mode=st.sampled_from(Mode),
        start=st.none() | DATES,
        end=st.none() | DATES,
    )
)
def test_a_collect_request_is_read_as_it_was_written(request):
    assert CollectRequest.from_bytes(request.to_bytes()) == request


@FEW
@given(
    st.builds(
        TokenRequest,
        reason=TEXTS,
        rejected_version=st.none() | st.from_regex("[0-9]{1,9}", fullmatch=True),
        force=st.booleans(),
    )
)
def test_a_token_request_is_read_as_it_was_written(request):
    assert TokenRequest.from_bytes(request.to_bytes()) == request


@FEW
@given(st.sampled_from("dmy"), st.integers(1, 9_999), DATES)
def test_a_period_starts_on_a_day_that_a_request_may_name(unit, count, today):
    period = {"timeframe": "1d", "period": f"{count}{unit}"}
    trigger = accepted(Trigger, json.dumps(period).encode())

    assert trigger is None or date(1956, 3, 3) <= trigger.since(today) <= today
