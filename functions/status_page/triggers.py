"""The message that fetches what is not there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from shared.verdicts import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.candles import Timeframe

# The modes that fetch what is late, and what is missing.
MODES = {
    Reason.NEVER_LOADED: None,
    Reason.NOT_ASKED_SINCE: None,
    Reason.UNEXPLAINED: "repair",
    Reason.NOT_SERVED: "repair",
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
        message["mode"] = mode
    if codes:
        message["stocks"] = list(codes)
    return json.dumps(message, separators=(",", ":"))
