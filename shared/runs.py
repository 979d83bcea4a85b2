"""A run as it is recorded, before its requests are published."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.lanes import Lane
from shared.messages import CollectRequest
from shared.modes import Mode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from shared.candles import Timeframe
    from shared.series import PriceMove


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A trigger, the message that brought it, and the requests it leads to.

    Without requests, there was no session. ``tick_of`` is when a tick was published:
    such a run is superseded by any later one for the same trigger.
    """

    run_id: str
    message_id: str
    trigger: bytes
    requests: Sequence[CollectRequest]
    requested_at: datetime
    tick_of: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedRun:
    """The messages that are yet to be published, or the run that does the work."""

    messages: Sequence[bytes] = ()
    superseded_by: str | None = None


def rebuild_run(
    request: CollectRequest,
    move: PriceMove,
    timeframes: Sequence[Timeframe],
    found_at: datetime,
) -> NewRun:
    """Tell the other ``timeframes`` of a stock about a corporate action.

    Whichever timeframe finds the action first, the run is the same one, so that each
    series is rebuilt once; ``found_at`` is when that was, in the market's time. Of two
    actions on one day, the ratio tells; one digit of it, since rounded prices do not
    tell it exactly.
    """
    ratio = f"{float(move.ratio):.1g}"
    cause = f"rebuild {request.stock_code} {move.effective_by} {ratio}"
    run_id = str(uuid.uuid5(uuid.NAMESPACE_OID, cause))
    trigger = {
        "mode": Mode.REBUILD.value,
        "stocks": [request.stock_code],
        "timeframes": [timeframe.value for timeframe in timeframes],
    }
    requests = [
        CollectRequest(
            run_id=run_id,
            stock_code=request.stock_code,
            timeframe=timeframe,
            mode=Mode.REBUILD,
            lane=Lane.HISTORY,
            move=move,
        )
        for timeframe in timeframes
    ]
    return NewRun(
        run_id=run_id,
        message_id=cause,
        trigger=json.dumps(trigger).encode(),
        requests=requests,
        requested_at=found_at,
    )
