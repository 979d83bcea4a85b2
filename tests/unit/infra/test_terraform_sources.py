"""The stack reads well, which needs no terraform to be seen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TERRAFORM = Path(__file__).parents[3] / "infra" / "terraform"
SOURCES = sorted(TERRAFORM.glob("*.tf"))
DECLARED = re.compile(
    r'^(?:variable|output) "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL
)


def text_of(source):
    return source.read_text(encoding="utf-8")


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_no_line_is_longer_than_a_screen_is_wide(source):
    lines = text_of(source).splitlines()

    assert [line for line in lines if len(line) > 100] == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_no_line_has_tabs_or_ends_with_spaces(source):
    assert re.findall(r"\t| +$", text_of(source), re.MULTILINE) == []


def test_every_variable_and_output_says_what_it_is():
    declared = [
        pair for source in SOURCES for pair in DECLARED.findall(text_of(source))
    ]

    assert len(declared) > 20
    for name, body in declared:
        assert re.search(r'^  description = ".{15,}"$', body, re.MULTILINE), name


def test_variables_are_sorted_by_their_names():
    names = re.findall(
        r'^variable "(\w+)"', text_of(TERRAFORM / "variables.tf"), re.MULTILINE
    )

    assert names == sorted(names)
