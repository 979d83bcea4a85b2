"""Which series of targets are late, asked of all of them at once.

What is due is computed by ``shared/freshness.py``; here only instants are compared. The
answer is that of ``Judge.is_late``: an integration test compares the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared.database.literals import literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.candles import Timeframe
    from shared.freshness import Due

# A series that was never loaded has no row.
LATE = """
    SELECT stock_code, stock_name, timeframe, settled_through, asked_at,
           covered_from IS NULL AS never_loaded,
           coalesce(CASE WHEN timeframe = '1w' THEN date_trunc('week', listed_on)::date
                         ELSE listed_on END <= day, true)
           AND coalesce(asked_at, '-infinity') < ready_at AS late
    FROM stocks
    CROSS JOIN unnest(cast(:timeframes AS text[]), cast(:days AS date[]),
                      cast(:instants AS timestamptz[])) AS due (timeframe, day,
                                                                 ready_at)
    LEFT JOIN series USING (stock_code, timeframe)
    WHERE is_target AND listed AND NOT coalesce(ended, false)
"""


def columns_of(due: Mapping[Timeframe, Due | None]) -> dict[str, Any]:
    """What was last due of each timeframe, as three arrays; NULL where nothing was."""
    known = due.values()
    return {
        "timeframes": literal(timeframe.value for timeframe in due),
        "days": literal(str(each.day) if each else "NULL" for each in known),
        "instants": literal(
            each.ready_at.isoformat() if each else "NULL" for each in known
        ),
    }
