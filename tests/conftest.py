"""What all tests share: where the repository is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def documented():
    """The names that the broker documents for each of its calls."""
    return json.loads((DATA / "kiwoom_fields.json").read_text(encoding="utf-8"))
