from __future__ import annotations

import re
from pathlib import Path

VERSIONS = Path(__file__).parents[3] / "infra/migrations/versions"


def test_each_migration_follows_the_one_before():
    """Two of one number, and Alembic would run only one of them."""
    stated = re.compile(r'^(?:down_)?revision = "?(\w+)"?$', re.MULTILINE)
    chain = [
        stated.findall(path.read_text(encoding="utf-8"))
        for path in sorted(VERSIONS.glob("0*.py"))
    ]

    numbers = [f"{n:04}" for n in range(1, len(chain) + 1)]
    assert chain == list(map(list, zip(numbers, ["None", *numbers], strict=False)))
