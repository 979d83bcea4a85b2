"""The lanes on which collect requests travel, so that none waits behind another's.

Live work and history have topics, places and instances of their own, and so has each
of the broker's three calls, because each has a rate limit of its own. See
docs/decisions/0020.
"""

from __future__ import annotations

from enum import StrEnum

from shared.candles import Timeframe
from shared.modes import Mode


class Lane(StrEnum):
    """How urgent a task is.

    Live tasks are what a tick finds: a page or two each. History is everything that
    needs more: first loads, backfills, repairs, verifications, rebuilds. It gives way
    to live tasks wherever they meet, which is at the broker's limit only.
    """

    LIVE = "live"
    HISTORY = "history"


class Call(StrEnum):
    """The broker's call that serves a timeframe; each has a rate limit of its own."""

    MINUTES = "minutes"
    DAYS = "days"
    WEEKS = "weeks"


# What the broker calls them.
API_IDS = {Call.MINUTES: "ka10080", Call.DAYS: "ka10081", Call.WEEKS: "ka10082"}


def lane_of(mode: Mode) -> Lane:
    """The lane of a mode; an incremental task may turn out to be history."""
    return Lane.LIVE if mode is Mode.INCREMENTAL else Lane.HISTORY


def call_of(timeframe: Timeframe) -> Call:
    """The call that serves a timeframe."""
    if timeframe.minutes:
        return Call.MINUTES
    return Call.DAYS if timeframe is Timeframe.DAY_1 else Call.WEEKS


def api_id_of(timeframe: Timeframe) -> str:
    """The broker's name of the call that serves a timeframe."""
    return API_IDS[call_of(timeframe)]


def collect_topic(lane: Lane, timeframe: Timeframe) -> str:
    """The topic that collect requests of this lane and timeframe are published to."""
    return f"collect-{lane}-{call_of(timeframe)}"


COLLECT_TOPICS = tuple(
    dict.fromkeys(
        collect_topic(lane, timeframe) for lane in Lane for timeframe in Timeframe
    )
)
