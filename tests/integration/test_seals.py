"""Seals follow every change of ours, and tell of every change that is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from sqlalchemy import text

from functions.reference_sync.reference_data import bundled_calendar
from infra.seals import line, message
from shared.candles import Timeframe
from shared.database.engine import new_engine
from shared.database.report_store import ReportStore
from shared.database.session_seals import SessionSeals, seal_what_is_there
from shared.database.session_store import SessionStore
from shared.database.stock_store import ARCHIVE
from shared.messages import CollectRequest
from shared.series import CollectedSeries, Period
from shared.sessions import SessionOverride
from shared.settings import DatabaseSettings
from tests.support import servers
from tests.support.builders import a_candle, day, kst
from tests.support.harness import PipelineHarness

MONDAY_MORNING = "2026-11-16 07:30"


@pytest.fixture
def harness(engine, engine_of):
    """The last two weeks of minutes and the year of days, settled through Friday.

    Functions have the rights of their accounts, here as in the cloud.
    """
    SessionStore(engine).write(bundled_calendar())
    calendar = SessionStore(engine).calendar()
    harness = PipelineHarness(
        engine, MONDAY_MORNING, calendar=calendar, engine_of=engine_of
    )
    harness.tick("5m", start="2026-11-02", force=True)
    harness.tick("1d", "1w", start="2025-10-01", force=True)
    return harness


@pytest.fixture
def seals(engine):
    return SessionSeals(engine)


def sealed(harness, timeframe="5m"):
    rows = harness.query(
        "SELECT session_date, candles, digest FROM session_seals"
        " WHERE timeframe = :t ORDER BY 1",
        t=timeframe,
    )
    return {str(day): tuple(rest) for day, *rest in rows}


def times(harness, timeframe="5m"):
    rows = harness.query(
        "SELECT session_date, sealed_at, first_sealed_at FROM session_seals"
        " WHERE timeframe = :t",
        t=timeframe,
    )
    return {str(day): tuple(rest) for day, *rest in rows}


SEEN_OTHERWISE = """
    SELECT stock_code, timeframe, session_date FROM reader.seals AS seen
    FULL JOIN session_seals AS seal USING (stock_code, timeframe, session_date)
    WHERE (seen.candles, seen.digest)
          IS DISTINCT FROM (seal.candles, encode(seal.digest, 'hex'))
"""


def seals_are_right(harness):
    """Made again twice: by the judge in Python, and by the view of the readers."""
    assert harness.query(SEEN_OTHERWISE) == []
    return not [wrong for wrong in harness.judge().wrong if "seals" in wrong]


def test_each_settled_session_of_minutes_has_a_seal_and_each_year_of_days(harness):
    assert list(sealed(harness)) == [
        f"2026-11-{n:02}" for n in (2, 3, 4, 5, 6, 9, 10, 11, 12, 13)
    ]
    assert list(sealed(harness, "1d")) == ["2025-01-01", "2026-01-01"]
    assert list(sealed(harness, "1w")) == ["2025-01-01", "2026-01-01"]
    assert seals_are_right(harness)


def test_a_session_is_sealed_when_it_settles_and_not_before(harness):
    harness.at("2026-11-16 20:45")
    harness.tick("5m", "1d")
    before = sealed(harness)

    harness.at("2026-11-17 07:30")
    harness.tick("5m", "1d")

    assert "2026-11-16" not in before
    assert sealed(harness).keys() - before.keys() == {"2026-11-16"}
    assert list(sealed(harness, "1d")) == ["2025-01-01", "2026-01-01"]
    assert seals_are_right(harness)


def test_a_seal_names_the_run_that_wrote_it_and_no_run_that_did_not(harness, engine):
    reports, friday = ReportStore(engine), day("2026-11-13")
    frame = Timeframe.MINUTE_5
    stock, run_id = harness.query(
        "SELECT stock_code, run_id FROM tasks WHERE timeframe = '5m' LIMIT 1"
    )[0]
    before = reports.seal(stock, frame, friday).run_id
    # A later run of the same series writes other seals.
    harness.at("2026-11-17 07:30")
    harness.tick("5m")
    after = reports.seal(stock, frame, friday).run_id
    monday = reports.seal(stock, frame, day("2026-11-16")).run_id
    # One that is written behind our backs is of no run.
    harness.query(
        "UPDATE session_seals SET candles = candles WHERE session_date = :day"
        " RETURNING 1",
        day=friday,
    )

    assert before == after == run_id
    assert monday not in {None, run_id}
    assert reports.seal(stock, frame, friday).run_id is None


def test_a_reading_that_changes_nothing_writes_no_seal(harness):
    before = times(harness)

    harness.tick("5m", mode="verify", start="2026-11-02")

    assert times(harness) == before


def test_a_revised_session_is_sealed_anew_and_no_other(harness):
    before = times(harness)
    harness.corrects("5m", "2026-11-10 10:00", {"volume": 7})

    harness.tick("5m", mode="verify", start="2026-11-02")

    after = times(harness)
    assert {day for day in after if after[day] != before[day]} == {"2026-11-10"}
    assert after["2026-11-10"][0] > before["2026-11-10"][0]
    assert after["2026-11-10"][1] == before["2026-11-10"][1]
    assert seals_are_right(harness)


def test_a_session_that_was_withdrawn_loses_its_seal(harness):
    for minute in harness.stored("5m"):
        if minute.date() == day("2026-11-10"):
            harness.withdraws("5m", f"{minute:%Y-%m-%d %H:%M}")

    harness.tick("5m", mode="verify", start="2026-11-02")

    assert "2026-11-10" not in sealed(harness)
    assert seals_are_right(harness)


def test_a_move_seals_what_it_rescales(harness):
    before = sealed(harness)
    harness.acts("005930", "2026-11-17", 5.0)
    harness.at("2026-11-18 07:30")
    harness.tick("5m", "1d")

    assert all(sealed(harness)[day] != seal for day, seal in before.items())
    assert seals_are_right(harness)


@pytest.mark.parametrize("closed", ["2026-11-10", "2026-01-02", "2026-11-13"])
def test_a_day_that_an_override_closes_loses_its_seal_and_so_do_later_ones(
    harness, engine, closed
):
    minutes = list(sealed(harness))
    override = SessionOverride(day(closed), None)

    SessionStore(engine).write(bundled_calendar(), override=override)

    assert list(sealed(harness)) == [day for day in minutes if day < closed]
    assert list(sealed(harness, "1d"))[:1] == ["2025-01-01"]
    assert seals_are_right(harness)


def test_a_code_that_is_listed_again_has_no_seals(harness, engine):
    harness.query(
        "INSERT INTO stocks (stock_code, stock_name, market_code, market_name, listed_on)"
        " VALUES ('005930', 'x', '0', 'x', '2000-01-01')"
    )
    with engine.begin() as connection:
        for statement in ARCHIVE:
            connection.execute(statement, {"codes": ["005930"]})

    assert sealed(harness) == {}


AT = " WHERE timeframe = '5m' AND opened_at = :at"
TAMPERING = {
    "changed": "UPDATE candles SET volume = volume + 1",
    "deleted": "DELETE FROM candles",
    "added": (
        "INSERT INTO candles SELECT stock_code, timeframe, opened_at + interval '1 s',"
        " open, high, low, close, volume, turnover, session FROM candles"
    ),
}


@pytest.mark.parametrize("kind", TAMPERING)
def test_what_was_changed_behind_our_backs_is_named_and_read_again(
    harness, seals, kind
):
    before = sealed(harness)
    harness.query(TAMPERING[kind] + AT, at=kst("2026-11-10 10:00"))

    (broken,) = seals.check("005930", Timeframe.MINUTE_5)

    assert (broken.kind, broken.session_date) == (kind, day("2026-11-10"))
    assert seals.known_broken() == [broken]
    assert line(broken).startswith("005930 5m 2026-11-10: ")
    trigger = json.loads(message([broken], day("2026-11-16")))
    assert (trigger["start"], trigger["end"]) == ("2026-11-10", "2026-11-11")
    timeframe = trigger.pop("timeframe")
    harness.tick(timeframe, **trigger)
    assert sealed(harness) == before
    assert seals.known_broken() == []
    assert seals.check("005930", Timeframe.MINUTE_5) == []
    assert harness.judge().wrong == []


@pytest.mark.parametrize("timeframe", ["5m", "1d", "1w"])
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE session_seals SET digest = sha256('')",
        "DELETE FROM session_seals",
        "UPDATE session_seals SET session_date = session_date + 5",
    ],
)
def test_a_seal_that_was_changed_itself_is_mended_by_a_verify(
    harness, seals, change, timeframe
):
    before = sealed(harness, timeframe)
    date = "2026-11-10" if timeframe == "5m" else "2026-01-01"
    one = f"{change} WHERE timeframe = :t AND session_date = :date"
    harness.query(one, t=timeframe, date=date)

    broken = seals.check("005930", Timeframe(timeframe))

    assert day(date) in {seal.session_date for seal in broken}
    start = str(min(seal.session_date for seal in broken))
    harness.tick(timeframe, mode="verify", start=start)
    assert sealed(harness, timeframe) == before
    assert seals.known_broken() == []


A_DAY_CHANGED = (
    "UPDATE candles SET volume = 1 WHERE timeframe = '1d' AND opened_at = :at"
)


def test_a_tick_that_reads_a_year_again_mends_it(harness, seals):
    harness.query(A_DAY_CHANGED, at=kst("2026-03-03"))
    harness.at("2026-11-17 07:30")
    harness.tick("1d")

    assert seals.known_broken() == []
    assert harness.judge().wrong == []


def stored(harness, *candles, settled="2026-11-16", complete=()):
    """What an attempt at the days stores that has read just this."""
    harness.at("2026-11-17 07:30")
    harness.trigger(["1d"], force=True)
    request = CollectRequest.from_bytes(harness.queue.popleft())
    with harness.tasks.attempt(request) as attempt:
        settled = settled and day(settled)
        collected = CollectedSeries(
            series=replace(attempt.series, settled_through=settled),
            calendar=harness.calendar.version,
            read_at=harness.now,
            candles=candles,
            complete=complete,
        )
        harness.store.store(attempt, collected)


def test_what_settles_without_a_change_is_sealed(harness):
    harness.at("2026-11-16 20:45")
    harness.tick("1d")
    before = sealed(harness, "1d")

    stored(harness)

    number = {year: candles for year, (candles, _) in sealed(harness, "1d").items()}
    assert number["2026-01-01"] == before["2026-01-01"][0] + 1


def test_what_is_no_longer_settled_has_no_seal(harness):
    stored(harness, settled="2026-03-03")
    assert seals_are_right(harness)

    stored(harness, settled=None)
    assert sealed(harness, "1d") == {}


def test_history_that_is_loaded_later_is_sealed(harness):
    harness.tick("5m", mode="backfill", start="2026-10-19")

    assert list(sealed(harness))[:2] == ["2026-10-19", "2026-10-20"]
    assert len(sealed(harness)) == 20
    assert seals_are_right(harness)


def test_a_batch_from_before_all_that_is_there_is_sealed(harness):
    stored(harness, a_candle("2024-03-04"), a_candle("2024-03-05"))

    assert next(iter(sealed(harness, "1d").items()))[0] == "2024-01-01"
    assert seals_are_right(harness)


def test_a_day_that_is_stored_alone_does_not_seal_over_a_change_in_its_year(
    harness, seals
):
    harness.query(A_DAY_CHANGED, at=kst("2026-03-03"))
    latest = a_candle("2026-11-16")

    stored(harness, latest, complete=[Period(kst("2026-11-16"), kst("2026-11-17"))])

    (broken,) = seals.known_broken()
    assert (broken.kind, str(broken.session_date)) == ("changed", "2026-01-01")
    assert json.loads(message([broken], day("2026-11-17"))) == {
        "mode": "verify",
        "timeframe": "1d",
        "stocks": ["005930"],
        "start": "2026-01-01",
    }
    harness.tick("1d", mode="verify", start="2026-01-01")
    assert seals.known_broken() == []
    assert harness.judge().wrong == []


def test_what_the_broker_has_no_longer_can_be_accepted(harness, seals):
    harness.query("DELETE FROM candles" + AT, at=kst("2026-11-10 10:00"))
    found = seals.check("005930", Timeframe.MINUTE_5)

    seals.accept("005930", Timeframe.MINUTE_5, found)

    assert seals.known_broken() == []
    assert seals.check("005930", Timeframe.MINUTE_5) == []


def test_what_settled_before_there_were_seals_is_sealed_and_may_be_interrupted(
    harness, engine, monkeypatch
):
    before = {name: sealed(harness, name) for name in ("5m", "1d", "1w")}
    harness.query("DELETE FROM session_seals")
    seal, calls = SessionSeals.seal, []

    def interrupted(self, *series):
        calls.append(series)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return seal(self, *series)

    monkeypatch.setattr(SessionSeals, "seal", interrupted)
    with pytest.raises(KeyboardInterrupt):
        seal_what_is_there(engine)
    assert len({*calls}) == 3
    seal_what_is_there(engine)

    # Of the series that was interrupted, and no other, again.
    assert len(calls) == 4
    assert {name: sealed(harness, name) for name in before} == before
    assert seal_what_is_there(engine) == 0


def test_the_migration_seals_what_is_there(postgres):
    url = postgres.create("sealing")
    engine = new_engine(DatabaseSettings(url=url, pool_size=8))
    servers.migrate(url)
    harness = PipelineHarness(engine, MONDAY_MORNING)
    harness.tick("5m", start="2026-11-02", force=True)
    before = sealed(harness)
    servers.downgrade(url, "0007")
    servers.migrate(url)

    assert sealed(harness) == before
    engine.dispose()
    postgres.drop("sealing")


@pytest.fixture
def verify(database_url):
    def verify(*arguments, url=database_url):
        done = subprocess.run(
            [sys.executable, "-m", "infra.seals", *arguments],
            capture_output=True,
            text=True,
            cwd=servers.ROOT,
            env=os.environ | {"DATABASE_URL": url},
        )
        return done.returncode, done.stdout, done.stderr

    return verify


def test_make_verify_names_each_difference_and_the_remedy(harness, verify):
    assert verify() == (0, "3 series: every seal is that of its candles\n", "")
    harness.query("DELETE FROM candles" + AT, at=kst("2026-11-10 10:00"))
    assert "\n1 seal is broken: the database" in verify()[1]
    harness.query(TAMPERING["changed"] + AT, at=kst("2026-11-12 10:00"))

    code, told, _ = verify("--stocks", "005930")

    assert code == 1
    assert "\n2 seals are broken: the database" in told
    first, second, *rest = told.splitlines()
    assert first.startswith("005930 5m 2026-11-10: 1 deleted (")
    assert second.startswith("005930 5m 2026-11-12: some changed (")
    assert '"start":"2026-11-10","end":"2026-11-13"}' in "\n".join(rest)
    assert verify("--stocks", "000660")[0] == 0
    assert verify("--accept", "1")[0] == 0
    assert verify()[0] == 0


def test_make_verify_says_what_it_cannot_read(verify):
    port = servers.free_port()

    assert verify(url=f"postgresql://x@127.0.0.1:{port}/x")[0] == 2
    assert verify("--stocks", "samsung") == (
        *(2, ""),
        "STOCKS: 'samsung' is no stock code such as 005930\n",
    )


def test_a_reader_finds_broken_seals_and_records_none(harness, verify, engine):
    with engine.begin() as connection:
        connection.execute(text("CREATE ROLE only_reads LOGIN"))
        connection.execute(
            text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO only_reads")
        )
    harness.query("DELETE FROM candles" + AT, at=kst("2026-11-10 10:00"))
    url = str(engine.url.set(drivername="postgresql", username="only_reads"))

    code, told, _ = verify(url=url)

    assert (code, "2026-11-10: 1 deleted" in told) == (1, True)
    assert SessionSeals(engine).known_broken() == []
