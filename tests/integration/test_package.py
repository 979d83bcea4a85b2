"""The zips that are deployed: repeatable, complete, and started for real."""

from __future__ import annotations

import io
import os
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


@pytest.mark.parametrize("name", TOPOLOGY.functions)
def test_a_zip_has_what_its_function_needs_and_nothing_of_others(name):
    content = package.package(TOPOLOGY.functions[name])
    names = set(zipfile.ZipFile(io.BytesIO(content)).namelist())

    assert {"main.py", "requirements.txt", f"functions/{name}/main.py"} <= names
    assert "shared/errors.py" in names
    others = TOPOLOGY.functions.keys() - {name}
    assert not [n for n in names for other in others if f"functions/{other}/" in n]
    assert not [
        n for n in names if "__pycache__" in n or n.startswith(("tests", "infra"))
    ]


def test_migrations_have_a_folder_of_their_own(tmp_path):
    package.build_migrations(tmp_path / "migrate")

    found = {
        path.relative_to(tmp_path / "migrate").as_posix()
        for path in (tmp_path / "migrate").rglob("*")
        if path.is_file()
    }
    assert {"Procfile", "requirements.txt", "infra/migrate.py"} <= found
    assert "infra/migrations/versions/0001_the_tables.py" in found
    requirements = (tmp_path / "migrate" / "requirements.txt").read_text()
    assert "-r runtime-requirements.txt" in requirements
    assert "runtime-requirements.txt" in found


@pytest.mark.parametrize("name", TOPOLOGY.functions)
def test_a_zip_starts_alone_and_answers_a_push(name, tmp_path):
    """No path leads to the checkout, and another ``shared`` lies in wait."""
    function = TOPOLOGY.functions[name]
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
        while "ConfigError" not in (text := child.log.read_text()):
            assert time.monotonic() < deadline, text
            time.sleep(0.05)
    finally:
        child.stop()

    assert answer.status_code == 500
    assert "GOOGLE_CLOUD_PROJECT is missing" in text
    assert str(source / "functions" / name / "main.py") in text
    assert str(source / "shared" / "settings.py") in text
    assert str(servers.ROOT / "shared") not in text
