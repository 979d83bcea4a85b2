"""A ledger as months of ticks leave it, written in a few seconds."""

from __future__ import annotations

from sqlalchemy import text

RUNS = text("""
    INSERT INTO runs (run_id, message_id, trigger, requested_at, written_at, published_at)
    SELECT md5(n::text), n::text, '{"timeframe":"5m"}', at, at, at
    FROM generate_series(1, :runs) AS n
    CROSS JOIN LATERAL (
        SELECT clock_timestamp() - cast(:age AS interval) * n / :runs AS at
    ) AS recorded
""")
# One task in a hundred is dead; the rest of the columns is as ticks leave them.
TASKS = text("""
    INSERT INTO tasks (run_id, stock_code, timeframe, request, state, attempts, requests,
                       unchanged, inserted, error_code, error_message, started_at,
                       finished_at)
    SELECT run_id, lpad(stock::text, 6, '0'), '5m',
           jsonb_build_object('run_id', run_id, 'timeframe', '5m', 'mode',
                              'incremental', 'stock_code', lpad(stock::text, 6, '0')),
           CASE WHEN is_dead THEN 'dead' ELSE 'done' END, 1, 1, 79, 1,
           CASE WHEN is_dead THEN 'kiwoom_1511' END, CASE WHEN is_dead THEN 'no' END,
           written_at, written_at + interval '2 seconds'
    FROM runs CROSS JOIN generate_series(1, :stocks) AS stock
    CROSS JOIN LATERAL (
        SELECT mod(hashtext(run_id) + stock, 100) = 0 AS is_dead
    ) AS ended
""")


def fill(engine, *, runs, stocks, days):
    """Record ``runs`` of ``stocks`` tasks each, evenly over the last ``days``."""
    values = {"runs": runs, "stocks": stocks, "age": f"{days} days"}
    with engine.begin() as connection:
        connection.execute(RUNS, values)
        connection.execute(TASKS, values)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE runs, tasks"))
