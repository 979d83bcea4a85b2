"""``make verify``: is every settled candle as the pipeline has stored it?

It compares the seals with the candles that they are of, and follows the chain of the
daily reports, in the database of the running stack, or in that of ``DATABASE_URL`` or
``CLOUD_SQL_INSTANCE``. One line names each difference, and a message for each series
reads it from the broker again. Exit status: 0 without a difference, 1 with one, 2 if
the database could not be read.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING

from infra.local.announcement import NotRunning
from infra.local.reading import open_stack
from shared.clock import new_clock
from shared.database.daily_reports import DailyReports
from shared.database.engine import new_engine
from shared.database.session_seals import BrokenSeal, SessionSeals
from shared.errors import DatabaseMisconfigured, PipelineError
from shared.modes import Mode
from shared.sessions import DAY, kst_date
from shared.settings import MIGRATION_DEADLINES, DatabaseSettings
from shared.stocks import STOCK_CODE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from sqlalchemy import Engine

    from shared.candles import Timeframe


def main(arguments: Sequence[str] | None = None) -> int:
    """Check all seals, or those of some stocks."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--stocks", default="", help="codes, separated by commas")
    parser.add_argument(
        "--accept", default="", help="1 seals what was found, as it is now"
    )
    options = parser.parse_args(arguments)
    stocks = [code.strip() for code in options.stocks.split(",") if code.strip()]
    wrong = [code for code in stocks if not STOCK_CODE.fullmatch(code)]
    if wrong:
        sys.stderr.write(f"STOCKS: {wrong[0]!r} is no stock code such as 005930\n")
        return 2
    try:
        with _database() as engine:
            seals, accepts = SessionSeals(engine), options.accept == "1"
            status = _verify(seals, stocks, accepts=accepts)
            return max(status, _follow(DailyReports(engine)))
    except (NotRunning, PipelineError) as error:
        sys.stderr.write(f"{error}\n")
        return 2


@contextmanager
def _database() -> Iterator[Engine]:
    named = {"DATABASE_URL", "CLOUD_SQL_INSTANCE"} & os.environ.keys()
    if not named:
        with open_stack() as (_, engine):
            yield engine
        return
    engine = new_engine(DatabaseSettings.from_env(deadlines=MIGRATION_DEADLINES))
    try:
        yield engine
    finally:
        engine.dispose()


def _verify(seals: SessionSeals, stocks: Sequence[str], *, accepts: bool) -> int:
    series = seals.series(stocks)
    checked = _checked(seals, series)
    broken = [seal for found in checked for seal in found]
    if not broken:
        print(f"{len(series):,} series: every seal is that of its candles")
        return 0
    if accepts:
        for (stock_code, timeframe), found in _by_series(broken):
            seals.accept(stock_code, timeframe, found)
        print(f"{len(broken):,} sealed as they are now")
        return 0
    seals_are = "seal is" if len(broken) == 1 else "seals are"
    print(
        f"\n{len(broken):,} {seals_are} broken: the database was changed, and not by "
        "the pipeline. Read from the broker again:"
    )
    for _, found in _by_series(broken):
        print(f"  make publish MSG='{message(found, kst_date(new_clock()()))}'")
    print(
        "What the broker no longer serves (minutes after a year) has to come from a "
        "backup. ACCEPT=1 seals what is there now."
    )
    return 1


def _follow(reports: DailyReports) -> int:
    """Follow the chain of the daily reports."""
    count, broken = reports.unlinked()
    for day in broken:
        print(f"{day}: its report is not what was chained, or the one before is gone")
    if count and not broken:
        print(f"the daily reports, {count:,}, are an unbroken chain")
    return 1 if broken else 0


def _checked(
    seals: SessionSeals, series: Sequence[tuple[str, Timeframe]]
) -> Iterator[list[BrokenSeal]]:
    """Check series by series; what is found is recorded if this account may."""
    records = True
    for stock_code, timeframe in series:
        try:
            found = seals.check(stock_code, timeframe, record=records)
        except DatabaseMisconfigured:
            if not records:
                raise
            records = False
            found = seals.check(stock_code, timeframe, record=False)
        for seal in found:
            print(line(seal), flush=True)
        yield found


def line(seal: BrokenSeal) -> str:
    """What is wrong with one seal: stock, timeframe, session or year, and numbers."""
    minutes = seal.timeframe.minutes
    when = str(seal.session_date) if minutes else str(seal.session_date.year)
    number = abs(seal.found - seal.sealed) or "some"
    return (
        f"{seal.stock_code} {seal.timeframe} {when}: {number} {seal.kind} "
        f"({seal.sealed} candles sealed, {seal.found} found)"
    )


def message(broken: Sequence[BrokenSeal], today: date) -> str:
    """The trigger that reads these seals of one series from the broker again."""
    fields = {
        "mode": Mode.VERIFY.value,
        "timeframe": broken[0].timeframe.value,
        "stocks": [broken[0].stock_code],
        "start": str(min(seal.session_date for seal in broken)),
    }
    end = max(seal.last_day for seal in broken) + DAY
    if end <= today:
        fields["end"] = str(end)
    return json.dumps(fields, separators=(",", ":"))


def _by_series(
    broken: Sequence[BrokenSeal],
) -> Iterator[tuple[tuple[str, Timeframe], list[BrokenSeal]]]:
    for key, found in groupby(broken, lambda seal: (seal.stock_code, seal.timeframe)):
        yield key, list(found)


if __name__ == "__main__":
    sys.exit(main())
