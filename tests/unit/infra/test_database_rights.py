from __future__ import annotations

import re
from pathlib import Path

from infra import topology
from infra.database_rights import FUNCTIONS, READER, role_of

MIGRATIONS = Path(__file__).parents[3] / "infra" / "migrations" / "versions"
# What only the owner writes, in functions that run with its rights.
WRITTEN_BY_THE_OWNER = {"absence_counts", "run_days", "task_days"}


def test_every_table_of_the_migrations_has_someone_who_writes_it():
    """A new table is closed to every function until it is named in the rights."""
    text = "".join(path.read_text("utf-8") for path in MIGRATIONS.glob("*.py"))
    created = set(re.findall(r"CREATE TABLE (\w+) \(", text))
    written = {
        table
        for tables in FUNCTIONS.values()
        for table, rights in tables.items()
        if rights != "SELECT"
    }

    assert created == written | WRITTEN_BY_THE_OWNER


def test_only_the_collector_writes_candles_and_only_the_owner_drops_runs():
    for role, tables in FUNCTIONS.items():
        assert ("INSERT" in tables.get("candles", "")) == (role == "collector")
        assert "DELETE" not in tables.get("runs", "") + tables.get("tasks", "")


def test_a_report_is_written_once_and_by_what_writes_nothing_else():
    written = {t: r for t, r in FUNCTIONS["daily_report"].items() if r != "SELECT"}

    assert written == {"daily_reports": "SELECT, INSERT"}
    assert [role for role in FUNCTIONS if "daily_reports" in FUNCTIONS[role]] == [
        "daily_report"
    ]


def test_no_function_but_the_one_that_syncs_it_writes_reference_data():
    for role in FUNCTIONS.keys() - {"reference_sync"}:
        for table in ("stocks", "market_sessions", "session_overrides"):
            assert FUNCTIONS[role].get(table, "SELECT") == "SELECT"


def test_every_function_signs_in_with_a_role_that_has_rights():
    for function in topology.load().functions.values():
        assert role_of(function) in {None, READER, *FUNCTIONS}
