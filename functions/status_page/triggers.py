"""The message that fetches what is not there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from shared.modes import Mode
from shared.sessions import DAY
from shared.verdicts import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.candles import Timeframe
    from shared.reports import BrokenSeal

# The modes that fetch what is late, and what is missing.
MODES = {
    Reason.NEVER_LOADED: None,
    Reason.NOT_ASKED_SINCE: None,
    Reason.UNEXPLAINED: Mode.REPAIR,
    Reason.NOT_SERVED: Mode.REPAIR,
}


def trigger_of(
    reason: Reason, timeframe: Timeframe, codes: Sequence[str] = ()
) -> str | None:
    """The message for the topic ``triggers``; None where no message brings anything.

    Without ``codes`` it is for all targets.
    """
    if reason not in MODES:
        return None
    message: dict[str, object] = {"timeframe": timeframe.value}
    if mode := MODES[reason]:
        message["mode"] = mode.value
    if codes:
        message["stocks"] = list(codes)
    return _told(message)


def verify_of(seal: BrokenSeal) -> str:
    """The message that reads the candles of a broken seal from the broker again."""
    message: dict[str, object] = {
        "timeframe": seal.timeframe.value,
        "mode": Mode.VERIFY.value,
        "stocks": [seal.stock.code],
        "start": str(seal.session_date),
    }
    if seal.timeframe.minutes:
        message["end"] = str(seal.session_date + DAY)
    return _told(message)


def _told(message: dict[str, object]) -> str:
    return json.dumps(message, separators=(",", ":"))
