"""An export: its layout, the same bytes for the same data, and never half of one."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.reader.conftest import NOW
from tests.reader.storage import Storage
from tests.support import servers
from tradesmart import (
    IncompleteData,
    SourceUnavailable,
    export,
    iter_candles,
    read_actions,
    read_candles,
    read_sessions,
    read_stocks,
    verify,
)
from tradesmart.progress import line, progress

WEEK = ("2026-11-16", "2026-11-21")
OLD = 30 * 86400
END = "2026-11-21"
ENVIRON = os.environ | {"PYTHONPATH": f"{servers.ROOT}:{servers.ROOT / 'reader'}"}
KILLED = """
import os, pathlib, signal, sys
from tradesmart import export

left, replace = int(sys.argv[3]), pathlib.Path.replace

def replaced(path, to):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(path, to)

pathlib.Path.replace = replaced
while True:
    export(sys.argv[2], source=sys.argv[1])
"""
# Exports one after another, each killed at a moment of its own: a process that has
# everything loaded forks them, so that no moment is spent on loading.
KILLED_ANYWHERE = """
import os, random, signal, sys, time
from tradesmart import export, verify

source, folder, seed, rounds = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
moments, lasts = random.Random(seed), float(sys.argv[5])
for number in range(rounds):
    child = os.fork()
    if not child:
        export(folder, source=source, quiet=True)
        os._exit(0)
    moment = moments.uniform(0, lasts)
    time.sleep(moment)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print(number, round(moment, 3), verify(folder), flush=True)
"""
# A longer search: KILLS=500 SEED=7 .venv-reader/bin/python -m pytest tests/reader -k moment
KILLS = int(os.environ.get("KILLS", "12"))
SEED = os.environ.get("SEED", "20261125")


@pytest.fixture(scope="module")
def exported(postgres, tmp_path_factory):
    """An export of the market that no test changes."""
    folder = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tradesmart.source.clock", lambda: NOW)
        export(folder, source=postgres.url("market"))
    return folder


def files(folder, pattern="**/*.*"):
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.glob(pattern)
        if path.is_file() and path.name != ".lock"
    )


def content(folder):
    return {path: (folder / path).read_bytes() for path in files(folder)}


def manifest(folder):
    return json.loads((folder / "manifests/latest.json").read_text(encoding="utf-8"))


def month(folder, name="2026-11"):
    (path,) = folder.glob(f"candles/timeframe=5m/month={name}/*.parquet")
    return path


def test_it_lies_as_promised(exported):
    names = {path.rpartition("/")[0] for path in files(exported)}

    assert names == {
        *(f"candles/timeframe=5m/month=2026-{m}" for m in ("09", "10", "11")),
        "candles/timeframe=60m/month=2026-11",
        *(
            f"candles/timeframe={t}/year={y}"
            for t in ("1d", "1w")
            for y in (2025, 2026)
        ),
        *("stocks", "sessions", "actions", "series", "quiet", "manifests"),
    }
    assert files(exported, "manifests/*") == [
        "manifests/2026-11-21.json",
        "manifests/latest.json",
    ]


@pytest.mark.parametrize("timeframe", ["5m", "60m", "1d", "1w"])
def test_candles_are_read_from_it_as_from_the_database(exported, market, timeframe):
    for options in ({"session": "all"}, {"start": "2026-11-16", "end": "2026-11-21"}):
        ours = read_candles("targets", timeframe, source=exported, **options)
        theirs = read_candles("targets", timeframe, source=market, **options)

        pd.testing.assert_frame_equal(ours, theirs)
        assert ours.attrs["coverage"]["states"] == theirs.attrs["coverage"]["states"]


def test_tables_are_read_from_it_as_from_the_database(exported, market):
    for read in (read_stocks, read_sessions, read_actions):
        pd.testing.assert_frame_equal(read(source=exported), read(source=market))


def test_frames_are_iterated_from_several_months(exported, monkeypatch):
    monkeypatch.setattr("tradesmart.exported.TOGETHER", 2)
    read = read_candles("targets", "5m", source=exported)

    parts = list(iter_candles("targets", "5m", source=exported))

    pd.testing.assert_frame_equal(pd.concat(parts), read, check_index_type=False)


def test_a_code_keeps_its_zeros_whoever_reads_it(exported):
    folder = exported / "candles"
    glob = f"{folder}/timeframe=5m/**/*.parquet"

    arrow = ds.dataset(folder / "timeframe=5m", partitioning="hive").to_table(
        filter=ds.field("stock_code") == "000200"
    )
    query = f"SELECT count(*) FROM '{glob}' WHERE stock_code = '000200'"
    ((duck,),) = duckdb.sql(query).fetchall()
    frame = pd.read_parquet(month(exported))
    polar = pl.scan_parquet(glob).filter(pl.col("stock_code") == "000200")

    expected = len(read_candles("000200", "5m", source=exported, session="all"))
    assert len(arrow) == duck == polar.collect().height == expected
    assert set(frame["stock_code"]) == {"000200", "000660", "005930"}
    assert str(frame["opened_at"].dt.tz) == "UTC"


def test_a_file_is_small_sorted_and_says_what_it_is(exported):
    found = pq.ParquetFile(month(exported), page_checksum_verification=True)
    table = found.read()
    column = found.metadata.row_group(0).column(1)

    assert found.metadata.row_group(0).num_rows == len(table) < 131_072
    assert column.compression == "ZSTD"
    assert column.statistics.has_min_max
    assert "DELTA_BINARY_PACKED" in column.encodings
    assert "RLE_DICTIONARY" in found.metadata.row_group(0).column(0).encodings
    assert str(table.schema.field("opened_at").type) == "timestamp[us, tz=UTC]"
    assert table.equals(
        table.sort_by([("stock_code", "ascending"), ("opened_at", "ascending")])
    )
    metadata = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
    assert metadata["tradesmart.contract"] == "1"
    assert metadata["tradesmart.digest"] == month(exported).stem
    assert metadata["tradesmart.sealed"] == "2026-11-02 2026-11-20"


def test_row_groups_are_full_however_the_candles_arrive(market, tmp_path, monkeypatch):
    monkeypatch.setattr("tradesmart.layout.ROW_GROUP", 1000)

    export(tmp_path, source=market)

    sizes = [
        pq.ParquetFile(month(tmp_path)).metadata.row_group(place).num_rows
        for place in range(pq.ParquetFile(month(tmp_path)).num_row_groups)
    ]
    assert set(sizes[:-1]) == {1000}


def test_the_same_data_make_the_same_bytes(exported, market, tmp_path):
    export(tmp_path, source=market)

    assert content(tmp_path) == content(exported)


def test_the_digest_is_that_of_the_content_and_not_of_its_parquet(exported, tmp_path):
    path = month(exported)
    copy = tmp_path / path.relative_to(exported)
    copy.parent.mkdir(parents=True)
    pq.write_table(pq.read_table(path), copy, compression="snappy", row_group_size=77)
    told = manifest(exported)
    (file,) = [f for f in told["files"] if f["path"] == str(path.relative_to(exported))]
    told["files"] = [file | {"bytes": copy.stat().st_size}]
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests/latest.json").write_text(json.dumps(told))

    assert verify(tmp_path) == []


def test_what_has_not_changed_is_not_written_again(exported, market):
    before = {path: (exported / path).stat().st_mtime_ns for path in files(exported)}

    done = export(exported, source=market)

    assert (done.written, done.rows, done.removed) == (0, 0, 0)
    after = {path: (exported / path).stat().st_mtime_ns for path in files(exported)}
    written = {path for path in after if after[path] != before[path]}
    assert written == {"manifests/2026-11-21.json", "manifests/latest.json"}


def test_only_what_has_changed_is_written(a_market, store, tmp_path):
    export(tmp_path, source=a_market)
    before = set(files(tmp_path))
    store(
        "UPDATE candles SET volume = volume + 1 WHERE stock_code = '000200'"
        " AND timeframe = '5m' AND opened_at = '2026-10-20 10:30+09'"
    )

    done = export(tmp_path, source=a_market)

    written = {path.rpartition("/")[0] for path in set(files(tmp_path)) - before}
    # Days have the price of the closing auction, which comes from minutes.
    assert written == {
        "candles/timeframe=5m/month=2026-10",
        "candles/timeframe=1d/year=2026",
    }
    assert done.written == 2
    assert verify(tmp_path) == []


def test_candles_that_are_not_those_that_were_sealed_are_not_exported(
    a_market, execute, tmp_path
):
    export(tmp_path / "before", source=a_market)
    execute(
        "DELETE FROM candles WHERE stock_code = '000200' AND timeframe = '5m'"
        " AND opened_at = '2026-10-20 10:30+09'"
    )

    with pytest.raises(SourceUnavailable) as caught:
        export(tmp_path / "after", source=a_market)

    assert "5m candles of 2026-10 are not those that were sealed" in str(caught.value)
    assert not (tmp_path / "after" / "manifests").exists()
    # What was written before the candle was dropped still has it.
    assert export(tmp_path / "before", source=a_market).written == 0
    read_candles("000200", "5m", "2026-10-19", "2026-10-24", source=tmp_path / "before")


def test_what_is_not_settled_is_not_exported(a_market, store, tmp_path):
    store(
        "UPDATE series SET settled_through = '2026-11-18' WHERE stock_code = '000660'"
    )

    export(tmp_path, source=a_market)

    frame = read_candles("targets", "5m", source=tmp_path, settled=False, require=None)
    newest = frame.reset_index().groupby("stock_code")["opened_at"].max().dt.day
    assert newest.to_dict() == {"000200": 20, "000660": 18, "005930": 20}


def test_what_a_range_lacks_is_refused_as_by_the_database(exported):
    with pytest.raises(IncompleteData, match="not asked for"):
        read_candles("005930", "5m", "2026-08-26", "2026-09-05", source=exported)


def test_absences_and_days_without_trades_come_along(a_market, store, tmp_path):
    where = "timeframe = '5m' AND opened_at = '2026-11-18 10:30+09'"
    store(
        "INSERT INTO absent_slots SELECT stock_code, timeframe, opened_at, 'run'"
        f" FROM candles WHERE {where}"
    )
    store(f"DELETE FROM candles WHERE {where}")
    store(
        "UPDATE candles SET volume = 0 WHERE stock_code = '000660'"
        " AND timeframe = '1d' AND opened_at = '2026-11-17 00:00+09'"
    )
    store(
        "DELETE FROM candles WHERE stock_code = '000660' AND timeframe = '5m'"
        " AND opened_at >= '2026-11-17 00:00+09' AND opened_at < '2026-11-18 00:00+09'"
    )

    export(tmp_path, source=a_market)

    frame = read_candles("targets", "5m", *WEEK, source=tmp_path)
    states = frame.attrs["coverage"]["states"]
    assert states == {"complete": 11, "thin": 3, "no trades": 1}


@pytest.mark.parametrize("how", ["truncated", "flipped", "gone"])
def test_a_damaged_file_is_named_with_the_sessions_that_it_costs(market, tmp_path, how):
    export(tmp_path, source=market)
    path = month(tmp_path)
    damage(path, how)

    with pytest.raises(IncompleteData) as caught:
        read_candles("000200", "5m", *WEEK, source=tmp_path)

    assert path.relative_to(tmp_path).as_posix() in str(caught.value)
    assert "export again" in str(caught.value)
    assert caught.value.gaps["sessions"].tolist() == [5]
    read_candles("000200", "5m", "2026-10-05", "2026-10-30", source=tmp_path)
    (told,) = verify(tmp_path)
    assert path.name in told


def damage(path, how):
    whole = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
        return
    if how == "truncated":
        del whole[len(whole) // 2 :]
    else:
        whole[len(whole) // 3] ^= 1
    path.write_bytes(whole)


@pytest.mark.parametrize("how", ["truncated", "gone"])
def test_the_next_export_writes_what_is_damaged_anew(market, tmp_path, how):
    export(tmp_path, source=market)
    before = content(tmp_path)
    damage(month(tmp_path), how)

    assert export(tmp_path, source=market).written == 1

    assert content(tmp_path) == before


def test_a_killed_export_leaves_the_last_one_whole(a_market, store, tmp_path):
    export(tmp_path, source=a_market)
    latest = (tmp_path / "manifests/latest.json").read_bytes()
    whole = len(read_candles("targets", "5m", end=END, source=tmp_path))
    store("UPDATE candles SET volume = volume + 1")
    changed = len(files(tmp_path, "candles/**/*.parquet"))

    # Before a file gets its name: one of the first ones, or either manifest.
    for rename in (1, 3, changed + 1, changed + 2):
        process = subprocess.run(killed_at(rename, a_market, tmp_path), env=ENVIRON)
        assert process.returncode == -signal.SIGKILL
        assert (tmp_path / "manifests/latest.json").read_bytes() == latest
        assert verify(tmp_path) == []
        assert len(read_candles("targets", "5m", end=END, source=tmp_path)) == whole

    is_as_if_never_killed(tmp_path, a_market)


def test_an_export_may_be_killed_at_any_moment(a_market, store, tmp_path):
    done = export(tmp_path / "to", source=a_market)
    store("UPDATE candles SET volume = volume + 1 WHERE opened_at > '2025-12-01'")
    arguments = [a_market, str(tmp_path / "to"), SEED, f"{KILLS}", f"{done.seconds}"]

    killed = subprocess.run(
        [sys.executable, "-c", KILLED_ANYWHERE, *arguments],
        capture_output=True,
        text=True,
        env=ENVIRON,
    )

    told = killed.stdout.splitlines()
    assert len(told) == KILLS, killed.stderr
    assert [line for line in told if not line.endswith("[]")] == []
    is_as_if_never_killed(tmp_path / "to", a_market)


def is_as_if_never_killed(folder, market):
    """After an export that came to its end; a further one finds nothing to do."""
    export(folder, source=market)
    assert export(folder, source=market).written == 0
    assert verify(folder) == []
    assert not list(folder.rglob(".unfinished*"))
    with tempfile.TemporaryDirectory() as fresh:
        export(fresh, source=market)
        assert paths(Path(fresh)) == paths(folder)
    for timeframe in ("5m", "1d"):
        rows = len(read_candles("targets", timeframe, source=folder, session="all"))
        assert everyones_rows(folder, timeframe) == dict.fromkeys(OTHERS, rows)


OTHERS = {
    "pyarrow": lambda files: len(ds.dataset(files).to_table()),
    "pandas": lambda files: sum(len(pd.read_parquet(file)) for file in files),
    "duckdb": lambda files: len(duckdb.read_parquet(files).fetchall()),
    "polars": lambda files: pl.scan_parquet(files).collect().height,
}


def everyones_rows(folder, timeframe):
    """How many candles others find in the files of the manifest."""
    listed = [
        str(folder / file["path"])
        for file in manifest(folder)["files"]
        if (file["kind"], file["timeframe"]) == ("candles", timeframe)
    ]
    return {name: count(listed) for name, count in OTHERS.items()}


@pytest.mark.parametrize("named", ["candles/", "manifests/2", "manifests/latest"])
def test_an_export_to_a_bucket_may_be_killed_at_any_object(
    a_market, store, storage, named
):
    export("gs://candles", source=a_market)
    before = storage.objects["manifests/latest.json"].content
    store("UPDATE candles SET volume = volume + 1 WHERE opened_at > '2025-12-01'")

    def kill(name):
        if name.startswith(named):
            process.kill()
            process.wait()
            raise ConnectionAbortedError

    storage.before_write = kill
    environ = ENVIRON | {"STORAGE_EMULATOR_HOST": storage.url}
    command = [sys.executable, "-m", "tradesmart", "export", "gs://candles"]
    process = subprocess.Popen([*command, "--source", a_market], env=environ)
    assert process.wait() == -signal.SIGKILL
    storage.before_write = lambda name: None

    assert storage.objects["manifests/latest.json"].content == before
    assert verify("gs://candles") == []
    export("gs://candles", source=a_market)
    assert export("gs://candles", source=a_market).written == 0
    assert verify("gs://candles") == []


def test_an_export_that_was_killed_before_its_manifest_is_none(market, tmp_path):
    for rename in (2, 14):
        subprocess.run(killed_at(rename, market, tmp_path), env=ENVIRON)
        with pytest.raises(SourceUnavailable, match="no export"):
            read_candles("005930", "5m", source=tmp_path)

    done = export(tmp_path, source=market)

    assert verify(tmp_path) == []
    assert done.written == len(paths(tmp_path))


def killed_at(rename, source, folder):
    """An export that kills itself before it gives the n-th file its name."""
    return [sys.executable, "-c", KILLED, source, str(folder), str(rename)]


def paths(folder):
    return {file["path"] for file in manifest(folder)["files"]}


def test_old_files_stay_for_the_time_that_is_set(a_market, store, tmp_path):
    export(tmp_path, source=a_market)
    (former,) = files(tmp_path, "candles/timeframe=5m/month=2026-11/*")
    store("UPDATE candles SET volume = volume + 1 WHERE timeframe = '5m'")

    assert export(tmp_path, source=a_market).removed == 0
    assert (tmp_path / former).exists()

    for path in tmp_path.rglob("*.*"):
        os.utime(path, (time.time() - OLD, time.time() - OLD))
    done = export(tmp_path, source=a_market, keep=timedelta(days=29))
    # A month of minutes three times, and the days, which have their closes.
    assert done.removed == 4
    assert not (tmp_path / former).exists()
    assert verify(tmp_path) == []


def test_other_files_in_the_folder_are_left_alone(market, tmp_path):
    own = tmp_path / "notes" / "mine.txt"
    own.parent.mkdir()
    own.write_text("mine")
    os.utime(own, (0, 0))

    export(tmp_path, source=market, keep=timedelta())

    assert own.read_text() == "mine"


def test_two_exports_into_one_folder_take_turns(market, tmp_path):
    from tradesmart.places import open_place  # noqa: PLC0415

    with (
        open_place(tmp_path, writing=True),
        pytest.raises(SourceUnavailable, match="another export"),
    ):
        export(tmp_path, source=market)


def test_csv_has_the_same_rows_in_seouls_time_and_the_same_bytes(market, tmp_path):
    for name in ("one", "two"):
        export(tmp_path / name, source=market, format="csv")

    assert content(tmp_path / "one") == content(tmp_path / "two")
    (path,) = (tmp_path / "one").glob("candles/timeframe=1d/year=2026/*.csv.gz")
    rows = gzip.decompress(path.read_bytes()).decode().splitlines()
    assert rows[0].split(",")[:3] == ["stock_code", "opened_at", "open"]
    assert rows[1].startswith("000200,2026-01-02T00:00:00+09:00,")
    assert path.read_bytes()[4:8] == bytes(4)
    with pytest.raises(SourceUnavailable, match="only Parquet"):
        read_candles("005930", "1d", source=tmp_path / "one")


def test_csv_tells_instants_to_the_microsecond_where_they_have_some(
    a_market, execute, tmp_path
):
    execute(
        "UPDATE series SET asked_at = '2026-11-21 08:01:02.345678+09'"
        " WHERE stock_code = '000200' AND timeframe = '1d'"
    )

    export(tmp_path, source=a_market, format="csv")

    (path,) = (tmp_path / "series").glob("*.csv.gz")
    told = gzip.decompress(path.read_bytes()).decode()
    assert "2026-11-21T08:01:02.345678+09:00" in told
    assert "2026-11-21T07:31:00+09:00" in told


def test_an_export_with_something_unknown_in_its_manifest_is_one_sentence(tmp_path):
    (tmp_path / "manifests").mkdir()
    told = {"contract": 1, "read_at": "2026-11-21T01:00:00+00:00", "files": [{"a": 1}]}
    (tmp_path / "manifests/latest.json").write_text(json.dumps(told))

    with pytest.raises(SourceUnavailable, match="of another release"):
        read_candles("005930", "5m", source=tmp_path)


def test_a_folder_without_an_export_says_how_to_make_one(tmp_path):
    with pytest.raises(SourceUnavailable, match="make export TO="):
        read_candles("005930", "5m", source=tmp_path)


@pytest.mark.parametrize(
    ("contract", "told"), [(0, "export again"), (2, "install the package")]
)
def test_an_export_of_another_release_is_told_as_such(tmp_path, contract, told):
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests/latest.json").write_text(json.dumps({"contract": contract}))

    with pytest.raises(SourceUnavailable, match=told):
        read_candles("005930", "5m", source=tmp_path)


def test_the_bar_tells_rate_and_time_left():
    assert line(250, 1000, 10.0) == (
        "[######..................] 250 of 1,000 candles, 25/s, 0:30 left"
    )


def test_the_bar_is_for_terminals_only(capsys, monkeypatch):
    with progress(10, quiet=False) as advance:
        advance(5)
    assert capsys.readouterr().err == ""

    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress(10, quiet=False) as advance:
        advance(5)
    assert "5 of 10" in capsys.readouterr().err


@pytest.fixture
def storage(monkeypatch, tmp_path):
    with Storage() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        monkeypatch.setenv("TRADESMART_CACHE", str(tmp_path / "cache"))
        yield server
        server.shutdown()
        thread.join()


def test_a_bucket_is_written_and_read_like_a_folder(market, exported, storage):
    done = export("gs://candles/krx", source=market)

    there = {f"krx/{path}": bytes_ for path, bytes_ in content(exported).items()}
    assert {name: o.content for name, o in storage.objects.items()} == there
    assert done.written == len(manifest(exported)["files"])
    assert export("gs://candles/krx", source=market).written == 0
    frame = read_candles("targets", "5m", source="gs://candles/krx")
    pd.testing.assert_frame_equal(frame, read_candles("targets", "5m", source=market))
    assert verify("gs://candles/krx") == []


def test_a_file_of_a_bucket_is_downloaded_once(market, storage):
    export("gs://candles", source=market)
    read_candles("005930", "5m", *WEEK, source="gs://candles")
    storage.downloads.clear()

    read_candles("000660", "5m", *WEEK, source="gs://candles")

    assert storage.downloads == ["manifests/latest.json"]


def test_two_exporters_cannot_tear_the_manifest_of_a_bucket(market, storage):
    export("gs://candles", source=market)
    theirs = b'{"contract": 1, "files": []}'

    def overtake(name):
        if name == "manifests/latest.json":
            storage.before_write = lambda _: None
            storage.write(name, theirs)

    storage.before_write = overtake

    with pytest.raises(SourceUnavailable, match="another export"):
        export("gs://candles", source=market)
    assert storage.objects["manifests/latest.json"].content == theirs


def test_large_files_are_uploaded_so_that_they_can_be_resumed(storage, tmp_path):
    from tradesmart.places import open_place  # noqa: PLC0415

    size = 9 * 1024 * 1024
    with open_place("gs://candles") as place, place.writing("candles/big") as file:
        file.write_bytes(bytes(size))

    assert len(storage.objects["candles/big"].content) == size
    assert len(storage.uploads) == 1


def test_a_bucket_that_is_not_there_is_one_sentence(monkeypatch):
    monkeypatch.setenv(
        "STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{servers.free_port()}"
    )
    monkeypatch.setattr("tradesmart.bucket.PATIENCE", 0.5)

    with pytest.raises(SourceUnavailable) as caught:
        read_candles("005930", "5m", source="gs://nowhere")

    assert "gs://nowhere cannot be used" in str(caught.value)
    assert "\n" not in str(caught.value)
