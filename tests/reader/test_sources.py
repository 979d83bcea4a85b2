"""Where candles are read from, and one sentence for all that can be wrong there."""

from __future__ import annotations

import fcntl
import json
from datetime import datetime

import pandas as pd
import pytest
from sqlalchemy import text

from infra.migrate import Grants, migrate
from infra.topology import load
from shared.database.engine import new_engine, transaction
from shared.freshness import Tick
from shared.settings import DatabaseSettings
from tests.support import servers
from tradesmart import (
    SourceUnavailable,
    iter_candles,
    read_actions,
    read_candles,
    read_sessions,
    read_stocks,
)
from tradesmart.schedules import TICKS

END_ALL = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name = 'tradesmart'"
)
DAY = ("2026-11-18", "2026-11-19")


@pytest.fixture
def announced(tmp_path, monkeypatch):
    """Announces a stack as ``make dev`` does, with its lock."""
    locks = []

    def announced(url, *, offset=0.0, held=True):
        monkeypatch.delenv("LOCAL_DIRECTORY")
        folder = tmp_path / ".local"
        folder.mkdir()
        told = {"database_url": url, "clock_offset": offset}
        (folder / "stack.json").write_text(json.dumps(told))
        lock = (folder / "lock").open("a")
        if held:
            fcntl.flock(lock, fcntl.LOCK_EX)
        locks.append(lock)
        (tmp_path / "notes").mkdir()
        monkeypatch.chdir(tmp_path / "notes")

    yield announced
    for lock in locks:
        lock.close()


def unavailable(source=None, **options):
    with pytest.raises(SourceUnavailable) as caught:
        read_candles("005930", "5m", *DAY, source=source, **options)
    error = caught.value
    assert "\n" not in str(error)
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    return str(error)


def test_the_variable_names_the_source(market, monkeypatch):
    monkeypatch.setenv("TRADESMART_SOURCE", market)

    assert len(read_candles("005930", "5m", *DAY))


def test_the_running_stack_is_found_from_a_folder_below_it(market, announced):
    announced(market)

    assert len(read_candles("005930", "5m", *DAY))


def test_a_stack_that_lives_at_another_instant_is_judged_by_its_clock(
    market, announced, at
):
    at("2026-12-01 10:00")
    announced(market, offset=-10 * 86400.0)

    for source in (None, market):
        frame = read_candles("005930", "5m", "2026-11-16", source=source)
        assert frame.attrs["coverage"]["read_at"] == "2026-11-21T01:00:00+00:00"


def test_a_stack_that_was_killed_is_no_source(market, announced):
    announced(market, held=False)

    assert "make dev" in unavailable()


def test_without_any_source_the_remedy_names_both(tmp_path):
    told = unavailable()

    assert "make dev" in told
    assert "TRADESMART_SOURCE" in told


def test_a_database_that_does_not_answer_is_named_without_its_password():
    port = servers.free_port()
    told = unavailable(f"postgresql://me:secret@127.0.0.1:{port}/candles")

    assert f"candles at 127.0.0.1:{port}" in told
    assert "refused" in told
    assert "secret" not in told


def test_an_account_that_is_not_there_is_one_sentence(postgres):
    told = unavailable(postgres.url("market").replace("pipeline@", "stranger@"))

    assert "stranger" in told


def test_what_is_neither_url_nor_folder_is_refused():
    assert "postgresql://" in unavailable("mysql://here/candles")


def test_a_database_that_is_older_is_told_to_migrate(postgres):
    url = postgres.create("bare")

    assert "make migrate" in unavailable(url)


def test_a_database_that_is_newer_is_told_as_such(a_market, execute):
    execute("CREATE OR REPLACE VIEW reader.contract AS SELECT 2 AS version")

    assert "newer" in unavailable(a_market)


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+pg8000"])
def test_a_database_that_lacks_a_column_or_a_view_is_told_to_migrate(
    a_market, execute, scheme
):
    url = a_market.replace("postgresql", scheme)

    execute("ALTER VIEW reader.series RENAME COLUMN asked_at TO collected_at")
    assert "make migrate" in unavailable(url)

    execute("ALTER VIEW reader.series RENAME TO sequences")
    assert "make migrate" in unavailable(url)


def test_a_database_without_a_calendar_says_how_to_get_one(a_market, execute):
    execute("UPDATE calendar_state SET first_day = NULL, last_day = NULL")

    assert "reference" in unavailable(a_market)


def test_a_session_that_ends_while_frames_are_iterated_is_one_sentence(
    postgres, a_market, monkeypatch
):
    engine = new_engine(DatabaseSettings(url=postgres.url("postgres")))

    def end_all(_):
        with transaction(engine) as connection:
            connection.execute(END_ALL)

    monkeypatch.setattr("tradesmart.read.Reading.judge", end_all)
    frames = iter_candles("targets", "5m", source=a_market)

    with pytest.raises(SourceUnavailable, match="did not answer"):
        list(frames)
    engine.dispose()


def test_the_role_of_readers_is_enough(a_market, execute, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", a_market)
    execute("CREATE ROLE researcher LOGIN")
    url = a_market.replace("pipeline@", "researcher@")
    try:
        assert "permission denied" in unavailable(url)

        migrate(DatabaseSettings.from_env(), Grants.parse("reader=researcher"))

        assert len(read_candles("005930", "5m", *DAY, source=url))
        assert len(read_candles("targets", "1d", *DAY, source=url))
        assert len(read_stocks(source=url)) == 3
    finally:
        execute("DROP OWNED BY pipeline_reader, researcher")
        execute("DROP ROLE researcher")


@pytest.mark.parametrize(
    ("arguments", "options", "told"),
    [
        (("005931", "5m"), {}, "nearest are 005930 삼성전자, "),
        (("삼성전지", "5m"), {}, "005930 삼성전자"),
        ((["005930", "ABC"], "5m"), {}, "there is no stock 'ABC'"),
        (([], "5m"), {}, "stocks must be"),
        ((200, "5m"), {}, "stocks must be a code such as '005930'"),
        (([200], "5m"), {}, "stocks must be a code such as '005930'"),
        (("200", "5m"), {}, "nearest are 000200 이백, "),
        (("5930", "5m"), {}, "nearest are 005930 삼성전자, "),
        (("005930 ", "5m"), {}, "nearest are 005930 삼성전자, "),
        (("005931", "5m"), {}, "among the 3 of the stock list"),
        (("005930", "7m"), {}, "timeframe must be one of 5m, 30m, 60m, 1d, 1w"),
        (("005930", "5m", "2026-11-19", "2026-11-18"), {}, "start must be before end"),
        (("005930", "5m", "2026-11-19", "2026-11-19"), {}, "start must be before end"),
        (("005930", "5m", "2026-11-19T09:00"), {}, "2026-11-19T09:00+09:00"),
        (("005930", "5m", datetime(2026, 11, 19, 9)), {}, "without a zone"),  # noqa: DTZ001
        (("005930", "5m", "19.11.2026"), {}, "start must be a day"),
        (("005930", "5m", 20261119), {}, "start must be a day"),
        (("005930", "5m", pd.NaT), {}, "start must be a day"),
        (("005930", "5m", pd.Timestamp("2026-11-19")), {}, "without a zone"),
        (("005930", "5m", "0001-01-01"), {}, "start is out of what a calendar has"),
        (
            ("005930", "5m", "2026-11-18", "9999-12-31T23:59-12:00"),
            {},
            "end is out of what a calendar has",
        ),
        (("005930", "5m"), {"tz": "Seoul"}, "tz must be the name of a zone"),
        (("005930", "5m"), {"session": "night"}, "session must be one of"),
        (("005930", "1d"), {"session": "after"}, "is for minutes"),
        (("005930", "5m"), {"require": "most"}, "require must be one of"),
        (("005930", "5m"), {"wide": "price"}, "wide must be one of"),
        (("005930", "5m"), {"columns": ["price"]}, "columns must be"),
        (("005930", "5m"), {"columns": "kr"}, "columns must be"),
        (("005930", "5m"), {"columns": 5}, "columns must be"),
        (("005930", "5m"), {"columns": []}, "columns must name each"),
        (("005930", "5m"), {"columns": ["low"], "wide": "low"}, "leave columns out"),
    ],
)
def test_an_argument_that_cannot_be_accepted_is_named_with_the_remedy(
    market, arguments, options, told
):
    with pytest.raises(ValueError, match=".") as caught:
        read_candles(*arguments, source=market, **options)

    assert told in str(caught.value)
    assert type(caught.value) is ValueError


@pytest.mark.parametrize("read", [read_sessions, read_actions])
def test_a_zone_that_is_none_is_refused_by_all(market, read):
    with pytest.raises(ValueError, match="tz must be the name of a zone"):
        read(source=market, tz="Seoul")


def test_days_to_come_are_an_empty_frame(market):
    frame = read_candles("005930", "5m", "2030-01-02", "2030-02-01", source=market)

    assert frame.empty
    assert frame.attrs["coverage"]["states"] == {}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (5, "source must be a URL or a folder, not 5"),
        ("postgresql://me@here:abc/candles", "the URL of the database cannot be read"),
        ("postgresql://me@a b/candles", "a b"),
        ("cloudsql://of:a:database/candles", "database candles of of:a:database"),
        (__file__, "name the folder that an export was written to"),
    ],
)
def test_a_source_that_is_none_is_one_sentence_beside_a_running_stack(
    market, announced, source, told
):
    announced(market)

    with pytest.raises((SourceUnavailable, ValueError)) as caught:
        read_candles("005930", "5m", *DAY, source=source)

    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_seeds_names_of_timeframes_are_known(market):
    frame = read_candles("005930", "D", *DAY, source=market)

    assert len(frame) == 1


def test_a_name_stands_for_its_stock(market):
    by_name = read_candles("삼성전자", "5m", *DAY, source=market)

    assert by_name.equals(read_candles("005930", "5m", *DAY, source=market))


def test_a_name_that_two_stocks_have_is_refused_with_both_codes(a_market, execute):
    execute("UPDATE stocks SET stock_name = '이백' WHERE stock_code = '000660'")

    with pytest.raises(ValueError, match="000200 이백, 000660 이백"):
        read_candles("이백", "5m", *DAY, source=a_market)


def test_all_are_the_stocks_that_have_such_a_series(a_market, execute):
    execute(
        "UPDATE stocks SET listed = false, is_target = false WHERE stock_code = '000660'"
    )
    execute("DELETE FROM series WHERE stock_code = '005930' AND timeframe = '5m'")

    frame = read_candles("all", "5m", *DAY, source=a_market)

    assert sorted(set(frame.index.get_level_values(0))) == ["000200", "000660"]


def test_its_schedules_are_those_of_the_pipeline():
    ticks = [
        tick
        for schedule in load().schedules.values()
        if schedule.topic == "triggers"
        and (tick := Tick.of(schedule.cron, schedule.payload))
    ]

    assert list(TICKS) == ticks
