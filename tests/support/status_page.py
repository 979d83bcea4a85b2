"""The page as production runs it, on a small market that is known by heart."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text

from infra import topology
from infra.local import environment
from infra.local.processes import Child, free_port
from shared.candles import Timeframe
from shared.database.engine import transaction
from tests.support import servers
from tests.support.builders import CALENDAR, day, kst

NOW = kst("2026-11-20 10:31:40")
STOCKS = {"000660": "SK하이닉스", "005930": "삼성전자"}


def write(engine):
    """Two targets with a month of candles: one gap, one thin day, one split."""
    with transaction(engine) as connection:

        def run(statement, **values):
            return connection.execute(text(statement), values)

        run("UPDATE stocks SET is_target = stock_code = ANY(:codes)", codes=[*STOCKS])
        for code in STOCKS:
            for frame in Timeframe:
                run(
                    "INSERT INTO series (stock_code, timeframe, covered_from, oldest,"
                    " wanted_from, settled_through, asked_at)"
                    " VALUES (:code, :frame, '2026-10-19', '2026-10-19', '2026-10-19',"
                    " :through, :asked)",
                    code=code,
                    frame=frame.value,
                    through=day("2026-11-13" if frame == "1w" else "2026-11-19"),
                    asked=kst("2026-11-20 10:30:04"),
                )
                slots = [
                    slot
                    for each in CALENDAR.session_dates(day("2026-10-19"), NOW.date())
                    for slot in CALENDAR.slots(frame, each)
                    if slot < kst("2026-11-20 10:30")
                ]
                run(
                    "INSERT INTO candles (stock_code, timeframe, opened_at, open, high,"
                    " low, close, volume, session) SELECT :code, :frame, at, 100 + mod(n, 7),"
                    " 110, 90, 100 + mod(n, 9), 7 * n, 'regular' FROM"
                    " unnest(cast(:at AS timestamptz[])) WITH ORDINALITY AS t (at, n)",
                    code=code,
                    frame=frame.value,
                    at="{" + ",".join(slot.isoformat() for slot in slots) + "}",
                )
        run(
            "DELETE FROM candles WHERE stock_code = '005930' AND timeframe = '5m'"
            " AND opened_at = :at",
            at=kst("2026-11-18 10:00"),
        )
        run(
            "INSERT INTO corporate_actions (stock_code, timeframe, after_date,"
            " effective_by, ratio, evidence, run_id) VALUES ('005930', '1d',"
            " '2026-11-10', '2026-11-11', 0.2, '{}', 'run-1')"
        )


@contextmanager
def running(url, folder, now=NOW):
    """The function as it runs in production, living at ``now``."""
    pipeline = topology.load()
    function = pipeline.functions["status_page"]
    port = free_port()
    child = Child(
        "status_page",
        [
            str(Path(sys.executable).with_name("functions-framework")),
            *("--source", str(servers.ROOT / "functions/status_page/main.py")),
            *("--target", function.entry_point),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
        log=folder / "log",
        environ={
            **environment.for_children(os.environ, servers.ROOT),
            "GOOGLE_CLOUD_PROJECT": "p",
            "THREADS": "8",
            "DATABASE_POOL": "2",
            "DATABASE_URL": url,
            "SCHEDULES": topology.schedules_setting(pipeline),
            "CLOCK_OFFSET_SECONDS": str((now - datetime.now(UTC)).total_seconds()),
        },
        cwd=servers.ROOT,
    )
    try:
        child.wait_for_port(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.stop()
