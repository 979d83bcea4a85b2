"""What is known of series beside their candles, wherever that was read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from shared.series import Series
from shared.sessions import DAY
from shared.verdicts import SeriesFacts
from tradesmart import frames
from tradesmart.judgement import Known

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    import pyarrow as pa

# The calendar is read some weeks beyond what is judged: due times look back and ahead.
MARGIN = 60 * DAY


def around(
    first: date | None, last: date, begins: date, ends: date
) -> tuple[date, date]:
    """The days of a calendar that are needed to judge those in question."""
    if first is not None:
        # Of days to come, too, it is judged by what has been due until today.
        begins = max(begins, min(first, last) - MARGIN)
    return begins, max(min(ends, last + MARGIN), begins)


def assemble(
    codes: Sequence[str],
    facts: dict[str, SeriesFacts],
    absences: pa.Table,
    quiet: Sequence[tuple[str, date]],
) -> list[Known]:
    """What is known of each series, from tables that have all of them."""
    owners, names = frames.stocks(absences)
    order = np.argsort(owners, kind="stable")
    instants = frames.instants(absences)[order]
    confirmed = (absences.column(2).to_numpy() > 1)[order]
    ends = np.searchsorted(owners[order], np.arange(len(names) + 1)).tolist()
    parts = {
        name: slice(begin, end)
        for name, begin, end in zip(names, ends, ends[1:], strict=False)
    }
    days: dict[str, set[date]] = {}
    for code, day in quiet:
        days.setdefault(code, set()).add(day)
    unknown = SeriesFacts(series=Series(), is_target=False)
    found = []
    for code in codes:
        part = parts.get(code, slice(0))
        found.append(
            Known(
                stock_code=code,
                facts=facts.get(code, unknown),
                absences=instants[part],
                confirmed=confirmed[part],
                without_trades=frozenset(days.get(code, ())),
            )
        )
    return found


def facts_of(row: Mapping[str, Any]) -> SeriesFacts:
    """The facts of a series and its stock, from a row with their names."""
    series = Series(
        **{
            name: row[name]
            for name in (
                *("covered_from", "wanted_from", "settled_through", "oldest", "newest"),
                *("end_seen_on", "history_exhausted", "ended", "version"),
            )
        }
    )
    listed = row["listed"]
    return SeriesFacts(
        series=series,
        asked_at=row["asked_at"],
        # A stock that the list never named may still be traded.
        listed=listed is None or listed,
        halted=bool(row["halted"]),
        listed_on=row["listed_on"],
        is_target=bool(row["is_target"]),
    )
