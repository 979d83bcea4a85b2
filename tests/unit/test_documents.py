"""What the documents name exists, and the decisions have one form."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.errors import remedies
from shared.events import Event
from shared.pubsub.dead_letters import UNDELIVERABLE

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


RUNBOOK = text_of(ROOT / "docs/runbook.md")
ENTRY = re.compile(
    r"### (\w+)\n\n- Meaning: (.+)\n- See it: `(.+)`\n- What to do: (.+)\n- Command: `(.+)`\n"
)
# What others derive from, and what is never raised itself.
FAMILIES = {"pipeline_error", "permanent", "transient", "postponed"}


def chapter(title):
    """A chapter of the runbook, from its heading to the next one."""
    return re.split(r"^# ", RUNBOOK.partition(f"# {title}\n")[2], flags=re.MULTILINE)[0]


def test_every_error_has_its_entry_in_the_runbook_and_every_entry_its_error():
    """Meaning, how to see it, what to do, command; what to do is the remedy."""
    errors = chapter("What each error_code means")
    told = {code: remedy for code, _, _, remedy, _ in ENTRY.findall(errors)}
    known = {code: text for code, text in remedies().items() if code not in FAMILIES}

    assert len(told) == errors.count("### ")
    # Pub/Sub's own, which no class stands for.
    assert told.pop(UNDELIVERABLE)
    assert {code: text.replace("`", "") for code, text in told.items()} == {
        code: f"{remedy[0].upper()}{remedy[1:]}." for code, remedy in known.items()
    }


def test_every_alert_has_its_section_in_the_runbook_and_every_section_its_alert():
    monitoring = text_of(ROOT / "infra/terraform/monitoring.tf")
    alerts = set(
        re.findall(r"^    ([a-z-]+) += \{\n      title ", monitoring, re.MULTILINE)
    )
    sections = re.findall(r"^## (.+)$", chapter("When an alert arrives"), re.MULTILINE)

    assert len(alerts) >= 12
    assert set(sections) == alerts


def test_every_link_of_the_runbook_leads_somewhere():
    titles = re.findall(r"^#+ (.+)$", RUNBOOK, re.MULTILINE)
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles
    }

    assert set(re.findall(r"\]\(#([^)]+)\)", RUNBOOK)) <= anchors


def test_every_event_of_the_log_is_in_the_runbook():
    log = chapter("What the log says")

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
