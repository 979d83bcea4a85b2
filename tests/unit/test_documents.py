"""What the documents name exists, and the decisions have one form."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.events import Event

ROOT = Path(__file__).parents[2]
DECISIONS = sorted(ROOT.glob("docs/decisions/*.md"))
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *DECISIONS]
PARTS = ["Context", "Options", "Decision", "Consequences"]
DATED = re.compile(
    r"20\d\d-\d\d-\d\d(, amended 20\d\d-\d\d-\d\d)? · (accepted|superseded by \d+).*"
)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
FILE = re.compile(r"`((?:docs|functions|shared|infra|tests)/[\w./-]+)`")
COMMAND = re.compile(r"(?:`|^)make ([a-z-]+)", re.MULTILINE)
TARGET = re.compile(r"^([a-z-]+):", re.MULTILINE)
TABLE = re.compile(r"CREATE TABLE (\w+)")
PARTITIONS = {"candles_"}


def text_of(path):
    return path.read_text(encoding="utf-8")


def name_of(path):
    return path.stem[:4] if path in DECISIONS else path.name


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_command_is_in_the_makefile(document):
    targets = set(TARGET.findall(text_of(ROOT / "Makefile")))

    assert set(COMMAND.findall(text_of(document))) <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_file_exists(document):
    text = text_of(document)

    assert [
        to for to in LINK.findall(text) if not (document.parent / to).exists()
    ] == []
    assert [name for name in FILE.findall(text) if not (ROOT / name).exists()] == []


def test_every_table_is_described():
    migrations = ROOT.glob("infra/migrations/versions/*.py")
    created = {name for path in migrations for name in TABLE.findall(text_of(path))}
    tables = text_of(ROOT / "docs/architecture.md").partition("## The tables")[2]
    described = re.findall(r"^\| `(\w+)` \|", tables, re.MULTILINE)

    assert set(described) == created - PARTITIONS


def test_every_event_of_the_log_is_in_the_runbook():
    log = text_of(ROOT / "docs/runbook.md").partition("# What the log says")[2]

    assert re.findall(r"^\| `(\w+)` \| [A-Z]+ \|", log, re.MULTILINE) == list(Event)


def test_every_event_that_terraform_counts_is_written():
    monitoring = text_of(ROOT / "infra/terraform/monitoring.tf")
    counted = re.findall(r'event += +"\(?([\w|]+)\)?"', monitoring)

    assert counted
    assert {name for names in counted for name in names.split("|")} <= set(Event)


@pytest.mark.parametrize("decision", DECISIONS, ids=name_of)
def test_every_decision_has_the_same_form(decision):
    text = text_of(decision)
    title, _, dated = text.splitlines()[:3]

    assert re.fullmatch(rf"# {int(name_of(decision))}\. \S.*", title)
    assert DATED.fullmatch(dated)
    assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == PARTS


def test_decisions_are_numbered_without_a_gap():
    numbers = [int(name_of(path)) for path in DECISIONS]

    assert numbers == list(range(1, len(numbers) + 1))
