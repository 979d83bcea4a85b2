"""The zips that are deployed: repeatable, complete, and started for real."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import requests

from infra import package, topology
from infra.local.processes import Child, free_port
from tests.support import servers
from tests.support.pushes import body

TOPOLOGY = topology.load()


def test_the_same_sources_make_the_same_bytes(tmp_path):
    first = package.build(TOPOLOGY, tmp_path / "first")
    for path in (servers.ROOT / "shared").glob("*.py"):
        os.utime(path)
    second = package.build(TOPOLOGY, tmp_path / "second")

    assert first == second
    for name in first.values():
        one, other = tmp_path / "first" / name, tmp_path / "second" / name
        assert one.read_bytes() == other.read_bytes()


# Functions of one source have one zip.
SOURCES = {function.source: function for function in TOPOLOGY.functions.values()}


@pytest.mark.parametrize("name", SOURCES)
def test_a_zip_has_what_its_function_needs_and_nothing_of_others(name):
    content = package.package(SOURCES[name])
    names = set(zipfile.ZipFile(io.BytesIO(content)).namelist())

    assert {"main.py", "requirements.txt", f"functions/{name}/main.py"} <= names
    assert "shared/errors.py" in names
    assert "functions/__init__.py" in names
    others = SOURCES.keys() - {name}
    assert not [n for n in names for other in others if f"functions/{other}/" in n]
    assert not [
        n for n in names if "__pycache__" in n or n.startswith(("tests", "infra"))
    ]


def test_a_vendored_library_travels_with_its_license_and_its_notice():
    content = package.package(SOURCES["status_page"])
    names = zipfile.ZipFile(io.BytesIO(content)).namelist()

    for file in ("js", "LICENSE.txt", "NOTICE.txt"):
        assert f"functions/status_page/static/lightweight-charts.{file}" in names


# What each function has no business with, though another one has.
UNUSED = {
    "dispatcher": ["shared/kiwoom", "shared/token_vault.py"],
    "collector": ["shared/database/stock_store.py", "shared/kiwoom/auth.py"],
    "reference_sync": ["shared/database/candle_store.py", "shared/kiwoom/charts.py"],
    "daily_report": ["shared/kiwoom", "shared/token_vault.py"],
    "token_refresher": ["shared/database", "shared/kiwoom/charts.py"],
}


@pytest.mark.parametrize("name", UNUSED)
def test_a_zip_carries_no_module_that_its_function_does_not_import(name):
    content = package.package(SOURCES[name])
    names = zipfile.ZipFile(io.BytesIO(content)).namelist()

    assert not [n for n in names for unused in UNUSED[name] if n.startswith(unused)]


def test_an_import_inside_a_function_counts_and_one_for_type_checkers_does_not(
    tmp_path,
):
    module = tmp_path / "module.py"
    module.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from shared.candles import Candle\n"
        "def late():\n    from shared.clock import new_clock\n"
    )

    found = {path.name for path in package.imported_by(module)}

    assert "clock.py" in found
    assert "candles.py" not in found


@pytest.mark.parametrize("name", SOURCES)
def test_every_module_of_a_zip_can_be_imported_from_the_zip_alone(name, tmp_path):
    source = tmp_path / "workspace"
    archive = zipfile.ZipFile(io.BytesIO(package.package(SOURCES[name])))
    archive.extractall(source)
    modules = [
        file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for file in archive.namelist()
        if file.endswith(".py")
    ]
    command = f"import importlib\nfor m in {modules}: importlib.import_module(m)"

    done = subprocess.run(
        [sys.executable, "-c", command],
        capture_output=True,
        text=True,
        cwd=source,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(source)},
    )

    assert done.returncode == 0, done.stderr


def test_the_job_has_all_migrations_and_nothing_of_the_local_stack():
    archive = zipfile.ZipFile(io.BytesIO(package.package_migration()))
    names = set(archive.namelist())

    assert {"Procfile", "requirements.txt", "infra/migrate.py"} <= names
    assert "infra/migrations/versions/0001_the_tables.py" in names
    assert not [n for n in names if n.startswith(("infra/local", "tests"))]
    assert b"\nmigrate: python -m infra.migrate\n" in archive.read("Procfile")


def test_the_job_migrates_from_its_zip_alone(tmp_path, postgres):
    zipfile.ZipFile(io.BytesIO(package.package_migration())).extractall(tmp_path)

    done = subprocess.run(
        [sys.executable, "-m", "infra.migrate"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(tmp_path),
            "DATABASE_URL": postgres.create("job"),
        },
    )

    postgres.drop("job")
    assert done.stdout == "the database is up to date\n", done.stderr


@pytest.mark.parametrize("name", SOURCES)
def test_a_zip_starts_alone_and_answers_a_push(name, tmp_path):
    """No path leads to the checkout, and another ``shared`` lies in wait."""
    function = SOURCES[name]
    source = tmp_path / "workspace"
    zipfile.ZipFile(io.BytesIO(package.package(function))).extractall(source)
    stranger = tmp_path / "elsewhere" / "shared"
    stranger.mkdir(parents=True)
    (stranger / "__init__.py").write_text("raise ImportError('not ours')")
    port = free_port()
    child = Child(
        name,
        [
            str(Path(sys.executable).with_name("functions-framework")),
            *("--source", str(source / "main.py"), "--target", function.entry_point),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
        log=tmp_path / "log",
        # As the buildpack does it: the workspace first, whatever else there is.
        environ={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{source}:{tmp_path / 'elsewhere'}",
            **TOPOLOGY.environment,
            **function.environment,
        },
        cwd=source,
    )
    try:
        child.wait_for_port(port)
        # Without its settings it says which ones are missing: it is ours that runs.
        answer = requests.post(
            f"http://127.0.0.1:{port}/projects/p/topics/t",
            json=body(b"{}", "1"),
            timeout=30,
        )
        deadline = time.monotonic() + 10
        while "misconfigured" not in (text := child.log.read_text()):
            assert time.monotonic() < deadline, text
            time.sleep(0.05)
    finally:
        child.stop()

    assert answer.status_code == 503
    assert "GOOGLE_CLOUD_PROJECT is missing" in answer.text + text
    assert str(servers.ROOT) not in text
