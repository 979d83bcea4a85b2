"""The messages of the pipeline, and the checks at its edge.

A *trigger* starts a run; a *collect request* is for one stock in one timeframe; a
*reference request* and a *token request* are for what both need; a *report request* is
for the report of a day; a *heartbeat* starts nothing. All travel as JSON.
Whatever is unknown or malformed is refused by name, with the remedy; nothing is
guessed.
"""

from shared.messages.collect_request import CollectRequest
from shared.messages.fields import ALL_LISTED
from shared.messages.heartbeat import Heartbeat, is_heartbeat
from shared.messages.reference_request import ReferenceRequest
from shared.messages.report_request import ReportRequest
from shared.messages.token_request import TokenRequest
from shared.messages.trigger import DEFAULT_DEPTH, Trigger

__all__ = [
    "ALL_LISTED",
    "DEFAULT_DEPTH",
    "CollectRequest",
    "Heartbeat",
    "ReferenceRequest",
    "ReportRequest",
    "TokenRequest",
    "Trigger",
    "is_heartbeat",
]
