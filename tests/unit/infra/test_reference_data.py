from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from functions.reference_sync.reference_data import CALENDAR, target_stocks
from infra.load_stocks import read

ROOT = Path(__file__).parents[3]


# The package has not caught up with pandas.
@pytest.mark.filterwarnings("ignore:Series.values")
def test_the_calendar_is_the_one_that_is_generated():
    pytest.importorskip("exchange_calendars")
    from infra.make_calendar import generate  # noqa: PLC0415

    table = json.loads(CALENDAR.read_text(encoding="utf-8"))

    assert table == generate(int(table["first"][:4]), int(table["last"][:4]))


def test_the_targets_are_thirty():
    targets = target_stocks()

    assert len({stock.stock_code for stock in targets}) == 30
    assert [s.stock_code for s in targets if not s.listed] == ["091990"]
    assert [s.market_code for s in targets].count("0") == 20


def imported(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def test_no_function_imports_what_only_development_needs():
    heavy = {
        "pandas",
        "exchange_calendars",
        "numpy",
        "infra",
        "alembic",
        "yaml",
        "rich",
    }

    for folder in ("functions", "shared"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not heavy & set(imported(path)), path


def test_a_master_is_read_from_files(tmp_path):
    entry = {"name": "동화약품", "marketCode": "0", "regDay": "19760324"}
    master = {"000020": entry, "069500": entry | {"marketCode": "8"}, "20": entry}
    (tmp_path / "kospi_code.json").write_text(json.dumps(master), encoding="utf-8")

    (stock,) = read(tmp_path)

    assert (stock.stock_code, stock.stock_name, stock.market_name) == (
        "000020",
        "동화약품",
        "거래소",
    )


def test_a_folder_without_a_master_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="kospi_code.json"):
        read(tmp_path)
