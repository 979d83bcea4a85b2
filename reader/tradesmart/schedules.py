"""When the pipeline asks for new candles: what tells *late* from *not yet*.

They are those of ``infra/pipeline.yaml``, which a test compares.
"""

from __future__ import annotations

from shared.freshness import Tick

SCHEDULES: tuple[tuple[str, dict[str, object]], ...] = (
    ("*/5 9-20 * * 1-5", {"timeframe": "5m"}),
    ("2,32 9-20 * * 1-5", {"timeframe": "30m"}),
    ("3 9-20 * * 1-5", {"timeframe": "60m"}),
    ("40 20 * * 1-5", {"timeframe": "60m"}),
    ("45 15,20 * * 1-5", {"timeframe": "1d"}),
    ("50 15,20 * * 1-5", {"timeframe": "1w"}),
    ("30 7 * * *", {"timeframes": ["5m", "30m", "60m", "1d", "1w"]}),
)
TICKS = tuple(filter(None, (Tick.of(cron, payload) for cron, payload in SCHEDULES)))
