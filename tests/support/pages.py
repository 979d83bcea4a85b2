"""The commands of a document: in its blocks, and inside its sentences."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
# Stands behind what was never run.
MARK = "†"
INLINE = re.compile(rf"`([^`]+)`( {MARK})?")
SHELL = {"", "sh", "bash"}


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    is_marked: bool


@dataclass(frozen=True)
class Command:
    text: str
    is_marked: bool


def blocks_of(page):
    """The blocks of a page; one is marked by the end of the line before it."""
    blocks, last, lines = [], "", iter(page.splitlines())
    for line in lines:
        if line.startswith("```"):
            inside = []
            for each in lines:
                if each.startswith("```"):
                    break
                inside.append(each)
            text = "\n".join(inside)
            blocks.append(Block(line[3:].strip(), text, last.endswith(MARK)))
        elif line.strip():
            last = line.strip()
    return blocks


def prose_of(page):
    """A page without its blocks."""
    return re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)


def commands_of(page):
    """What a reader would type, a line each."""
    found = [
        Command(" ".join(line.split()), block.is_marked)
        for block in blocks_of(page)
        if block.language in SHELL
        for line in block.text.replace("\\\n", " ").splitlines()
        if line.strip() and not line.startswith("#")
    ]
    # In a sentence, a name alone is talked about and not typed.
    found += [
        Command(" ".join(text.split()), bool(mark))
        for text, mark in INLINE.findall(prose_of(page))
        if len(text.split()) > 2 and text.split()[0] in {"gcloud", "make", "terraform"}
    ]
    return found
