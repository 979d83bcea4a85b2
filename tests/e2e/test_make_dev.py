"""``make dev ONCE=1`` as a user runs it: one command, and nothing is left behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from sqlalchemy import text

from infra.local.stack import ROOT
from shared.database.engine import new_engine, transaction
from shared.settings import DatabaseSettings
from tests.support import servers


def children(marker):
    """Processes that have ``marker`` in their command line or environment."""
    return [told for _, told in servers.processes() if marker in told]


def run_dev(directory, **environ):
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "infra.local.dev"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=200,
        env=kept | {"LOCAL_DIRECTORY": str(directory), "COLUMNS": "100"} | environ,
    )


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


def test_a_table_tells_what_was_done(collected):
    done, _, _ = collected

    for timeframe in ("5m", "30m", "60m", "1d", "1w"):
        assert re.search(
            rf"{timeframe} +│ +29/30 \(1 no data\) +│ +[\d,]+ ", done.stdout
        )
    for heading in (
        "series",
        "candles",
        "requests",
        "seconds",
        "requests/s",
        "limit/s",
    ):
        assert heading in done.stdout


def test_nothing_is_left_behind(collected):
    _, _, directory = collected

    assert children(str(directory)) == []
    assert not (directory / "gcloud.env").exists()


def test_a_wrong_variable_is_told_in_one_line(tmp_path):
    failed = run_dev(tmp_path, ONCE="1", NOW="tomorrow")

    assert failed.returncode == 1
    assert "NOW must be a time in Seoul" in failed.stdout
    assert "Traceback" not in failed.stdout + failed.stderr


def test_wrong_keys_are_told_and_everything_stops(tmp_path, collected):
    """The broker refuses the keys: the reason is shown, nobody waits for ever."""
    _, url, _ = collected
    with servers.open_directory() as directory:
        stopped = run_dev(
            directory,
            ONCE="1",
            DATABASE_URL=url,
            KIWOOM_BASE_URL=f"http://127.0.0.1:{servers.free_port()}",
            KIWOOM_APP_KEY="wrong",
            KIWOOM_SECRET_KEY="also-wrong",
            TOKEN_SECONDS="3",
        )

        assert stopped.returncode == 1
        assert "no access token" in stopped.stdout
        assert children(str(directory)) == []
