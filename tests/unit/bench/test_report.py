"""The page of the benchmarks, whatever was measured so far."""

from __future__ import annotations

import json

import pytest

from tests.bench import report
from tests.support.servers import ROOT

FOUND = json.loads((ROOT / "docs" / "benchmarks.json").read_text(encoding="utf-8"))
HEAD = {name: FOUND[name] for name in ("measured_on", "machine", "python", "runs")}


def test_the_page_in_the_repository_is_that_of_its_figures():
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")

    assert report.page(FOUND) == page


@pytest.mark.parametrize("part", report.PARTS)
def test_a_part_that_was_measured_alone_makes_a_page(part):
    page = report.page(HEAD | {part: FOUND[part]})

    assert page.startswith(report.head(HEAD))
    assert len(page) > len(report.head(HEAD)) + 100
    assert "\n\n\n" not in page


def test_every_figure_that_was_measured_is_on_the_page():
    assert set(FOUND) == {*HEAD, *report.PARTS}
