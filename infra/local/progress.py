"""How far the collection is: a table, one line for each timeframe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table
from sqlalchemy import text

from shared.candles import Timeframe
from shared.database.engine import transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

COUNT = text("""
    SELECT timeframe,
           count(*) AS tasks,
           count(*) FILTER (WHERE state = 'done') AS done,
           count(*) FILTER (WHERE state = 'no_data') AS no_data,
           count(*) FILTER (WHERE state = 'dead') AS dead,
           sum(inserted + updated + unchanged) AS candles,
           sum(requests) AS requests,
           coalesce(extract(epoch FROM min(started_at)), 0)::float8 AS began,
           coalesce(extract(epoch FROM
               CASE WHEN bool_and(finished_at IS NOT NULL) THEN max(finished_at)
                    ELSE clock_timestamp() END), 0)::float8 AS ended
    FROM tasks WHERE run_id = ANY(:run_ids)
    GROUP BY timeframe
""")
MISSING = text("""
    SELECT task.stock_code, task.timeframe, task.state, task.error_message
    FROM tasks AS task LEFT JOIN stocks USING (stock_code)
    WHERE run_id = ANY(:run_ids) AND task.state <> 'done'
      AND NOT (task.state = 'no_data' AND stocks.listed IS FALSE)
    ORDER BY timeframe, stock_code
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The tasks of one timeframe, counted; times are in seconds since 1970."""

    timeframe: str
    tasks: int
    done: int
    no_data: int
    dead: int
    candles: int
    requests: int
    began: float
    ended: float

    @property
    def finished(self) -> bool:
        """Whether no task is left to do."""
        return self.done + self.no_data + self.dead == self.tasks

    @property
    def seconds(self) -> float:
        """How long they have taken so far."""
        return self.ended - self.began if self.began else 0.0


def requests_per_second(rows: Sequence[Progress]) -> float:
    """Requests to the broker in a second, on average over all ``rows``."""
    began = min((row.began for row in rows if row.began), default=0.0)
    ended = max((row.ended for row in rows if row.began), default=0.0)
    requests = sum(row.requests for row in rows)
    return requests / (ended - began) if ended > began else 0.0


def read(engine: Engine, run_ids: Sequence[str]) -> list[Progress]:
    """Count the tasks of some runs, in the order of the timeframes."""
    with transaction(engine) as connection:
        rows = connection.execute(COUNT, {"run_ids": list(run_ids)}).mappings().all()
    found = {row["timeframe"]: Progress(**row) for row in rows}
    return [found[timeframe] for timeframe in Timeframe if timeframe in found]


def missing(engine: Engine, run_ids: Sequence[str]) -> list[str]:
    """One line for each listed stock's series that was not collected."""
    with transaction(engine) as connection:
        rows = connection.execute(MISSING, {"run_ids": list(run_ids)}).all()
    return [f"{row[0]} {row[1]}: {row[2]} {row[3] or ''}".rstrip() for row in rows]


def table(rows: Sequence[Progress], limit: float | None, title: str) -> Table:
    """Draw the table; ``limit`` is what the broker allows for each of its calls."""
    drawn = Table(title=title, title_justify="left")
    for name in ("timeframe", "series", "candles", "requests", "seconds"):
        drawn.add_column(name, justify="left" if name == "timeframe" else "right")
    drawn.add_column("requests/s", justify="right")
    drawn.add_column("limit/s", justify="right")
    for row in rows:
        series = f"{row.done}/{row.tasks}"
        series += f" ({row.no_data} no data)" if row.no_data else ""
        series += f" ({row.dead} dead)" if row.dead else ""
        drawn.add_row(
            row.timeframe,
            series,
            f"{row.candles:,}",
            f"{row.requests:,}",
            f"{row.seconds:.1f}",
            f"{requests_per_second([row]):.2f}",
            f"{limit:g}" if limit else "off",
        )
    minutes = [row for row in rows if Timeframe(row.timeframe).minutes]
    if len(minutes) > 1:
        rate = requests_per_second(minutes)
        drawn.caption = f"minutes share one limit: {rate:.2f} requests/s"
    return drawn
