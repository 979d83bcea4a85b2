"""What is reported of the pipeline, read from PostgreSQL; nothing here writes.

Instants that PostgreSQL's own clock wrote are moved to the clock of the pipeline, so
that a stack that lives at another moment tells one time.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from shared.candles import Candle, CandleSession, Timeframe
from shared.database import session_counts
from shared.database.daily_reports import DailyReports
from shared.database.engine import transaction
from shared.database.lateness import LATE, columns_of
from shared.database.run_reports import RunReports
from shared.database.session_counts import between
from shared.lanes import api_id_of
from shared.reports import (
    USED_SINCE,
    Account,
    Action,
    BrokenSeal,
    CandlePage,
    Doubt,
    History,
    LateGroup,
    Mark,
    QuarantinedRow,
    RateState,
    Revision,
    Seal,
    SeriesCount,
    StockName,
    StockSeries,
    StoredSlots,
    TaskError,
)
from shared.series import Series
from shared.session_map import Detail
from shared.sessions import DAY, midnight
from shared.verdicts import SeriesFacts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Engine, Row

    from shared.freshness import Due
    from shared.verdicts import SessionFacts

# Any transaction that writes changes the snapshot: while it is the same, so is all that
# was committed. It takes no table.
SNAPSHOT = text("SELECT pg_current_snapshot()::text")
STOCKS = text("SELECT stock_code, stock_name FROM stocks ORDER BY stock_code")
# A series of a target that was never loaded has no row. The newest candle is looked up
# only where a verdict needs it: of series that are behind the others, or have left. One
# JSON is read ten times as fast as its rows would be.
SERIES = text("""
    SELECT json_agg(found ORDER BY code, timeframe) FROM (
        SELECT stock_code AS code, stock_name AS name, timeframe,
               listed, is_target, listed_on,
               coalesce(concat(state, audit_info) LIKE '%거래정지%', false) AS halted,
               covered_from, wanted_from, loaded_on, settled_through, oldest,
               end_seen_on, coalesce(history_exhausted, false) AS history_exhausted,
               coalesce(ended, false) AS ended, coalesce(version, 0) AS version,
               asked_at,
               CASE WHEN NOT (settled_through >= :behind AND listed AND NOT ended)
                          OR settled_through IS NULL THEN (
                   SELECT max(opened_at) FROM candles
                   WHERE candles.stock_code = stocks.stock_code
                     AND candles.timeframe = frames.timeframe) END AS newest
        FROM stocks
        CROSS JOIN unnest(cast(:timeframes AS text[])) AS frames (timeframe)
        LEFT JOIN series USING (stock_code, timeframe)
        WHERE (is_target OR covered_from IS NOT NULL)
          AND (cast(:codes AS text[]) IS NULL
               OR stock_code = ANY(cast(:codes AS text[])))) AS found
""")
# The state of a task that is not over.
OPEN = "tasks.state IN ('queued', 'running', 'failed')"
COUNTS = text(f"""
    SELECT timeframe, count(*) AS total, count(*) FILTER (WHERE late) AS late,
           CASE WHEN count(settled_through) = count(*) THEN min(settled_through) END
               AS settled_through
    FROM ({LATE}) AS series GROUP BY timeframe
""")
# The cause is the newest task of a series, looked for in the newest runs of its
# timeframe, because weeks have three ticks a day and five minutes have 140. The task's
# state matters only if it has no error. While an earlier task is still being retried,
# a newer one without a result yet does not count: it would hide the error.
LATE_GROUPS = text(f"""
    WITH late AS (SELECT * FROM ({LATE}) AS series WHERE late),
    recent AS (
        SELECT timeframe, run_id, age
        FROM (SELECT DISTINCT timeframe FROM late) AS frames CROSS JOIN LATERAL (
            SELECT run_id, row_number() OVER (ORDER BY written_at DESC) AS age
            FROM runs
            WHERE NOT no_session AND superseded_by IS NULL
              AND (trigger ->> 'timeframe' = timeframe
                   OR trigger -> 'timeframes' @> to_jsonb(timeframe))
            ORDER BY written_at DESC LIMIT 20) AS newest
    ),
    known AS (
        SELECT stock_code, timeframe, min(age) AS newest,
               min(age) FILTER (WHERE error_code IS NOT NULL OR NOT {OPEN}) AS told,
               min(age) FILTER (WHERE error_code IS NOT NULL AND {OPEN}) AS tried_again
        FROM recent JOIN tasks USING (run_id, timeframe)
        JOIN late USING (stock_code, timeframe)
        GROUP BY stock_code, timeframe
    ),
    cause AS (
        SELECT stock_code, timeframe, run_id, error_code, error_message,
               CASE WHEN error_code IS NULL THEN tasks.state END AS state
        FROM known JOIN recent USING (timeframe)
        JOIN tasks USING (run_id, stock_code, timeframe)
        WHERE age = CASE WHEN told = tried_again THEN told ELSE newest END
    )
    SELECT timeframe, never_loaded, cause.state, error_code,
           max(error_message) AS error_message, max(run_id) AS run_id,
           count(*) AS series, min(asked_at) AS asked_at,
           (array_agg(stock_code ORDER BY stock_code))[1:3] AS codes,
           (array_agg(stock_name ORDER BY stock_code))[1:3] AS names
    FROM late LEFT JOIN cause USING (stock_code, timeframe)
    GROUP BY timeframe, never_loaded, cause.state, error_code
    ORDER BY count(*) DESC
""")
# Most series of a market have the same proofs: thousands of rows become a few.
ACCOUNTS = text("""
    SELECT covered_from, settled_through, accounted_for,
           CASE WHEN history_exhausted THEN oldest END AS ends_at,
           CASE WHEN listed_on > covered_from THEN listed_on END AS listed_on,
           listed AND NOT ended
               AND coalesce(settled_through < cast(:last AS date), true)
               AND coalesce(asked_at >= cast(:over_at AS timestamptz), false)
               AS is_open,
           bool_or(oldest < listed_on) AS has_older,
           string_agg(stock_code, ' ' ORDER BY stock_code) AS codes
    FROM series JOIN stocks USING (stock_code)
    WHERE timeframe = :timeframe AND covered_from IS NOT NULL
    GROUP BY 1, 2, 3, 4, 5, 6
""")
# The session of a candle in which an action took effect: a week has its first one.
IN_SESSION = """
    CASE WHEN timeframe = '1w'
         THEN (SELECT min(session_date) FROM market_sessions
               WHERE session_date >= date_trunc('week', effective_by)::date)
         ELSE effective_by END
"""
# The candles are counted in their index.
ALTERED = text("""
    SELECT stock_code FROM series
    CROSS JOIN LATERAL (
        SELECT count(*) AS candles FROM candles
        WHERE candles.stock_code = series.stock_code AND candles.timeframe = :timeframe
          AND opened_at < (settled_through + 1)::timestamp
                          AT TIME ZONE interval '9 hours'
    ) AS stored
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(candles), 0) AS candles FROM session_seals
        WHERE session_seals.stock_code = series.stock_code
          AND session_seals.timeframe = :timeframe
    ) AS sealed
    WHERE series.timeframe = :timeframe AND settled_through IS NOT NULL
      AND stored.candles <> sealed.candles
""")
MARKS = text(f"""
    SELECT stock_code, day, 1 AS mark
    FROM (SELECT stock_code, {IN_SESSION} AS day FROM corporate_actions
          WHERE timeframe = :timeframe AND effective_by >= :start) AS actions
    WHERE day BETWEEN :start AND :last
    UNION
    SELECT stock_code, (opened_at AT TIME ZONE interval '9 hours')::date, 2
    FROM revisions
    WHERE timeframe = :timeframe AND opened_at >= :first AND opened_at < :beyond
    UNION
    SELECT stock_code, (opened_at AT TIME ZONE interval '9 hours')::date, 4
    FROM quarantine
    WHERE timeframe = :timeframe AND opened_at >= :first AND opened_at < :beyond
""")
# Requests are counted of the newest runs, and of those that are not over.
RATES = text("""
    WITH at_work AS (
        SELECT run_id FROM runs
        WHERE written_at >= clock_timestamp() - cast(:since AS interval)
        UNION
        SELECT run_id FROM tasks WHERE state IN ('queued', 'running', 'failed')
    ), counted AS (
        SELECT calls.api_id, coalesce(sum(requests), 0) AS requests
        FROM unnest(cast(:timeframes AS text[]), cast(:calls AS text[]))
             AS calls (timeframe, api_id)
        LEFT JOIN (SELECT timeframe, requests FROM at_work JOIN tasks USING (run_id)
                   WHERE finished_at >= clock_timestamp()
                                        - cast(:since AS interval)) AS ended
             USING (timeframe)
        GROUP BY 1
    )
    SELECT api_id, max(next_free_at) AS next_free_at, max(slowdown) AS slowdown,
           max(slowed_at) AS slowed_at, count(*) AS app_keys,
           max(requests)::bigint AS requests
    FROM rate_slots LEFT JOIN counted USING (api_id) GROUP BY api_id ORDER BY api_id
""")
# Neither is late: no tick is waited for.
DOUBTS = text("""
    SELECT stock_code, stock_name, NULL AS timeframe FROM stocks
    WHERE is_target AND NOT listed AND absences > 0
    UNION ALL
    SELECT stock_code, stock_name, timeframe FROM stocks JOIN series USING (stock_code)
    WHERE is_target AND listed AND unproven_on IS NOT NULL
    ORDER BY stock_code, timeframe LIMIT :limit
""")
BROKEN = """
    SELECT stock_code, coalesce(stock_name, stock_code) AS stock_name, timeframe,
           session_date, sealed, found, found_at
    FROM broken_seals LEFT JOIN stocks USING (stock_code)
"""
BROKEN_SEALS = text(f"""
    {BROKEN}
    ORDER BY found_at DESC, stock_code, timeframe, session_date LIMIT :limit
""")
# Days and weeks are sealed by the year.
SEALED_WITH = """
    CASE WHEN timeframe IN ('1d', '1w')
         THEN date_trunc('year', cast(:day AS date))::date ELSE cast(:day AS date) END
"""
BROKEN_SEAL = text(f"""
    {BROKEN} WHERE stock_code = :stock_code AND timeframe = :timeframe
                   AND session_date = {SEALED_WITH}
""")
# A task ends in the transaction that stores and seals what it brought, so both rows are
# of one transaction; a seal that a change of the calendar or a migration wrote has no
# run.
SEAL = text(f"""
    SELECT session_date, candles, encode(digest, 'hex') AS digest, sealed_at,
           first_sealed_at,
           (SELECT run_id FROM tasks
            WHERE tasks.stock_code = seal.stock_code
              AND tasks.timeframe = seal.timeframe
              AND tasks.xmin = seal.xmin AND finished_at >= sealed_at
            ORDER BY finished_at LIMIT 1) AS run_id
    FROM session_seals AS seal
    WHERE stock_code = :stock_code AND timeframe = :timeframe
      AND session_date = {SEALED_WITH}
""")
LAST_ERROR = text("""
    SELECT run_id, state, error_code, error_message
    FROM tasks JOIN runs USING (run_id)
    WHERE stock_code = :stock_code AND timeframe = :timeframe
    ORDER BY written_at DESC LIMIT 1
""")
ACTIONS = text(f"""
    SELECT after_date, effective_by, {IN_SESSION} AS session, ratio, run_id, detected_at
    FROM corporate_actions
    WHERE stock_code = :stock_code AND timeframe = :timeframe
    ORDER BY effective_by DESC LIMIT :limit
""")
REVISIONS = text("""
    SELECT opened_at, open, high, low, close, volume, withdrawn, revised_at, run_id
    FROM revisions
    WHERE stock_code = :stock_code AND timeframe = :timeframe
      AND opened_at >= :first AND opened_at < :beyond
    ORDER BY revised_at DESC, opened_at DESC LIMIT :limit
""")
QUARANTINE = text("""
    SELECT opened_at, reason, refused_at, run_id FROM quarantine
    WHERE stock_code = :stock_code AND timeframe = :timeframe
      AND (opened_at IS NULL OR opened_at >= :first AND opened_at < :beyond)
    ORDER BY refused_at DESC LIMIT :limit
""")
SLOTS = text("""
    SELECT opened_at, 0 AS confirmations FROM candles
    WHERE stock_code = :stock_code AND timeframe = :timeframe
      AND opened_at >= :first AND opened_at < :beyond
    UNION ALL
    SELECT opened_at, confirmations FROM absent_slots
    WHERE stock_code = :stock_code AND timeframe = :timeframe
      AND opened_at >= :first AND opened_at < :beyond
""")
CANDLES = text("""
    SELECT opened_at, open, high, low, close, volume, turnover, session FROM candles
    WHERE stock_code = :stock_code AND timeframe = :timeframe
      AND opened_at >= :first AND opened_at < :beyond
      AND (cast(:session AS text) IS NULL OR session = :session)
    ORDER BY opened_at LIMIT :limit
""")
SETTLED_THROUGH = text("""
    SELECT settled_through FROM series
    WHERE stock_code = :stock_code AND timeframe = :timeframe
""")
MOST_HISTORY = 200
COUNT_BROKEN = text("SELECT count(*) FROM broken_seals")
SEALED_AT = ("sealed_at", "first_sealed_at")


class ReportStore:
    """Reads what is reported, each call in one transaction.

    ``daily`` has the reports of days, ``runs`` what came of runs.
    """

    def __init__(self, engine: Engine, offset: timedelta = timedelta()) -> None:
        """The pipeline's clock runs ``offset`` ahead of PostgreSQL's."""
        self._engine = engine
        self._offset = offset
        self.daily = DailyReports(engine, offset)
        self.runs = RunReports(engine, offset)

    def snapshot(self) -> str:
        """A string that changes with everything that is committed."""
        with transaction(self._engine) as connection:
            return str(connection.execute(SNAPSHOT).scalar_one())

    def stocks(self) -> list[StockName]:
        """All stocks, by their codes."""
        with transaction(self._engine) as connection:
            rows = connection.execute(STOCKS).all()
        return [StockName(code=row.stock_code, name=row.stock_name) for row in rows]

    def series(
        self,
        timeframes: Sequence[Timeframe],
        behind: date,
        codes: Sequence[str] | None = None,
    ) -> list[StockSeries]:
        """The series of all targets, and of what else was ever loaded.

        The newest candle of those that are settled through the day ``behind``, or
        further, is not looked up.
        """
        values = {
            "timeframes": [timeframe.value for timeframe in timeframes],
            "behind": behind,
            "codes": _codes(codes),
        }
        with transaction(self._engine) as connection:
            found = connection.execute(SERIES, values).scalar_one()
        return [_stock_series(each) for each in found or ()]

    def counts(
        self, due: Mapping[Timeframe, Due | None]
    ) -> dict[Timeframe, SeriesCount]:
        """How many series of targets there are, and are late, by what was last due."""
        with transaction(self._engine) as connection:
            rows = connection.execute(COUNTS, columns_of(due)).all()
        return {
            Timeframe(row.timeframe): SeriesCount(
                total=row.total, late=row.late, settled_through=row.settled_through
            )
            for row in rows
        }

    def late_groups(self, due: Mapping[Timeframe, Due | None]) -> list[LateGroup]:
        """The late series of targets, grouped by cause, the largest group first."""
        with transaction(self._engine) as connection:
            rows = connection.execute(LATE_GROUPS, columns_of(due)).all()
        return [
            LateGroup(
                timeframe=Timeframe(row.timeframe),
                never_loaded=row.never_loaded,
                state=row.state,
                error_code=row.error_code,
                error_message=row.error_message,
                run_id=row.run_id,
                count=row.series,
                examples=tuple(
                    StockName(code=code, name=name)
                    for code, name in zip(row.codes, row.names, strict=True)
                ),
                asked_at=row.asked_at,
            )
            for row in rows
        ]

    def sessions(
        self,
        timeframe: Timeframe,
        start: date,
        last: date,
        codes: Sequence[str] | None = None,
        detail: Detail = Detail.COUNTS,
    ) -> dict[str, dict[date, SessionFacts]]:
        """What is stored of each session from ``start`` to ``last``, by stock.

        Of a whole market, settled minutes are told by their seals.
        """
        with transaction(self._engine) as connection:
            return session_counts.sessions(
                connection, timeframe, start, last, codes, detail
            )

    def accounts(
        self, timeframe: Timeframe, last: date | None, over_at: datetime | None
    ) -> list[Account]:
        """All series of a timeframe that were ever loaded, grouped by their proofs.

        Open are those that are not settled through ``last``, although they were asked
        for since that session was over.
        """
        values = {"timeframe": timeframe.value, "last": last, "over_at": over_at}
        with transaction(self._engine) as connection:
            rows = connection.execute(ACCOUNTS, values).all()
        return [
            Account(
                facts=SeriesFacts(
                    series=Series(
                        covered_from=row.covered_from,
                        oldest=row.ends_at,
                        history_exhausted=row.ends_at is not None,
                        settled_through=row.settled_through,
                    ),
                    listed_on=row.listed_on,
                ),
                # Candles of before the listing are counted, and not expected.
                accounted_for=None if row.has_older else row.accounted_for,
                is_open=row.is_open,
                codes=tuple(row.codes.split()),
            )
            for row in rows
        ]

    def altered(self, timeframe: Timeframe) -> set[str]:
        """Stocks with more settled candles, or fewer, than were sealed."""
        values = {"timeframe": timeframe.value}
        with transaction(self._engine) as connection:
            return set(connection.execute(ALTERED, values).scalars())

    def days_without_trades(
        self, start: date, last: date, codes: Sequence[str]
    ) -> dict[str, frozenset[date]]:
        """Days on which a stock did not trade, by its daily candles."""
        with transaction(self._engine) as connection:
            return session_counts.days_without_trades(connection, start, last, codes)

    def marks(
        self, timeframe: Timeframe, start: date, last: date
    ) -> dict[str, dict[date, Mark]]:
        """What else happened to sessions from ``start`` to ``last``, by stock."""
        values = between(start, last) | {
            "timeframe": timeframe.value,
            "start": start,
            "last": last,
        }
        found: dict[str, dict[date, Mark]] = {}
        with transaction(self._engine) as connection:
            for row in connection.execute(MARKS, values):
                days = found.setdefault(row.stock_code, {})
                days[row.day] = days.get(row.day, Mark(0)) | Mark(row.mark)
        return found

    def rates(self) -> list[RateState]:
        """The pace of each call of the broker."""
        values = {
            "since": USED_SINCE,
            "timeframes": [timeframe.value for timeframe in Timeframe],
            "calls": [api_id_of(timeframe) for timeframe in Timeframe],
        }
        with transaction(self._engine) as connection:
            rows = connection.execute(RATES, values).all()
        return [
            RateState(
                api_id=row.api_id,
                next_free_at=row.next_free_at + self._offset,
                slowdown=row.slowdown,
                slowed_at=row.slowed_at and row.slowed_at + self._offset,
                app_keys=row.app_keys,
                requests=row.requests,
            )
            for row in rows
        ]

    def doubts(self) -> list[Doubt]:
        """Targets that have vanished, and series whose prices contradict each other."""
        with transaction(self._engine) as connection:
            rows = connection.execute(DOUBTS, {"limit": MOST_HISTORY}).all()
        return [
            Doubt(
                stock=StockName(code=row.stock_code, name=row.stock_name),
                timeframe=Timeframe(row.timeframe) if row.timeframe else None,
            )
            for row in rows
        ]

    def broken_seals(self) -> list[BrokenSeal]:
        """The newest sessions whose candles changed behind our backs, by ``verify``."""
        with transaction(self._engine) as connection:
            rows = connection.execute(BROKEN_SEALS, {"limit": MOST_HISTORY}).all()
        return [self._broken(row) for row in rows]

    def broken_seal(
        self, stock_code: str, timeframe: Timeframe, day: date
    ) -> BrokenSeal | None:
        """The broken seal that covers a session; None if it is not known to be."""
        values = _key(stock_code, timeframe) | {"day": day}
        with transaction(self._engine) as connection:
            row = connection.execute(BROKEN_SEAL, values).first()
        return self._broken(row) if row else None

    def count_broken_seals(self) -> int:
        """How many there are in all."""
        with transaction(self._engine) as connection:
            return int(connection.execute(COUNT_BROKEN).scalar_one())

    def seal(self, stock_code: str, timeframe: Timeframe, day: date) -> Seal | None:
        """The seal that covers a session; None if it is not sealed."""
        values = _key(stock_code, timeframe) | {"day": day}
        with transaction(self._engine) as connection:
            row = connection.execute(SEAL, values).mappings().first()
        if row is None:
            return None
        moved = {name: row[name] + self._offset for name in SEALED_AT}
        return Seal(**{**row, **moved})

    def last_error(self, stock_code: str, timeframe: Timeframe) -> TaskError | None:
        """The newest task of a series; None if it never had one."""
        with transaction(self._engine) as connection:
            row = connection.execute(LAST_ERROR, _key(stock_code, timeframe)).first()
        return TaskError(**row._mapping) if row else None  # noqa: SLF001 - its name

    def _broken(self, row: Row[Any]) -> BrokenSeal:
        return BrokenSeal(
            stock=StockName(code=row.stock_code, name=row.stock_name),
            timeframe=Timeframe(row.timeframe),
            session_date=row.session_date,
            sealed=row.sealed,
            found=row.found,
            found_at=row.found_at + self._offset,
        )

    def history(
        self, stock_code: str, timeframe: Timeframe, start: date, last: date
    ) -> History:
        """Corporate actions of a series, and what happened to its days in a range."""
        values = _key(stock_code, timeframe) | between(start, last)
        values["limit"] = MOST_HISTORY
        with transaction(self._engine) as connection:
            actions = connection.execute(ACTIONS, values).mappings().all()
            revisions = connection.execute(REVISIONS, values).mappings().all()
            quarantine = connection.execute(QUARANTINE, values).mappings().all()
        return History(
            actions=[Action(**self._moved(row, "detected_at")) for row in actions],
            revisions=[Revision(**self._moved(row, "revised_at")) for row in revisions],
            quarantine=[
                QuarantinedRow(**self._moved(row, "refused_at")) for row in quarantine
            ],
        )

    def slots(
        self, stock_code: str, timeframe: Timeframe, start: date, last: date
    ) -> StoredSlots:
        """What is stored of each candle slot from ``start`` to ``last``."""
        values = _key(stock_code, timeframe) | between(start, last)
        with transaction(self._engine) as connection:
            rows = connection.execute(SLOTS, values).all()
            without: dict[str, frozenset[date]] = {}
            if timeframe.minutes:
                without = session_counts.days_without_trades(
                    connection, start, last, [stock_code]
                )
        return StoredSlots(
            candles=frozenset(at for at, confirmations in rows if not confirmations),
            confirmations={at: n for at, n in rows if n},
            days_without_trades=without.get(stock_code, frozenset()),
        )

    def candles(  # noqa: PLR0913 - a series, a range and three conditions
        self,
        stock_code: str,
        timeframe: Timeframe,
        first: datetime,
        beyond: datetime,
        *,
        session: CandleSession | None = None,
        settled: bool = False,
        limit: int,
    ) -> CandlePage:
        """Up to ``limit`` candles that open from ``first`` to before ``beyond``.

        With ``settled``, only those that are final.
        """
        key = _key(stock_code, timeframe)
        with transaction(self._engine) as connection:
            through = connection.execute(SETTLED_THROUGH, key).scalar()
            if settled:
                beyond = min(beyond, midnight(through + DAY)) if through else first
            values = key | {
                "first": first,
                "beyond": beyond,
                "session": session and session.value,
                "limit": limit + 1,
            }
            rows = connection.execute(CANDLES, values).mappings().all()
        found = [
            Candle(
                stock_code=stock_code,
                timeframe=timeframe,
                **{**row, "session": CandleSession(row["session"])},
            )
            for row in rows
        ]
        return CandlePage(
            candles=found[:limit], settled_through=through, more=len(found) > limit
        )

    def _moved(self, row: Mapping[Any, Any], name: str) -> dict[str, Any]:
        return {**row, name: row[name] + self._offset}


def _stock_series(told: dict[str, Any]) -> StockSeries:
    return StockSeries(
        stock=StockName(code=told["code"], name=told["name"]),
        timeframe=Timeframe(told["timeframe"]),
        facts=SeriesFacts(
            series=Series(
                covered_from=_date(told["covered_from"]),
                wanted_from=_date(told["wanted_from"]),
                loaded_on=_date(told["loaded_on"]),
                settled_through=_date(told["settled_through"]),
                oldest=_date(told["oldest"]),
                end_seen_on=_date(told["end_seen_on"]),
                newest=_instant(told["newest"]),
                history_exhausted=told["history_exhausted"],
                ended=told["ended"],
                version=told["version"],
            ),
            asked_at=_instant(told["asked_at"]),
            listed=told["listed"],
            halted=told["halted"],
            listed_on=_date(told["listed_on"]),
            is_target=told["is_target"],
        ),
    )


@lru_cache(maxsize=4096)
def _date(told: str | None) -> date | None:
    return None if told is None else date.fromisoformat(told)


def _instant(told: str | None) -> datetime | None:
    return None if told is None else datetime.fromisoformat(told)


def _key(stock_code: str, timeframe: Timeframe) -> dict[str, Any]:
    return {"stock_code": stock_code, "timeframe": timeframe.value}


def _codes(codes: Sequence[str] | None) -> list[str] | None:
    return None if codes is None else list(codes)
