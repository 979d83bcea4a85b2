"""The events that the functions write to their logs, one line each.

Metrics, alerts, the dashboard and the runbook name them; a test compares them all.
"""

from __future__ import annotations

from enum import StrEnum


class Event(StrEnum):
    """The name of a log line; its facts are fields beside it."""

    # dispatcher
    DISPATCHED = "dispatched"
    NO_SESSION = "no_session"
    SUPERSEDED = "superseded"
    LATE_SERIES = "late_series"
    STALE_SERIES = "stale_series"
    HEARTBEAT = "heartbeat"
    # collector
    COLLECTED = "collected"
    NO_TRADES = "no_trades"
    # reference_sync
    REFERENCE_SYNCED = "reference_synced"
    CALENDAR_HORIZON_NEAR = "calendar_horizon_near"
    STOCK_ROWS_SKIPPED = "stock_rows_skipped"
    STOCKS_LISTED_TWICE = "stocks_listed_twice"
    HISTORY_ARCHIVED = "history_archived"
    TARGET_CHANGED = "target_changed"
    LEDGER_PRUNED = "ledger_pruned"
    # daily_report
    DAILY_REPORT = "daily_report"
    REPORT_KEPT = "report_kept"
    # token_refresher
    TOKEN_REFRESHED = "token_refreshed"  # noqa: S105 - a name
    TOKEN_KEPT = "token_kept"  # noqa: S105 - a name
    TOKEN_CONTESTED = "token_contested"  # noqa: S105 - a name
    # every function
    BUSY = "busy"
    WILL_RETRY = "will_retry"
    DEAD_LETTER = "dead_letter"
    MISCONFIGURED = "misconfigured"
    TOKEN_NOT_REQUESTED = "token_not_requested"  # noqa: S105 - a name
    UNFORESEEN = "unforeseen"
