"""The status page before a whole market: a year of seals, in all timeframes.

Minutes have their seals and no candles, but for the session under way: there are a
hundred times as many, and the page reads them of a few stocks only.
"""

from __future__ import annotations

import time
from datetime import timedelta
from statistics import median

from sqlalchemy import text

from functions.status_page.app import new_app
from functions.status_page.services import Services
from infra import topology
from shared.candles import Timeframe
from shared.database.engine import new_engine, transaction
from shared.database.report_store import ReportStore
from shared.database.session_store import SessionStore
from shared.sessions import DAY
from shared.settings import MIGRATION_DEADLINES, DatabaseSettings
from tests.support import seeded_market
from tests.support.builders import day, kst

NOW = kst("2026-11-20 10:31:40")
TODAY, SETTLED = day("2026-11-20"), day("2026-11-19")
SESSIONS = 250
STOCKS = {f"{number:06}": f"종목 {number}" for number in range(10, 27_010, 10)}
# One stock in ten does not trade for an hour of each session.
THIN_EVERY, EMPTY_MINUTES = 10, 60
# Digests that are those of nothing: the page does not recompute them.
SEALS = text("""
    INSERT INTO session_seals (stock_code, timeframe, session_date, candles, on_grid,
                               digest)
    SELECT code, cast(:timeframe AS text), day, traded, traded,
           sha256(convert_to(concat(code, cast(:timeframe AS text), day), 'UTF8'))
    FROM unnest(cast(:codes AS text[])) WITH ORDINALITY AS c (code, number)
    CROSS JOIN unnest(cast(:days AS date[]), cast(:candles AS integer[]))
         AS s (day, candles)
    CROSS JOIN LATERAL (
        SELECT candles - CASE WHEN mod(number, cast(:every AS integer)) = 0
                              THEN cast(:empty AS integer) ELSE 0 END AS traded
    ) AS thin
""")
ABSENT = text("""
    INSERT INTO absent_slots (stock_code, timeframe, opened_at, run_id)
    SELECT code, cast(:timeframe AS text), slot, 'bench'
    FROM unnest(cast(:codes AS text[])) WITH ORDINALITY AS c (code, number)
    CROSS JOIN unnest(cast(:slots AS timestamptz[])) AS s (slot)
    WHERE mod(number, cast(:every AS integer)) = 0
""")
ACCOUNTED_FOR = text("""
    UPDATE series SET asked_at = :at, accounted_for = coalesce(candles, 0) + coalesce(absences, 0)
    FROM (SELECT stock_code, timeframe, sum(on_grid) AS candles FROM session_seals
          GROUP BY 1, 2) AS sealed
    LEFT JOIN (SELECT stock_code, timeframe, count(*) AS absences FROM absent_slots
               GROUP BY 1, 2) AS absent USING (stock_code, timeframe)
    WHERE series.stock_code = sealed.stock_code
      AND series.timeframe = sealed.timeframe
""")
FORMING = text("""
    INSERT INTO candles (stock_code, timeframe, opened_at, open, high, low, close,
                         volume, session)
    SELECT code, cast(:timeframe AS text), slot, 100, 110, 90, 105, 7, 'regular'
    FROM unnest(cast(:codes AS text[])) AS c (code)
    CROSS JOIN unnest(cast(:slots AS timestamptz[])) AS s (slot)
""")


def seed(url):
    """Write 2,700 stocks that are complete, and asked for by the tick of ``NOW``."""
    calendar = seeded_market.CALENDAR
    days = list(calendar.session_dates(SETTLED - 2 * 366 * DAY, SETTLED))[-SESSIONS:]
    for timeframe in (Timeframe.DAY_1, Timeframe.WEEK_1):
        seeded_market.write(url, STOCKS, timeframe, str(days[0]), str(SETTLED))
    engine = new_engine(DatabaseSettings(url=url))
    for timeframe in filter(lambda each: each.minutes, Timeframe):
        slots = [calendar.slots(timeframe, each) for each in days]
        empty = EMPTY_MINUTES // timeframe.minutes
        values = {
            "timeframe": timeframe.value,
            "first": days[0],
            "last": SETTLED,
            "oldest": days[0],
            "asked_at": NOW,
            "every": THIN_EVERY,
            "empty": empty,
            "days": days,
            "candles": [len(each) for each in slots],
        }
        empty_slots = [at for each in slots for at in each[1 : 1 + empty]]
        opened = [at for at in calendar.slots(timeframe, TODAY) if at < NOW]
        for codes in seeded_market.batched(STOCKS, seeded_market.AT_ONCE):
            part = values | {"codes": codes}
            with transaction(engine) as connection:
                connection.execute(seeded_market.SERIES, part)
                connection.execute(SEALS, part)
                connection.execute(ABSENT, part | {"slots": empty_slots})
                connection.execute(FORMING, part | {"slots": opened})
    with transaction(engine) as connection:
        connection.execute(ACCOUNTED_FOR, {"at": NOW + timedelta(hours=1)})
    engine.dispose()
    settings = DatabaseSettings(url=url, deadlines=MIGRATION_DEADLINES)
    engine = new_engine(settings).execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()


def measure(url, runs):
    """Milliseconds of answers whose ETag has changed; the first is of an instance."""
    settings = DatabaseSettings(url=url, pool_size=2, read_only=True)
    engine = new_engine(settings)
    clock = Clock()
    services = Services(
        reports=ReportStore(engine),
        calendar=SessionStore(engine).calendar,
        ticks=topology.ticks(topology.load()),
        clock=clock,
    )
    client = new_app(services).test_client()
    found = {"stocks": len(STOCKS), "sessions": SESSIONS}
    for name, path in (
        ("first_overview", "/"),
        ("overview", "/"),
        ("status", "/api/status"),
        ("map_60", "/api/coverage/5m"),
        ("map_250", "/api/coverage/5m?sessions=250"),
        ("map_250_days", "/api/coverage/1d?sessions=250"),
    ):
        taken = []
        for _ in range(1 if name == "first_overview" else runs):
            clock.now += timedelta(seconds=30)
            began = time.perf_counter()
            answer = client.get(path, headers={"Accept-Encoding": "gzip"})
            taken.append(time.perf_counter() - began)
            assert answer.status_code == 200, answer.text
        found[f"{name}_ms"] = round(1000 * median(taken), 1)
        found[f"{name}_bytes"] = len(answer.get_data())
    taken = []
    for _ in range(50 * runs):
        began = time.perf_counter()
        services.state()
        taken.append(time.perf_counter() - began)
    found["etag_ms"] = round(1000 * median(taken), 2)
    assert client.get("/api/status").get_json()["complete"] is True
    engine.dispose()
    return found


class Clock:
    """Every answer is asked for in another step of the ETag."""

    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now
