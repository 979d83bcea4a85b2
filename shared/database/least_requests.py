"""How few requests could have read what tasks read: as many as pages hold the rows.

Where a task asked and nothing came, one; where it had nothing to ask, none.
"""

from __future__ import annotations

from shared.coverage import ROWS_PER_PAGE

# Joins tasks with how many rows a page of their timeframe has.
WITH_PAGES = """
    JOIN unnest(cast(:timeframes AS text[]), cast(:pages AS integer[]))
         AS rows (timeframe, page) USING (timeframe)
"""
LEAST_REQUESTS = """
    coalesce(sum(ceil(greatest(
        1, inserted + updated + unchanged + rejected)::numeric / page))
        FILTER (WHERE requests > 0), 0)::bigint
"""
# The parameters of both.
PAGES = {
    "timeframes": [timeframe.value for timeframe in ROWS_PER_PAGE],
    "pages": list(ROWS_PER_PAGE.values()),
}
