"""The READMEs: they agree with each other and the code, and their blocks work."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from infra.local.announcement import GCLOUD, running
from infra.local.ports import REMEMBERED, USUAL
from shared.database.engine import new_engine, transaction
from shared.settings import DatabaseSettings
from tests.e2e.conftest import until
from tests.support import servers

ENGLISH, KOREAN = "README.md", "README.ko.md"
BOTH = (ENGLISH, KOREAN)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
CELL = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)#]*)(?:#([^)]*))?\)")
# The first line of what can be run in the cloud only.
CLOUD = "# cloud\n"
# Is never over, and is what runs while the others are tried.
STARTS = "make dev\n"
SECONDS = 60


def read(name):
    return (servers.ROOT / name).read_text(encoding="utf-8")


def blocks(language, name=ENGLISH):
    return [block for kind, block in BLOCK.findall(read(name)) if kind == language]


def prose(name):
    return BLOCK.sub("", read(name))


SHELL = [
    block
    for block in blocks("sh")
    if block != STARTS and not block.startswith(CLOUD) and "gcloud" not in block
]
GCLOUD_BLOCKS = [
    block for block in blocks("sh") if "gcloud" in block and not block.startswith(CLOUD)
]


def first_line(block):
    return block.splitlines()[0]


def test_both_have_the_same_blocks():
    assert BLOCK.findall(read(ENGLISH)) == BLOCK.findall(read(KOREAN))


def test_both_have_headings_and_tables_in_step():
    def shape(name):
        lines = prose(name).splitlines()
        levels = [len(match[1]) for line in lines if (match := HEADING.match(line))]
        sections = HEADING.split(prose(name))[3::3]
        rows = [len(re.findall(r"^\|", part, re.MULTILINE)) for part in sections]
        return levels, rows

    assert shape(ENGLISH) == shape(KOREAN)


def test_both_say_the_same_commands_and_messages():
    def said(name):
        found = CELL.findall(prose(name))
        return {one for one in found if one.startswith(("make ", "{", "docs/"))}

    assert said(ENGLISH) == said(KOREAN)


@pytest.mark.parametrize("name", BOTH)
def test_every_command_is_in_the_makefile(name):
    made = re.compile(r"^([a-z-]+):", re.MULTILINE)
    targets = set(made.findall(read("Makefile")))

    said = set(re.findall(r"(?:^|`)make ([a-z-]+)", read(name), re.MULTILINE))

    assert said <= targets
    assert {"dev", "status", "candles", "logs", "psql", "test", "clean"} <= said


@pytest.mark.parametrize("name", BOTH)
def test_every_link_leads_somewhere(name):
    for path, anchor in LINK.findall(prose(name)):
        assert not path or (servers.ROOT / path).exists(), path
        assert not anchor or anchor in anchors(path or name), anchor


def anchors(name):
    return {slug(title) for _, title in HEADING.findall(prose(name))}


def slug(title):
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize("block", blocks("sh"), ids=first_line)
def test_every_shell_block_is_sound(block):
    checked = subprocess.run(
        ["bash", "-n"], input=block, text=True, capture_output=True
    )

    assert checked.returncode == 0, checked.stderr


@dataclass
class Stack:
    """A stack as the README starts it, and a shell beside it."""

    directory: Path
    environ: dict[str, str]

    def shell(self, block):
        block = block.replace(".local/", f"{self.directory}/")
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=servers.ROOT,
            env=self.environ,
            timeout=SECONDS,
        )

    def query(self, statement):
        url = running(self.directory).database_url
        engine = new_engine(DatabaseSettings(url=url))
        try:
            with transaction(engine) as connection:
                return connection.execute(text(statement)).all()
        finally:
            engine.dispose()


@pytest.fixture(scope="module")
def stack():
    """``make dev``, without the set-up, which other tests try, and without the limit."""
    with servers.open_directory() as directory:
        environ = environ_of(directory)
        take_other_ports(directory)
        log = directory / "stdout"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "infra.local.dev"],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=servers.ROOT,
                env=environ | {"RATE": "off", "NOW": "2026-11-20T10:30"},
            )
        try:
            until(lambda: has_days(process, log), "the days are collected")
            yield Stack(directory, environ)
        finally:
            process.terminate()
            process.wait(timeout=SECONDS)


def take_other_ports(directory):
    """Other tests start ``make dev`` too, and may find the usual ports free as well."""
    ports = {part: servers.free_port() for part in USUAL}
    (directory / REMEMBERED).write_text(json.dumps(ports))


def has_days(process, log):
    assert process.poll() is None, log.read_text()
    return "✓ 1d" in log.read_text(encoding="utf-8")


def environ_of(directory):
    """A user's environment, with a ``make`` that takes the set-up as done."""
    tools = directory / "tools"
    tools.mkdir()
    make = tools / "make"
    binaries = Path(sys.executable).parent
    done = "-o .venv/.ready-local -o .venv/.ready"
    make.write_text(
        f'#!/bin/sh\nexec {shutil.which("make")} {done} BIN={binaries} "$@"\n'
    )
    make.chmod(0o755)
    return {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "HOME": str(directory),
        "COLUMNS": "80",
        "LOCAL_DIRECTORY": str(directory),
    }


def test_its_shell_blocks_work(stack):
    # They do not depend on each other, and those of dead letters mostly wait.
    with ThreadPoolExecutor(len(SHELL)) as pool:
        for block, done in zip(SHELL, pool.map(stack.shell, SHELL), strict=True):
            assert done.returncode == 0, block + done.stdout + done.stderr


def test_a_target_can_be_added_to_a_fresh_stack(stack):
    (adds,) = [
        line for block in SHELL for line in block.splitlines() if "add_t" in line
    ]

    assert stack.shell(adds).returncode == 0

    target = "SELECT 1 FROM stocks WHERE stock_code = '000100' AND is_target"
    until(lambda: stack.query(target), "it is a target")


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="there is no gcloud here")
@pytest.mark.parametrize("block", GCLOUD_BLOCKS, ids=first_line)
def test_its_gcloud_blocks_work(stack, block):
    assert (stack.directory / GCLOUD).exists()

    done = stack.shell(block)

    assert done.returncode == 0, done.stderr
    assert "messageIds" in done.stdout + done.stderr


@pytest.mark.parametrize("block", blocks("sql"), ids=first_line)
def test_its_queries_work(stack, block):
    for statement in filter(str.strip, block.split(";")):
        stack.query(statement)

        if any(name in statement for name in ("_candles\n", "series", "run_states")):
            until(partial(stack.query, statement), f"there are rows: {statement}")


def test_every_run_that_it_starts_ends_well(stack):
    running_now = "SELECT 1 FROM run_states WHERE state = 'running'"
    until(lambda: not stack.query(running_now), "all runs are over")

    assert not stack.query("SELECT * FROM run_states WHERE state = 'incomplete'")
