"""The judge finds what is wrong, and nothing else; also over HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import timedelta

import pytest

from functions.collector import extend
from infra.local.processes import Child, free_port
from infra.local.stack import ROOT, _environ
from shared.database.session_store import SessionStore
from tests.support.builders import kst
from tests.support.harness import PipelineHarness


@pytest.fixture
def harness(engine):
    harness = PipelineHarness(engine, "2026-11-17 07:30")
    harness.tick("5m", start="2026-11-09", force=True)
    harness.tick("1d", start="2026-06-01", force=True)
    return harness


def test_a_clean_load_is_right(harness):
    judgement = harness.judge()

    assert judgement.wrong == []
    assert judgement.compared == 6 * 126 + 114


ONE_MORE = (
    "INSERT INTO candles SELECT stock_code, timeframe, opened_at + interval '1 s',"
    " open, high, low, close, volume, turnover, session FROM candles"
)


@pytest.mark.parametrize("timeframe", ["5m", "1d"])
@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("DELETE FROM candles", "1 missing"),
        ("UPDATE candles SET volume = volume + 1", "1 different"),
        ("UPDATE candles SET close = low", "1 different"),
        ("UPDATE candles SET turnover = 7", "1 different"),
        ("UPDATE candles SET session = 'after'", "1 different"),
        ("UPDATE candles SET rescaled = true", "1 served, but marked"),
        (ONE_MORE, "1 extra"),
    ],
)
def test_one_wrong_row_is_found(harness, timeframe, statement, kind):
    one = " WHERE timeframe = :t AND opened_at = :at"
    at = "2026-11-16 10:00" if timeframe == "5m" else "2026-11-12"
    harness.query(statement + one, t=timeframe, at=kst(at))

    (sentence,) = harness.judge().wrong

    assert f"005930 {timeframe}" in sentence
    assert kind in sentence


def test_a_candle_before_what_is_covered_is_not_missed(harness):
    harness.query("UPDATE series SET covered_from = covered_from + 2")
    harness.query("DELETE FROM candles WHERE opened_at < '2026-11-10 15:00+00'")

    missing = [sentence for sentence in harness.judge().wrong if "missing" in sentence]

    assert len(missing) == 1
    assert "1d" in missing[0]


def test_provisional_candles_are_those_of_their_last_reading(harness):
    harness.at("2026-11-17 10:32")
    harness.tick()
    harness.at("2026-11-17 14:00")

    assert harness.judge().wrong == []
    harness.query(
        "UPDATE candles SET volume = volume + 1 WHERE opened_at = :at AND timeframe = '5m'",
        at=kst("2026-11-17 10:30"),
    )
    assert len(harness.judge().wrong) == 1


def test_what_is_no_longer_served_is_followed_into_the_shares_of_today(
    engine, monkeypatch
):
    monkeypatch.setattr(extend, "MINUTES_KEPT", timedelta(days=20))
    harness = PipelineHarness(engine, "2026-11-17 07:30", retention=timedelta(days=20))
    harness.tick("5m", start="2026-11-02", force=True)
    harness.acts("005930", "2026-11-27", 5.0)
    harness.at("2026-11-28 09:00")
    harness.tick("5m", force=True)

    judgement = harness.judge()
    assert judgement.wrong == []
    gone = "opened_at < '2026-11-08 15:00+00'"
    ((count,),) = harness.query(
        f"SELECT count(*) FROM candles WHERE {gone} AND rescaled"
    )
    assert count == 5 * 126
    harness.query(f"UPDATE candles SET close = close * 5, high = high * 5 WHERE {gone}")
    assert f"{count} different" in harness.judge().wrong[0]


def test_a_stock_that_is_gone_is_as_it_was_before(harness):
    harness.delists("2026-11-17 08:00")
    harness.at("2026-11-20 10:00")

    assert harness.judge().wrong == []
    harness.query("DELETE FROM candles WHERE opened_at = :at", at=kst("2026-10-01"))
    assert "1 missing" in harness.judge().wrong[0]


@pytest.mark.parametrize(
    ("timeframe", "day"), [("5m", "2026-11-16"), ("1d", "2026-01-01")]
)
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE session_seals SET digest = sha256('')",
        "UPDATE session_seals SET candles = candles + 1",
        "DELETE FROM session_seals",
        "UPDATE session_seals SET session_date = '2027-01-04'",
    ],
)
def test_one_wrong_seal_is_found(harness, timeframe, day, change):
    harness.query(
        f"{change} WHERE timeframe = :t AND session_date = :day", t=timeframe, day=day
    )

    (sentence,) = harness.judge().wrong

    assert f"005930 {timeframe}" in sentence
    assert f"seals wrong from {day}" in sentence


def test_faults_do_not_deceive_the_judge(harness):
    harness.fails("blank")
    harness.fails("server_error")
    asked = harness.asked()

    assert harness.judge().wrong == []
    assert harness.asked() == asked


def test_it_runs_by_itself_against_a_broker_over_http(
    engine, reference_data, database_url, tmp_path
):
    calendar = SessionStore(engine).calendar()
    harness = PipelineHarness(engine, "2026-11-17 07:30", calendar=calendar)
    harness.tick("5m", start="2026-11-09", force=True)
    harness.tick("1d", start="2026-06-01", force=True)
    port = free_port()
    child = Child(
        "broker",
        [
            *(sys.executable, "-m", "infra.local.broker.server", "--no-limit"),
            *(
                "--port",
                str(port),
                f"--clock-offset={harness.now.timestamp() - time.time()}",
            ),
        ],
        log=tmp_path / "broker.log",
        environ=_environ(),
        cwd=ROOT,
    )
    child.wait_for_port(port)

    def judged():
        return subprocess.run(
            [
                *(sys.executable, "-m", "tests.support.judge"),
                *(f"http://127.0.0.1:{port}", "--now", "2026-11-17T07:30"),
            ],
            cwd=ROOT,
            env=os.environ | {"DATABASE_URL": database_url},
            capture_output=True,
            text=True,
        )

    try:
        right = judged()
        harness.query("DELETE FROM candles WHERE opened_at = :at", at=kst("2026-10-01"))
        wrong = judged()
    finally:
        child.stop()

    assert (right.returncode, right.stderr) == (0, "")
    assert "756 candles are the broker's" in right.stdout
    assert wrong.returncode == 1
    assert "1 missing 2026-10-01" in wrong.stdout
