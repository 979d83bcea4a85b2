"""``make dev ONCE=1`` as a user runs it: one command, and nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from infra.local.announcement import NotRunning, running
from infra.local.postgres import Postgres
from infra.local.processes import Child
from infra.local.stack import PROJECT, ROOT
from shared.database.engine import new_engine, transaction
from shared.pubsub.publisher import Publisher
from shared.settings import DatabaseSettings
from tests.e2e.conftest import until
from tests.support import servers


def children(marker):
    """Processes that have ``marker`` in their command line or environment."""
    return [told for _, told in servers.processes() if marker in told]


MESSAGES = {"publish": ('{"timeframe":"5m"}',)}


def environ_of(directory, **environ):
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return kept | {"LOCAL_DIRECTORY": str(directory), "COLUMNS": "80"} | environ


def run_dev(directory, **environ):
    return run_module("dev", directory, **environ)


def run_module(module, directory, *arguments, **environ):
    return subprocess.run(
        [sys.executable, "-m", f"infra.local.{module}", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=200,
        env=environ_of(directory, **environ),
    )


@contextmanager
def broker(directory):
    """A simulated broker of its own, which knows its own keys only."""
    port = servers.free_port()
    child = Child(
        "broker",
        [sys.executable, "-m", "infra.local.broker.server", "--port", str(port)],
        log=directory / "broker.log",
        environ={"PATH": os.environ["PATH"]},
        cwd=ROOT,
    )
    try:
        child.wait_for_port(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.stop()


def databases(directory):
    """The names of the databases that a stack has left."""
    server = Postgres(directory / "postgres", directory / "logs")
    server.start()
    try:
        engine = new_engine(DatabaseSettings(url=server.url("postgres")))
        with transaction(engine) as connection:
            return (
                connection.execute(text("SELECT datname FROM pg_database"))
                .scalars()
                .all()
            )
    finally:
        engine.dispose()
        server.stop()


@pytest.fixture(scope="module")
def collected():
    """One whole run, into a database that outlives it."""
    with servers.postgres() as postgres, servers.open_directory() as directory:
        url = postgres.create("collected")
        done = run_dev(
            directory, ONCE="1", RATE="off", NOW="2026-11-20T10:30", DATABASE_URL=url
        )
        yield done, url, directory


def test_every_target_arrives_in_every_timeframe(collected):
    done, url, _ = collected
    engine = new_engine(DatabaseSettings(url=url))
    with transaction(engine) as connection:
        series = connection.execute(
            text("SELECT timeframe, count(DISTINCT stock_code) FROM candles GROUP BY 1")
        ).all()
    engine.dispose()

    assert done.returncode == 0, done.stdout + done.stderr
    assert dict(map(tuple, series)) == dict.fromkeys(
        ("5m", "30m", "60m", "1d", "1w"), 29
    )


def test_every_run_is_told_in_a_line(collected):
    done, _, _ = collected

    for timeframe in ("5m", "30m", "60m", "1d", "1w"):
        assert re.search(
            rf"^\d\d:\d\d:\d\d ✓ {timeframe} 30 targets: [\d,]+ candles, "
            rf"\d+ requests, [\d.]+ s, 1 no data$",
            done.stdout,
            re.MULTILINE,
        )
    assert re.search(
        r"^✓ collected: [\d,]+ candles with 52\d requests", done.stdout, re.MULTILINE
    )


def test_piped_output_is_plain_and_says_whose_prices_it_is_about(collected):
    done, _, _ = collected
    lines = done.stdout.splitlines()

    assert lines[1].startswith(" SIMULATED PRICES ")
    assert lines[-1].startswith(" SIMULATED PRICES ")
    assert "\x1b" not in done.stdout
    assert re.search(
        r"^✓ PostgreSQL|^✓ functions +\d+\.\d s$", done.stdout, re.MULTILINE
    )
    assert re.search(r"^\S+ \d+/\d+ requests \(\d+%\)", done.stdout, re.MULTILINE)
    assert max(map(len, lines)) <= 80


def test_nothing_is_left_behind(collected):
    _, _, directory = collected

    assert children(str(directory)) == []
    assert not (directory / "gcloud.env").exists()
    assert not (directory / "stack.json").exists()


def test_a_wrong_variable_is_told_in_one_line(tmp_path):
    failed = run_dev(tmp_path, ONCE="1", NOW="tomorrow")

    assert failed.returncode == 1
    assert "NOW must be a time in Seoul" in failed.stdout
    assert "Traceback" not in failed.stdout + failed.stderr


def test_a_broker_that_cannot_be_reached_is_told_at_once(tmp_path):
    port = servers.free_port()
    began = time.monotonic()

    failed = run_dev(
        tmp_path,
        KIWOOM_BASE_URL=f"http://127.0.0.1:{port}",
        KIWOOM_APP_KEY="key",
        KIWOOM_SECRET_KEY="secret",
    )

    assert time.monotonic() - began < 10
    assert failed.returncode == 1
    assert f"cannot be reached at 127.0.0.1:{port}: connection refused" in failed.stdout


def test_wrong_keys_are_told_with_the_line_to_correct(collected):
    """The broker refuses the keys: the reason is shown, and everything stops."""
    _, url, _ = collected
    with servers.open_directory() as directory, broker(directory) as base_url:
        stopped = run_dev(
            directory,
            ONCE="1",
            DATABASE_URL=url,
            KIWOOM_BASE_URL=base_url,
            KIWOOM_APP_KEY="wrong",
            KIWOOM_SECRET_KEY="also-wrong",
        )

        assert stopped.returncode == 1
        assert "no access token: the broker refused with 8001" in stopped.stdout
        assert "correct KIWOOM_APP_KEY" in stopped.stdout
        assert "gcloud" not in stopped.stdout
        assert children(str(directory)) == []


def test_an_empty_data_folder_is_told(tmp_path):
    failed = run_dev(tmp_path, DATA=str(tmp_path))

    assert failed.returncode == 1
    assert f"{tmp_path} has no krx_*.csv.gz" in failed.stdout


def test_a_moment_without_data_is_told_with_the_range(tmp_path):
    failed = run_dev(tmp_path, NOW="1999-01-04T10:30")

    assert failed.returncode == 1
    assert "has 2012-01-02 to 20" in failed.stdout


@pytest.mark.parametrize("module", ["status", "candles", "psql", "publish"])
def test_a_stack_that_is_not_there_is_told_at_once(tmp_path, module):
    began = time.monotonic()

    told = run_module(module, tmp_path, *MESSAGES.get(module, ()))

    assert time.monotonic() - began < 5
    assert told.returncode == 1
    assert "no stack runs here; start one with: make dev" in told.stderr


@pytest.fixture(scope="module")
def living():
    """A stack that is collecting below its limit, for a minute and a half."""
    with servers.postgres() as postgres, servers.open_directory() as directory:
        url = postgres.create("living")
        log = directory / "stdout"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "infra.local.dev"],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=environ_of(directory, NOW="2026-11-20T10:30", DATABASE_URL=url),
            )
            try:
                until(lambda: b" requests (" in log.read_bytes(), "it collects")
                yield process, directory, url, log
            finally:
                process.kill()
                process.wait()


def test_a_second_stack_is_told_how_to_stop_the_first(living):
    process, directory, _, _ = living

    second = run_dev(directory)

    assert second.returncode == 1
    assert f"or: kill {process.pid}" in second.stdout


def test_the_status_of_a_running_stack_is_shown(living):
    _, directory, url, _ = living

    shown = run_module("status", directory, DATABASE_URL=url)

    assert shown.returncode == 0, shown.stderr
    assert "SIMULATED PRICES" in shown.stdout
    assert re.search(r"minutes ▮*▯* \d\.\d", shown.stdout)
    assert "make candles" in shown.stdout


def test_candles_are_shown_beside_a_running_stack(living, collected):
    _, directory, _, _ = living
    _, url, _ = collected
    arguments = ("--stock", "005930", "--timeframe", "1d", "--rows", "3")

    shown = run_module("candles", directory, *arguments, DATABASE_URL=url)

    assert shown.returncode == 0, shown.stderr
    title, head, *rows = shown.stdout.splitlines()
    assert title.startswith("005930 삼성전자 1d")
    assert head.split() == ["opens", "open", "high", "low", "close", "change", "volume"]
    assert len(rows) == 3
    assert rows[-1].startswith("Fri 2026-11-20")


def test_a_dead_letter_is_told_with_its_reason_as_it_happens(living, monkeypatch):
    _, directory, _, log = living
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", running(directory).pubsub_host)

    Publisher(PROJECT).publish("triggers", [b'{"timeframe":"15m"}'], {})

    reason = "trigger (malformed_message): timeframe: '15m' is not a timeframe"
    until(lambda: f"✗ dead letter: {reason}" in log.read_text(), "it is told")


@pytest.mark.alone
def test_ctrl_c_is_answered_at_once_and_over_in_three_seconds(living):
    process, directory, _, log = living
    began = time.monotonic()

    process.send_signal(signal.SIGINT)

    until(lambda: "stopping …" in log.read_text(), "it says so")
    assert time.monotonic() - began < 0.5
    assert process.wait(timeout=10) == 0
    assert time.monotonic() - began < 3
    assert children(str(directory)) == []
    with pytest.raises(NotRunning):
        running(directory)


@pytest.mark.alone
def test_a_killed_stack_misleads_no_command_and_stands_in_nobodys_way():
    with servers.open_directory() as directory:
        log = directory / "stdout"
        with log.open("wb") as output:
            first = subprocess.Popen(
                [sys.executable, "-m", "infra.local.dev"],
                stdout=output,
                cwd=ROOT,
                env=environ_of(directory, NOW="2026-11-20T10:30"),
            )
        until(lambda: b" requests (" in log.read_bytes(), "it collects")
        first.kill()
        first.wait()
        began = time.monotonic()

        told = run_module("publish", directory, '{"timeframe":"5m"}')

        assert time.monotonic() - began < 2
        assert f"(process {first.pid}) was killed" in told.stderr
        again = run_dev(directory, ONCE="1", RATE="off", NOW="2026-11-20T10:31")
        assert again.returncode == 0, again.stdout
        assert "simulated_at_20261120t1030" in databases(directory)
        assert "simulated_at_20261120t1031" not in databases(directory)
        assert children(str(directory)) == []
