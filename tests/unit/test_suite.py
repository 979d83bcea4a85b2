"""``make test`` runs every test, and tells of each that it skips."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = [*ROOT.glob("tests/**/test_*.py")]


def test_every_folder_of_tests_is_run():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^test:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe

    folders = {"/".join(path.relative_to(ROOT).parts[:2]) for path in MODULES}

    assert len(folders) > 3
    assert folders <= set(recipe[1].split())


def test_what_is_tested_alone_is_run_as_well():
    """``make test`` looks for it among the whole stacks."""
    alone = re.compile(r"pytest\.mark\." "alone")

    found = {
        path.parent.name
        for path in MODULES
        if alone.search(path.read_text(encoding="utf-8"))
    }

    assert found == {"e2e"}


def test_no_module_is_skipped_as_a_whole():
    """No other test can import it then, and workers do not tell of it."""
    skipping = re.compile(r"allow_module_level" "=True")

    assert [
        path for path in MODULES if skipping.search(path.read_text(encoding="utf-8"))
    ] == []
