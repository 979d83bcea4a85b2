"""What was measured, as a page to read: ratios first."""

from __future__ import annotations

from tests.bench.ledger import DAYS


def page(found):
    """The whole page; a part that was never measured is left out."""
    told = [head(found)]
    told += [tell(found) for name, tell in PARTS.items() if name in found]
    return "\n\n".join(told).rstrip() + "\n"


def head(found):
    return f"""# Benchmarks

Written by `make bench` on {found["measured_on"]}: {found["machine"]}, Python
{found["python"]}, everything on one machine, which did other work at times. Medians of
{found["runs"]} runs; compare ratios, not absolutes. The raw numbers are in
`benchmarks.json`."""


def browsing(found):
    seconds = found["browser"]
    return f"""## The page in a browser

2,700 stocks, a fresh tab of Chromium each time, the function warm. Wanted: painted within
0.5 s, the map ready within 1.5 s.

| page | s |
|---|---|
| the overview is painted | {seconds["overview_painted"]} |
| the map's page is painted | {seconds["map_painted"]} |
| 60 sessions are there | {seconds["map_60_ready"]} |
| 250 sessions are there | {seconds["map_250_ready"]} |"""


def storing(found):
    upsert = found["upsert"]
    rows = "\n".join(
        f"| {name} | {rate:,} |" for name, rate in upsert["rows_per_second"].items()
    )
    return f"""## Storing candles

**{upsert["ours_to_orm"]} ×** the usual ORM way (read the known instants, `add_all` the
rest), **{upsert["ours_to_copy"]} ×** raw `COPY` in the same batches,
{upsert["ours_to_executemany"]} × `executemany`. Unchanged rows that were rewritten:
**{upsert["unchanged_rows_rewritten"]}**.

{upsert["rows"]:,} candles in pages of 900, one transaction a page, durable.

| way | rows/s |
|---|---|
{rows}
| ours, nothing has changed | {upsert["unchanged_rows_per_second"]:,} |"""


def sealed(found):
    sealing = found["sealing"]
    ratios = sealing["ratios"]
    without, sealed = sealing["milliseconds"]["morning"]
    return f"""With the seals of the sessions, storing takes **{ratios["first_load"]} ×** the CPU time where
{sealing["candles"]:,} candles of a year are loaded in one transaction,
**{ratios["morning"]} ×** in the morning when a session settles ({without} ms become {sealed}, once
a day for each series), and {ratios["tick"]} × at a tick, which seals nothing."""


def remembering(found):
    ledger = found["ledger"]
    return f"""## The ledger

With {ledger["tasks"]:,} tasks, 30 a run, over {DAYS} days: the newest 20 of `run_states`
in **{ledger["newest_runs_ms"]} ms** (and in {ledger["newest_market_runs_ms"]} ms where each run
is a tick of 2,700 stocks), what `make status` reads in {ledger["status_ms"]} ms,
a day of `ledger_days` in {ledger["one_day_ms"]} ms. Pruning removed
{ledger["pruned_tasks"]:,} tasks in {ledger["pruning_seconds"]} s."""


def looking(found):
    page = found["page"]
    start = found.get("cold_start", {}).get("status_page")
    cold = (
        f" A cold process answers after {start['to_empty']} × an empty one."
        if start
        else ""
    )
    return f"""## The status page of a whole market

{page["stocks"]:,} stocks in five timeframes with {page["sessions"]} sessions of seals, one in ten thin.
Each answer is computed: the ETag has changed.{cold}

| answer | ms | budget |
|---|---|---|
| `/` for the first time in an instance | {page["first_overview_ms"]} | |
| `/` | **{page["overview_ms"]}** | 150 |
| `/api/status` | {page["status_ms"]} | |
| `/api/coverage/5m`, 60 sessions | **{page["map_60_ms"]}** | 300 |
| `/api/coverage/5m`, 250 sessions | **{page["map_250_ms"]}** | 1,000 |
| `/api/coverage/1d`, 250 sessions | {page["map_250_days_ms"]} | 1,000 |
| what the ETag is made of | **{page["etag_ms"]}** | 5 |"""


def starting(found):
    rows = "\n".join(
        f"| {name} | {start['to_empty']} × | {start['first_answer_ms']:,} | {start['memory_mib']} |"
        for name, start in found["cold_start"].items()
    )
    return f"""## Cold starts

From the start of the process to the answer to its first message, which does real work
(the collector's: one request to the broker, and its candles stored), against an empty
function under the Functions Framework. Memory is that of both of gunicorn's processes,
shared pages counted once.

| function | to an empty one | first answer, ms | memory, MiB |
|---|---|---|---|
{rows}"""


def asking(found):
    slots = found["slots"]
    return f"""## Request slots

{slots["processes"]} processes that always have work, at {slots["rate"]}/s: utilisation
**{slots["utilisation"]:.1%}**, at most **{slots["most_in_any_second"]}** requests in any
second that begins with one. Without waiting, {slots["slots_per_second"]:,} slots/s can be
given out."""


def running(found):
    run = found["targets"]
    return f"""## The first load of the targets

{run["tasks"]} tasks, trigger to rows, through real processes without the broker's limit:
{run["tasks_per_second"]} tasks/s, {run["candles_per_second"]:,} candles/s.
{run["requests"]} requests were sent; {run["least_requests"]} pages hold what was stored:
**{run["requests"] / run["least_requests"]:.3f} ×**."""


def everything(found):
    return f"""## The whole market, daily, five years, without the limit

{_market(found["whole_market"])}"""


def limited(found):
    return f"""## Daily, one year, at the broker's limit

{_market(found["limited"])}

Of the pace of 4 requests/s, **{found["limited"]["utilisation"]:.1%}** were used from the
first to the last task."""


def reading(found):
    read = found["reading"]
    export, parts = read["export"], read["iterated"]
    return f"""## Reading and exporting

`read_candles` of {read["rows"]:,} 5-minute candles, sorted, judged and as a frame:
**{read["to_read_sql"]} ×** `pandas.read_sql` with the pipeline's driver,
**{read["to_raw_copy"]} ×** a raw binary `COPY` by psql whose output is thrown away.
One stock-year of 5-minute candles, with the connection: **{read["stock_year_ms"]} ms**.

| way | seconds |
|---|---|
| `COPY`, thrown away | {read["raw_copy_s"]} |
| `read_arrow` | {read["read_arrow_s"]} |
| `read_candles` | {read["read_candles_s"]} |
| `read_candles` by binary `COPY` over pg8000 | {read["binary_copy_s"]} |
| `pandas.read_sql` over pg8000 | {read["read_sql_s"]} |

`iter_candles` of the whole market, {parts["rows"]:,} candles: {parts["seconds"]} s,
{parts["memory_mib"]} MiB at most. Its export to Parquet, every seal recomputed:
{export["seconds"]} s, {export["memory_mib"]} MiB, {export["bytes_per_candle"]} bytes a candle
(of made-up prices). Once more without a change: {export["again_s"]} s and
{export["again_written"]} files. `verify`: {export["verify_s"]} s.{million(read)}"""


def million(read):
    if "million" not in read:
        return ""
    rows, seconds = read["million"]["rows"], read["million"]["seconds"]
    return f"""

A database of {rows:,} candles to Parquet, every seal recomputed: **{seconds} s**."""


def lanes(found):
    lanes = found["lanes"]
    load, backfill, great = (
        lanes[part] for part in ("first_load", "backfill", "great_tick")
    )
    kept = ", ".join(
        f"{call} {share:.1%}" for call, share in backfill["backfill_keeps"].items()
    )
    return f"""## Live work beside history, at the broker's limit

Pushes as in the cloud: slow start, back-off, places that may be taken. A bound is the
requests of the busiest call at {load["pace"]} a second.

The first load of the targets in all timeframes: {load["seconds"]} s,
**{load["to_bound"]} ×** its bound.

Ticks of the targets in three calls at once, beside backfills of the whole market in the
same calls. The ticks may take 1.25 times their bound and 5 s. Of what they leave of
the limit, the backfills have **{kept}**. Calls that were refused with 429:
{backfill["refused_with_429"]}.

{_ticks(backfill["ticks"])}

A daily tick of {great["stocks"]:,} stocks takes {great["great_tick_to_bound"]} × its
bound. Ticks of the targets meanwhile:

{_ticks(great["ticks"])}"""


def _ticks(ticks):
    rows = "\n".join(
        f"| {frame} | {tick['ticks']} | {tick['requests']} | {tick['bound_seconds']} "
        f"| {tick['allowed_seconds']} | **{tick['p95_seconds']}** "
        f"| {tick['most_seconds']} |"
        for frame, tick in ticks.items()
    )
    return f"""| tick | how many | requests | bound, s | allowed, s | p95, s | most, s |
|---|---|---|---|---|---|---|
{rows}"""


def _market(run):
    memory = "\n".join(
        f"| {name} | {used['halfway']} | {used['most']} |"
        for name, used in run["memory_mib"].items()
    )
    return f"""{run["stocks"]:,} stocks, {run["done"]:,} done, {run["dead"]} dead, in
{run["seconds"]:,} s: {run["stocks_per_second"]} stocks/s,
{run["candles_per_second"]:,} candles/s, {run["requests_per_second"]} requests/s.
Calls refused with 429: {run["refused_with_429"]}. Database connections: at most
{run["most_connections"]} of a budget of {run["pool_budget"]}.

| function | MiB halfway | MiB at most |
|---|---|---|
{memory}"""


# In their order on the page, by what was measured.
PARTS = {
    "upsert": storing,
    "sealing": sealed,
    "ledger": remembering,
    "page": looking,
    "cold_start": starting,
    "slots": asking,
    "targets": running,
    "whole_market": everything,
    "limited": limited,
    "lanes": lanes,
    "reading": reading,
    "browser": browsing,
}
