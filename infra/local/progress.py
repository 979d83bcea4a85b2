"""What the database tells about the runs of a stack: every query of the screen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from infra.local.screen.chart import Prices
from infra.local.screen.estimate import TaskShape
from infra.local.screen.snapshot import DeadLetter, Run, RunState, TaskCount
from shared.candles import Timeframe
from shared.database.engine import transaction
from shared.modes import Mode
from shared.sessions import KST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import timedelta

    from sqlalchemy import Engine

CLOCK = text("SELECT clock_timestamp()")
# The latest runs, those that are not over, and those that must be shown.
SHOWN = text("""
    (SELECT run_id FROM runs WHERE written_at >= :since
     ORDER BY written_at DESC LIMIT :latest)
    UNION
    SELECT run_id FROM runs JOIN tasks USING (run_id)
    WHERE written_at >= :since AND state IN ('queued', 'running', 'failed')
    UNION
    SELECT run_id FROM runs WHERE run_id = ANY(cast(:always AS text[]))
""")
RUNS = text("""
    SELECT run_id, runs.requested_at, runs.trigger, runs.no_session,
           runs.superseded_by,
           coalesce(bool_or(task.state IN ('queued', 'running', 'failed')), false)
               AS is_running,
           coalesce(bool_or(task.state IN ('dead', 'incomplete')), false) AS is_short,
           extract(epoch FROM CASE
               WHEN bool_or(task.state IN ('queued', 'running', 'failed'))
               THEN clock_timestamp() ELSE max(task.finished_at) END
               - runs.written_at)::float8 AS seconds
    FROM runs LEFT JOIN tasks AS task USING (run_id)
    WHERE run_id = ANY(cast(:run_ids AS text[]))
    GROUP BY run_id ORDER BY runs.written_at, run_id
""")
# Tasks that need as many requests are one row: of unfinished ones, what decides that.
TASKS = text("""
    SELECT run_id, timeframe, tasks.state, count(*) AS tasks, sum(requests) AS requests,
           sum(inserted + updated + unchanged) AS candles,
           request ->> 'mode' AS mode, request ->> 'start' AS first,
           CASE WHEN open THEN covered_from END AS covered_from,
           CASE WHEN open THEN settled_through END AS settled_through,
           CASE WHEN open THEN coalesce(listed, true) ELSE true END AS listed
    FROM tasks
    LEFT JOIN series USING (stock_code, timeframe)
    LEFT JOIN stocks USING (stock_code)
    CROSS JOIN LATERAL (
        SELECT tasks.state IN ('queued', 'running', 'failed') AS open
    ) AS task
    WHERE run_id = ANY(cast(:run_ids AS text[]))
    GROUP BY 1, 2, 3, 7, 8, 9, 10, 11
""")
STAGED = text("""
    SELECT run_id, timeframe, sum(jsonb_array_length(content -> 'candles')) AS candles
    FROM staged_pages JOIN staged_chains USING (chain_id)
    WHERE run_id = ANY(cast(:run_ids AS text[]))
    GROUP BY run_id, timeframe
""")
DEAD = text("""
    SELECT run_id, stock_code, timeframe, error_code, error_message, finished_at
    FROM tasks
    WHERE run_id = ANY(cast(:run_ids AS text[])) AND state = 'dead'
    ORDER BY finished_at
""")
# A task that is over without all that it was to bring; an unlisted stock may have none.
SHORT = text("""
    SELECT stock_code, timeframe, task.state, error_message, missing, first_missing
    FROM tasks AS task LEFT JOIN stocks USING (stock_code)
    WHERE run_id = ANY(:run_ids) AND task.state <> 'done'
      AND NOT (task.state = 'no_data' AND stocks.listed IS FALSE)
    ORDER BY timeframe, stock_code
""")
# Why an attempt failed that is going to be repeated.
LAST_ERROR = text("""
    SELECT error_message FROM tasks
    WHERE run_id = ANY(cast(:run_ids AS text[])) AND state IN ('queued', 'failed')
      AND error_message IS NOT NULL AND error_code <> 'busy'
    ORDER BY attempts DESC LIMIT 1
""")
# Of a stack that was killed; nothing that held one lives any more.
FORGET_LEASES = text("""
    UPDATE series SET leased_by = NULL, leased_until = NULL
    WHERE leased_until IS NOT NULL
""")
CANDLES = text("""
    SELECT opened_at, open, high, low, close, volume, session
    FROM candles WHERE stock_code = :stock_code AND timeframe = :timeframe
    ORDER BY opened_at DESC LIMIT :count
""")
STOCK = text("""
    SELECT stock_code, stock_name FROM stocks
    WHERE stock_code = :stock OR stock_name = :stock
    ORDER BY stock_code = :stock DESC LIMIT 1
""")
# Of the runs that are over, the screen knows those of the last day.
LATEST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class StockName:
    """A stock's code and name."""

    code: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCandle:
    """A candle as it is stored; ``is_after`` the close of the regular session."""

    opened_at: datetime
    prices: Prices
    volume: int
    is_after: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What has become of the latest runs since a start."""

    runs: tuple[Run, ...]
    dead_letters: tuple[DeadLetter, ...]
    last_error: str | None


def database_time(engine: Engine) -> datetime:
    """The database's clock, in whose time runs are written."""
    with transaction(engine) as connection:
        now: datetime = connection.execute(CLOCK).scalar_one()
    return now


def read(
    engine: Engine,
    since: datetime,
    clock_offset: timedelta,
    estimate: Callable[[TaskShape], int],
    always: Sequence[str] = (),
) -> Progress:
    """Read the runs that were written since an instant of the database's clock.

    Of those that are over, only the latest, and those whose id is in ``always``. The
    market's clock runs ``clock_offset`` ahead of the database's.

    Raises:
        DatabaseUnavailable: If PostgreSQL does not answer.
    """
    wanted = {"since": since, "latest": LATEST, "always": list(always)}
    with transaction(engine) as connection:
        shown = connection.execute(SHOWN, wanted).scalars().all()
        values = {"run_ids": list(shown)}
        runs = connection.execute(RUNS, values).mappings().all()
        tasks = connection.execute(TASKS, values).mappings().all()
        staged = {
            (row.run_id, row.timeframe): int(row.candles)
            for row in connection.execute(STAGED, values)
        }
        dead = connection.execute(DEAD, values).all()
        last_error = connection.execute(LAST_ERROR, values).scalar()
    counts = _counts(tasks, staged, estimate)
    return Progress(
        runs=tuple(_run(row, counts.get(row["run_id"], ())) for row in runs),
        dead_letters=tuple(
            DeadLetter(
                key=f"{row.run_id} {row.stock_code} {row.timeframe}",
                at=f"{(row.finished_at + clock_offset).astimezone(KST):%H:%M:%S}",
                what=f"{row.stock_code} {row.timeframe}",
                error_code=row.error_code or "",
                reason=row.error_message or "",
            )
            for row in dead
        ),
        last_error=last_error,
    )


def shortfalls(engine: Engine, run_ids: Sequence[str]) -> list[str]:
    """One line for each listed stock's series that was not collected completely."""
    with transaction(engine) as connection:
        rows = connection.execute(SHORT, {"run_ids": list(run_ids)}).all()
    return [
        f"{row.stock_code} {row.timeframe}: {row.state}"
        + (_missing(row.missing, row.first_missing) if row.missing else "")
        + (f": {row.error_message}" if row.error_message else "")
        for row in rows
    ]


def stock(engine: Engine, code_or_name: str) -> StockName | None:
    """The stock with a code, or else with a name; None if there is none."""
    with transaction(engine) as connection:
        row = connection.execute(STOCK, {"stock": code_or_name}).first()
    return StockName(code=row.stock_code, name=row.stock_name) if row else None


def candles(
    engine: Engine, stock_code: str, timeframe: Timeframe, count: int
) -> list[StoredCandle]:
    """The last ``count`` candles of a series, oldest first."""
    values = {"stock_code": stock_code, "timeframe": timeframe.value, "count": count}
    with transaction(engine) as connection:
        rows = connection.execute(CANDLES, values).all()
    return [
        StoredCandle(
            opened_at=row.opened_at,
            prices=Prices(row.open, row.high, row.low, row.close),
            volume=row.volume,
            is_after=row.session == "after",
        )
        for row in reversed(rows)
    ]


def forget_leases(engine: Engine) -> None:
    """Free the series that a killed stack has left leased."""
    with transaction(engine) as connection:
        connection.execute(FORGET_LEASES)


def _missing(number: int, first: Sequence[datetime]) -> str:
    """How many candles are missing, and from where on: ``, 3 missing from … on``."""
    begin = f" from {first[0].astimezone(KST):%Y-%m-%d %H:%M} KST on" if first else ""
    return f", {number:,} missing{begin}"


def _counts(
    rows: Iterable[Mapping[Any, Any]],
    staged: Mapping[tuple[str, str], int],
    estimate: Callable[[TaskShape], int],
) -> dict[str, tuple[TaskCount, ...]]:
    """The tasks of each run, one count for each timeframe in the usual order."""
    found: dict[str, dict[Timeframe, TaskCount]] = {}
    for row in rows:
        frames = found.setdefault(row["run_id"], {})
        count = _count(row, estimate)
        known = frames.get(count.timeframe)
        frames[count.timeframe] = known + count if known else count
    for (run_id, frame), candles in staged.items():
        frames, timeframe = found.get(run_id, {}), Timeframe(frame)
        if timeframe in frames:
            pages = TaskCount(timeframe=timeframe, tasks=0, candles=candles)
            frames[timeframe] += pages
    return {
        run_id: tuple(frames[frame] for frame in Timeframe if frame in frames)
        for run_id, frames in found.items()
    }


def _count(row: Mapping[Any, Any], estimate: Callable[[TaskShape], int]) -> TaskCount:
    state, tasks, requests = row["state"], row["tasks"], int(row["requests"])
    planned = requests
    if state in {"queued", "running", "failed"}:
        # What is under way needs one request more at the least.
        planned = max(tasks * estimate(_shape(row)), requests + 1)
    ended = {state: tasks} if state in {"done", "no_data", "dead", "incomplete"} else {}
    return TaskCount(
        timeframe=Timeframe(row["timeframe"]),
        tasks=tasks,
        requests=requests,
        planned=planned,
        candles=int(row["candles"]),
        **ended,
    )


def _shape(row: Mapping[Any, Any]) -> TaskShape:
    return TaskShape(
        timeframe=Timeframe(row["timeframe"]),
        mode=Mode(row["mode"] or Mode.INCREMENTAL),
        start=date.fromisoformat(row["first"]) if row["first"] else None,
        covered_from=row["covered_from"],
        settled_through=row["settled_through"],
        listed=row["listed"],
    )


def _run(row: Mapping[Any, Any], counts: tuple[TaskCount, ...]) -> Run:
    trigger = row["trigger"]
    state = RunState.COMPLETE
    if row["no_session"]:
        state = RunState.NO_SESSION
    elif row["superseded_by"]:
        state = RunState.SUPERSEDED
    elif row["is_running"]:
        state = RunState.RUNNING
    elif row["is_short"]:
        state = RunState.INCOMPLETE
    return Run(
        run_id=row["run_id"],
        requested_at=row["requested_at"],
        mode=str(trigger.get("mode", Mode.INCREMENTAL)),
        stocks=_stocks(trigger.get("stocks"), counts),
        state=state,
        counts=counts,
        seconds=float(row["seconds"] or 0.0),
    )


def _stocks(stocks: object, counts: Sequence[TaskCount]) -> str:
    if isinstance(stocks, list) and len(stocks) == 1:
        return str(stocks[0])
    number = max((count.tasks for count in counts), default=0)
    return f"{number:,} {'stocks' if stocks else 'targets'}"
