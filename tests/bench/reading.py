"""The reader beside what others would do, and an export: seconds, ratios, memory.

It runs in the environment of the reader: ``make bench PARTS=reading``.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from infra.local.postgres import find_binaries
from tests.support import seeded_market

STOCKS = {f"{code:06d}": f"종목 {code}" for code in range(100, 2800)}
# 363 stocks have a million candles in the month.
MILLION = list(STOCKS)[:363]
MONTH = ("2026-10-22", "2026-11-20")
YEAR = ("2025-11-24", "2026-11-24")
ONE = "900000"
END = "2026-11-21"


def main():
    """Measure against databases that the caller has started; print JSON."""
    url, million, runs = sys.argv[1], sys.argv[2], int(sys.argv[3])
    found = measure(url, runs)
    found["million"] = export_of_a_million(million, runs)
    json.dump(found, sys.stdout)


def seed(url):
    """A whole market of 5-minute candles for a month, and a year of one stock."""
    seeded_market.write(url, STOCKS, "5m", *MONTH)
    seeded_market.write(url, {ONE: "일년"}, "5m", YEAR[0], "2026-11-23")


def seed_a_million(url):
    """The stocks that have a million candles, alone."""
    seeded_market.write(url, {code: STOCKS[code] for code in MILLION}, "5m", *MONTH)


def measure(url, runs):
    from tradesmart import export, read_arrow, read_candles, verify  # noqa: PLC0415

    options = {"session": "all", "end": END, "source": url}
    rows = len(read_candles(MILLION, "5m", **options))
    copy = timed(runs, lambda: raw_copy(url))
    frame = timed(runs, lambda: read_candles(MILLION, "5m", **options))
    arrow = timed(runs, lambda: read_arrow(MILLION, "5m", **options))
    by_copy = options | {"source": url.replace("postgresql:", "postgresql+pg8000:")}
    binary = timed(runs, lambda: read_candles(MILLION, "5m", **by_copy))
    sql = timed(1, lambda: read_sql(url))
    year = timed(runs, lambda: read_candles(ONE, "5m", *YEAR, source=url))
    found = {
        "rows": rows,
        "raw_copy_s": copy,
        "read_candles_s": frame,
        "read_arrow_s": arrow,
        "binary_copy_s": binary,
        "read_sql_s": sql,
        "to_read_sql": round(sql / frame, 1),
        "to_raw_copy": round(copy / frame, 2),
        "arrow_to_raw_copy": round(copy / arrow, 2),
        "stock_year_ms": round(1000 * year),
    }
    found["iterated"] = in_a_process("iterate", url)
    with tempfile.TemporaryDirectory() as folder:
        found["export"] = in_a_process("export", url, folder)
        again = export(folder, source=url, quiet=True)
        found["export"] |= {
            "again_written": again.written,
            "again_s": round(again.seconds, 2),
        }
        began = time.perf_counter()
        assert verify(folder) == []
        found["export"]["verify_s"] = round(time.perf_counter() - began, 2)
        candles = [p.stat().st_size for p in Path(folder).glob("candles/**/*.parquet")]
        size = sum(candles) / found["export"]["rows"]
        found["export"]["bytes_per_candle"] = round(size, 1)
    return found


def export_of_a_million(url, runs):
    """Into an empty folder each time: the median, and how much memory it took."""
    found = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            found.append(in_a_process("export", url, folder))
    return sorted(found, key=lambda run: run["seconds"])[len(found) // 2]


def timed(runs, action):
    """The median of some runs, in seconds."""
    found = []
    for _ in range(runs):
        began = time.perf_counter()
        action()
        found.append(time.perf_counter() - began)
    return round(statistics.median(found), 3)


def raw_copy(url):
    """The same columns of the same candles by libpq's COPY, thrown away."""
    binaries = find_binaries()
    query = f"COPY ({statement()}) TO STDOUT (FORMAT binary)"
    command = [str(binaries / "psql"), "-q", "-X", url, "-c", query]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def read_sql(url):
    """What pandas does with the driver that the pipeline has."""
    import pandas as pd  # noqa: PLC0415
    from sqlalchemy import create_engine, text  # noqa: PLC0415

    engine = create_engine(
        url.replace("postgresql:", "postgresql+pg8000:"),
        connect_args={"ssl_context": False},
    )
    with engine.connect() as connection:
        ordered = text(statement() + " ORDER BY stock_code, opened_at")
        pd.read_sql(ordered, connection)
    engine.dispose()


def statement():
    codes = ",".join(MILLION)
    return (
        "SELECT stock_code, opened_at, open, high, low, close, volume, turnover"
        " FROM reader.candles WHERE timeframe = '5m'"
        f" AND stock_code = ANY ('{{{codes}}}')"
    )


def in_a_process(what, *arguments):
    """Do it in a process of its own, whose memory then is that of this alone."""
    command = [sys.executable, "-m", "tests.bench.reading", what, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def iterate(url):
    from tradesmart import iter_candles  # noqa: PLC0415

    began = time.perf_counter()
    parts = iter_candles("all", "5m", session="all", end=END, source=url)
    rows = sum(map(len, parts))
    told(rows=rows, seconds=round(time.perf_counter() - began, 1))


def exported(url, folder):
    from tradesmart import export  # noqa: PLC0415

    done = export(folder, source=url, quiet=True)
    told(rows=done.rows, seconds=round(done.seconds, 2))


def told(**facts):
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    memory = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024
    json.dump(facts | {"memory_mib": memory}, sys.stdout)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["iterate", url]:
            iterate(url)
        case ["export", url, folder]:
            exported(url, folder)
        case _:
            main()
