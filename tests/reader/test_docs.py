"""Every Python block of the documents works, in its order, as a reader would try it."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec

import pytest

from tests.support import servers
from tradesmart import IncompleteData, read_candles

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEXT = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCUMENTS = [
    path
    for path in (
        *servers.ROOT.glob("*.md"),
        *servers.ROOT.glob("docs/*.md"),
        servers.ROOT / "reader" / "README.md",
    )
    if BLOCK.search(path.read_text(encoding="utf-8"))
]
RECIPES = servers.ROOT / "docs" / "recipes.md"
DOCUMENTS.remove(RECIPES)
SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
IMPORTED = re.compile(r"^(?:from|import) (\w+)", re.MULTILINE)
NOTEBOOK = servers.ROOT / "docs" / "pattern-model.ipynb"
READING = servers.ROOT / "docs" / "reading.md"


@pytest.fixture
def reader(market, monkeypatch, tmp_path):
    monkeypatch.setenv("TRADESMART_SOURCE", market)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_its_python_blocks_work(document, reader):
    names = {}

    for number, block in enumerate(BLOCK.findall(document.read_text(encoding="utf-8"))):
        code = compile(block, f"{document.name}, block {number}", "exec")
        exec(code, names)


# What a library of someone else's is warned of is not ours to mend.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("library", "section"),
    [
        pytest.param(*found, id=found[0])
        for found in SECTION.findall(RECIPES.read_text(encoding="utf-8"))
    ],
)
def test_the_recipe_works(library, section, reader):
    names = {}

    for block in BLOCK.findall(section):
        for module in IMPORTED.findall(block):
            if find_spec(module) is None:
                pytest.skip(f"{module} is not installed here")
        exec(compile(block, library, "exec"), names)


def test_the_notebook_works(reader, capsys):
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    names = {}

    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec(compile("".join(cell["source"]), NOTEBOOK.name, "exec"), names)

    assert 0 < names["hits"] < 1
    assert "in the right direction" in capsys.readouterr().out


def test_what_chart_data_did_is_done(reader):
    _, _, table = READING.read_text(encoding="utf-8").partition("| ChartData |")
    examples = re.findall(r"\| `([^|`]+)` \|$", table, re.MULTILINE)
    frame = read_candles("005930", "5m", "2026-11-16", "2026-11-21")
    days = read_candles(["005930", "000660"], "1d", "2026-11-02", "2026-11-21")

    assert len(examples) == 8
    for example in examples:
        assert eval(example, {"frame": frame, "days": days}), example


def test_what_an_error_looks_like_is_what_it_looks_like(reader):
    told = next(
        text
        for text in TEXT.findall(READING.read_text(encoding="utf-8"))
        if "not asked" in text
    )

    with pytest.raises(IncompleteData) as caught:
        read_candles("005930", "5m", "2026-08-27", "2026-09-05")

    assert str(caught.value) == told.rstrip("\n")
