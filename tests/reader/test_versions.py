"""Another version of pyarrow makes the same export, and each reads what the other made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from tests.reader.conftest import NOW
from tests.support import servers
from tradesmart import export, read_candles, verify

# make test puts the oldest one that the package takes there.
OLDER = Path(sys.prefix) / "pyarrow-older"
ELSEWHERE = """
import json, sys
from datetime import datetime
import pyarrow
import tradesmart.source
from tradesmart import export, read_candles, verify

tradesmart.source.clock = lambda: datetime.fromisoformat(sys.argv[1])
market, theirs, ours = sys.argv[2:]
export(ours, source=market)
frame = read_candles("targets", "5m", source=theirs, session="all")
frame.to_pickle(ours + ".pickle")
told = {"version": pyarrow.__version__, "broken": verify(theirs)}
json.dump(told | {"coverage": frame.attrs["coverage"]}, sys.stdout)
"""


@pytest.fixture(scope="module")
def made(postgres, tmp_path_factory):
    """The same market exported by both, and what the older one says of the newer's."""
    market = postgres.url("market")
    folder = tmp_path_factory.mktemp("versions")
    ours, theirs = folder / "newer", folder / "older"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tradesmart.source.clock", lambda: NOW)
        export(ours, source=market)
    path = [str(OLDER), str(servers.ROOT), str(servers.ROOT / "reader")]
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, f"{NOW}", market, str(ours), str(theirs)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
    )
    assert done.returncode == 0, done.stderr
    return ours, theirs, json.loads(done.stdout)


def files(folder):
    manifest = json.loads((folder / "manifests/latest.json").read_text())
    return {file["path"]: file["digest"] for file in manifest["files"]}


def test_another_version_gives_files_the_same_names(made):
    ours, theirs, told = made

    assert int(told["version"].split(".")[0]) < int(pa.__version__.split(".")[0])
    assert files(theirs) == files(ours)


def test_names_are_the_same_although_the_bytes_are_not(made):
    ours, theirs, _ = made
    candles = [path for path in files(ours) if path.startswith("candles/")]

    assert candles
    for path in candles:
        assert (ours / path).read_bytes() != (theirs / path).read_bytes()


def test_what_an_older_version_wrote_is_read_and_verified(made):
    ours, theirs, _ = made

    assert verify(theirs) == []
    pd.testing.assert_frame_equal(
        *(read_candles("targets", "1d", source=folder) for folder in (ours, theirs))
    )


def test_an_older_version_reads_and_verifies_what_this_one_wrote(made):
    ours, theirs, told = made
    frame = read_candles("targets", "5m", source=ours, session="all")

    assert told["broken"] == []
    assert told["coverage"] == frame.attrs["coverage"]
    pd.testing.assert_frame_equal(pd.read_pickle(f"{theirs}.pickle"), frame)


def test_an_export_is_continued_by_another_version(made, market):
    _, theirs, _ = made

    assert export(theirs, source=market).written == 0
