"""The request for one stock in one timeframe."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from shared.messages.fields import Fields
from shared.modes import Mode

if TYPE_CHECKING:
    from datetime import date

    from shared.candles import Timeframe


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectRequest:
    """One task: collect one stock in one timeframe for one run.

    ``start`` (inclusive) and ``end`` (exclusive) are dates in Seoul; None leaves the
    choice to the plan.
    """

    run_id: str
    stock_code: str
    timeframe: Timeframe
    mode: Mode = Mode.INCREMENTAL
    start: date | None = None
    end: date | None = None

    def to_bytes(self) -> bytes:
        """Write the request as compact JSON."""
        fields = {
            "run_id": self.run_id,
            "stock_code": self.stock_code,
            "timeframe": self.timeframe.value,
            "mode": self.mode.value,
            "start": self.start and self.start.isoformat(),
            "end": self.end and self.end.isoformat(),
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
        request = cls(
            run_id=fields.text("run_id"),
            stock_code=fields.stock_code("stock_code"),
            timeframe=fields.timeframe("timeframe"),
            mode=fields.mode(),
            start=fields.day("start"),
            end=fields.day("end"),
        )
        fields.refuse_the_rest()
        return request
