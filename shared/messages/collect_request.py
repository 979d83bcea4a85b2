"""The request for one stock in one timeframe."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from shared.lanes import Lane, lane_of
from shared.messages.fields import Fields
from shared.modes import Mode
from shared.series import PriceMove

if TYPE_CHECKING:
    from datetime import date

    from shared.candles import Timeframe


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectRequest:
    """One task: collect one stock in one timeframe for one run.

    ``start`` (inclusive) and ``end`` (exclusive) are dates in Seoul; None leaves the
    choice to the plan. ``force`` forgets what is believed of the range. ``move`` is a
    corporate action that another timeframe of the stock has proven. ``lane`` decides
    where the request is published, and whether it gives way at the broker's limit.
    """

    run_id: str
    stock_code: str
    timeframe: Timeframe
    mode: Mode = Mode.INCREMENTAL
    lane: Lane = Lane.LIVE
    start: date | None = None
    end: date | None = None
    force: bool = False
    move: PriceMove | None = None

    def to_bytes(self) -> bytes:
        """Write the request as compact JSON."""
        fields = {
            "run_id": self.run_id,
            "stock_code": self.stock_code,
            "timeframe": self.timeframe.value,
            "mode": self.mode.value,
            "lane": self.lane.value,
            "start": self.start and self.start.isoformat(),
            "end": self.end and self.end.isoformat(),
            "force": self.force or None,
            "move": self.move and _written(self.move),
        }
        present = {name: value for name, value in fields.items() if value is not None}
        return json.dumps(present, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what ``to_bytes`` wrote.

        Raises:
            MalformedMessage: If a field is missing, unknown or malformed.
        """
        fields = Fields(data)
        mode = fields.mode()
        request = cls(
            run_id=fields.text("run_id"),
            stock_code=fields.stock_code("stock_code"),
            timeframe=fields.timeframe("timeframe"),
            mode=mode,
            lane=fields.lane(lane_of(mode)),
            start=fields.day("start"),
            end=fields.day("end"),
            force=fields.flag("force"),
            move=_read(fields.nested("move")),
        )
        fields.refuse_the_rest()
        return request


def _written(move: PriceMove) -> dict[str, str]:
    return {
        "ratio": str(move.ratio),
        "after": move.after.isoformat(),
        "effective_by": move.effective_by.isoformat(),
        "evidence": move.evidence,
    }


def _read(fields: Fields | None) -> PriceMove | None:
    if fields is None:
        return None
    move = PriceMove(
        ratio=fields.ratio("ratio"),
        after=fields.required_day("after"),
        effective_by=fields.required_day("effective_by"),
        evidence=fields.text("evidence"),
    )
    fields.refuse_the_rest()
    return move
