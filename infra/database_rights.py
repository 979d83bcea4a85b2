"""Who may do what in the database: a role for each function that writes, one to read.

A function with ``database: write`` in ``pipeline.yaml`` is a member of the role that is
named after its source; one with ``database: read`` is a ``reader``, as people are. None
of them owns a table: only the account of ``make migrate`` has that power.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infra.topology import Function

READER = "reader"

# What each role may do with each table; a table that is not named is closed to it.
FUNCTIONS: dict[str, dict[str, str]] = {
    "dispatcher": {
        "calendar_state": "SELECT",
        "market_sessions": "SELECT",
        "runs": "SELECT, INSERT, UPDATE",
        "series": "SELECT",
        "session_overrides": "SELECT",
        "stocks": "SELECT",
        "tasks": "SELECT, INSERT",
    },
    "collector": {
        "absent_slots": "SELECT, INSERT, UPDATE, DELETE",
        "broken_seals": "SELECT, INSERT, UPDATE, DELETE",
        # Only what may be updated can be locked, and this column has only one value.
        "calendar_state": "SELECT, UPDATE (only_row)",
        "candles": "SELECT, INSERT, UPDATE, DELETE",
        "corporate_actions": "SELECT, INSERT",
        "market_sessions": "SELECT",
        "quarantine": "SELECT, INSERT",
        "rate_slots": "SELECT, INSERT, UPDATE",
        "revisions": "INSERT",
        # Runs and tasks, too: the rebuilds that follow from a corporate action.
        "runs": "SELECT, INSERT, UPDATE",
        "series": "SELECT, INSERT, UPDATE",
        "session_overrides": "SELECT",
        "session_seals": "SELECT, INSERT, UPDATE, DELETE",
        "staged_chains": "SELECT, INSERT, UPDATE, DELETE",
        "staged_pages": "SELECT, INSERT",
        "stocks": "SELECT",
        "tasks": "SELECT, INSERT, UPDATE",
    },
    "daily_report": {
        "absence_counts": "SELECT",
        "calendar_state": "SELECT",
        "candles": "SELECT",
        "corporate_actions": "SELECT",
        # Written once: what a report says cannot be changed.
        "daily_reports": "SELECT, INSERT",
        "market_sessions": "SELECT",
        "quarantine": "SELECT",
        "rate_slots": "SELECT",
        "revisions": "SELECT",
        "runs": "SELECT",
        "series": "SELECT",
        "session_overrides": "SELECT",
        "session_seals": "SELECT",
        "stocks": "SELECT",
        "tasks": "SELECT",
    },
    "reference_sync": {
        # A code that is listed again begins anew; a day that was closed has no candles.
        "absent_slots": "SELECT, DELETE",
        "broken_seals": "SELECT, DELETE",
        "calendar_state": "SELECT, INSERT, UPDATE",
        "candles": "SELECT, DELETE",
        "former_candles": "SELECT, INSERT",
        "former_listings": "SELECT, INSERT",
        "market_sessions": "SELECT, INSERT, UPDATE, DELETE",
        "quarantine": "SELECT, INSERT",
        "rate_slots": "SELECT, INSERT, UPDATE",
        "series": "SELECT, INSERT, UPDATE, DELETE",
        "session_overrides": "SELECT, INSERT, UPDATE, DELETE",
        "session_seals": "SELECT, INSERT, UPDATE, DELETE",
        "staged_chains": "SELECT, DELETE",
        "stocks": "SELECT, INSERT, UPDATE",
    },
}
# Who may call what runs with the rights of the tables' owner: the ledger is pruned by a
# function that has no right to write it.
ROUTINES = {"prune_ledger": ["reference_sync"]}
ROLES = (READER, *FUNCTIONS)


def role_of(function: Function) -> str | None:
    """The role that a function signs in with, None for one without a database."""
    if function.database == "none":
        return None
    return READER if function.database == "read" else function.source


def in_database(role: str) -> str:
    """How the server knows a role: roles belong to it, not to one database."""
    return f"pipeline_{role}"
