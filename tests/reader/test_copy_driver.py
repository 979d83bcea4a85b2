"""Candles by pg8000 and the Cloud SQL connector are those that ADBC brings."""

from __future__ import annotations

import gc
from random import Random

import pandas as pd
import pytest
from google.cloud.sql import connector

from tests.support import servers
from tests.support.cloud_sql import INSTANCE, CloudSql, FakeCredentials
from tradesmart import (
    SourceUnavailable,
    export,
    iter_candles,
    read_actions,
    read_candles,
    read_sessions,
    read_stocks,
    verify,
)

USER = "researcher@demo-proj.iam"
# The connector leaves its event loop, and sockets that were cut, to the collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)


def by_copy(url):
    return url.replace("postgresql:", "postgresql+pg8000:")


@pytest.mark.parametrize("timeframe", ["5m", "60m", "1d", "1w"])
@pytest.mark.parametrize("stocks", ["005930", "targets"])
def test_candles_are_the_same(market, timeframe, stocks):
    ours = read_candles(stocks, timeframe, source=by_copy(market))
    theirs = read_candles(stocks, timeframe, source=market)

    pd.testing.assert_frame_equal(ours, theirs)


def test_an_empty_frame_is_the_same(market):
    days = ("2026-11-21", "2026-11-23")

    ours = read_candles("targets", "5m", *days, source=by_copy(market))

    theirs = read_candles("targets", "5m", *days, source=market)
    pd.testing.assert_frame_equal(ours, theirs)


def test_tables_are_the_same(market):
    for read in (read_stocks, read_sessions, read_actions):
        pd.testing.assert_frame_equal(read(source=by_copy(market)), read(source=market))


def test_absences_are_the_same(a_market, execute):
    where = "timeframe = '5m' AND opened_at = '2026-11-18 10:30+09'"
    execute(
        "INSERT INTO absent_slots SELECT stock_code, timeframe, opened_at, 'run'"
        f" FROM candles WHERE {where}"
    )
    execute(f"DELETE FROM candles WHERE {where}")

    frame = read_candles("targets", "5m", "2026-11-16", source=by_copy(a_market))

    assert frame.attrs["coverage"]["states"] == {"complete": 12, "thin": 3}


def test_frames_are_iterated_in_their_order(market, monkeypatch):
    monkeypatch.setattr("tradesmart.postgres.AT_ONCE", 2)
    parts = list(iter_candles("targets", "5m", source=by_copy(market)))

    read = read_candles("targets", "5m", source=market)
    pd.testing.assert_frame_equal(pd.concat(parts), read, check_index_type=False)


def test_an_export_is_the_same(market, tmp_path):
    for name, url in (("one", market), ("two", by_copy(market))):
        export(tmp_path / name, source=url)

    one, two = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in found}
        for name in ("one", "two")
        if (found := sorted((tmp_path / name).rglob("*.*")))
    )
    assert one == two
    assert verify(tmp_path / "two") == []


def test_a_database_that_does_not_answer_is_one_sentence():
    port = servers.free_port()

    with pytest.raises(SourceUnavailable) as caught:
        read_stocks(source=f"postgresql+pg8000://me:secret@127.0.0.1:{port}/candles")

    assert f"candles at 127.0.0.1:{port}" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.fixture
def cloud_sql(postgres, tmp_path, monkeypatch):
    """The connector's own way: its Admin API, and its TLS proxy."""
    octets = Random(str(tmp_path))
    address = ".".join(["127", *(str(octets.randint(2, 250)) for _ in range(3))])
    server = CloudSql(postgres.port, address)
    server.start(tmp_path)
    real = connector.Connector

    def near(**options):
        options |= {
            "credentials": FakeCredentials(),
            "sqladmin_api_endpoint": server.url,
        }
        return real(**options)

    monkeypatch.setattr("google.cloud.sql.connector.Connector", near)
    yield server
    server.stop()
    # What the connector has left is collected here, not in a test that comes later.
    gc.collect()


def test_it_reads_through_the_cloud_sql_connector(cloud_sql, a_market, execute, market):
    execute(f'CREATE ROLE "{USER}" LOGIN SUPERUSER')
    name = a_market.rpartition("/")[2]
    try:
        url = f"cloudsql://{INSTANCE}/{name}?user={USER}"
        frame = read_candles("targets", "5m", source=url)
    finally:
        execute(f'DROP ROLE "{USER}"')

    pd.testing.assert_frame_equal(frame, read_candles("targets", "5m", source=market))


def test_an_instance_that_is_not_there_is_one_sentence(cloud_sql):
    cloud_sql.refusal = (404, "The Cloud SQL instance does not exist.")

    with pytest.raises(SourceUnavailable) as caught:
        read_stocks(source=f"cloudsql://{INSTANCE}/candles?user={USER}")

    assert INSTANCE in str(caught.value)
    assert "\n" not in str(caught.value)
