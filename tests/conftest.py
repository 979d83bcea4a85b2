"""What all tests share, and what is said of those that this machine cannot run."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.contracts")

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def documented():
    """The names that the broker documents for each of its calls."""
    return json.loads((DATA / "kiwoom_fields.json").read_text(encoding="utf-8"))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter):
    """One line for each reason to skip, however many tests have it."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in skipped
    )
    for reason, count in reasons.items():
        terminalreporter.write_line(f"SKIPPED {count} {reason}")
