"""What is installed elsewhere works there, without the repository."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile

import pytest

from infra import package
from tests.support import servers
from tradesmart import verify

READ = """
import sys
from tradesmart import read_candles
frame = read_candles(["000200"], "5m", "2026-11-16", "2026-11-21", source=sys.argv[1])
print(len(frame), frame.attrs["coverage"]["states"])
print([name for name in sys.modules if name.split(".")[0] in {"shared", "infra"}])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder)]
    subprocess.run(
        [*command, *options, str(servers.ROOT / "reader")],
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("tradesmart-*.whl")
    return built


def test_it_brings_the_core_along_under_its_own_name(wheel):
    names = zipfile.ZipFile(wheel).namelist()

    assert "tradesmart/_core/verdicts.py" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"tradesmart"}
    assert not [name for name in names if "database" in name or "kiwoom" in name]


def test_it_reads_without_the_repository(wheel, market, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")

    done = subprocess.run(
        [sys.executable, "-c", READ, market],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "installed")},
    )

    told = done.stdout.splitlines()
    assert told == ["390 {'complete': 5}", "[]"], done.stderr


def test_the_job_of_the_cloud_exports_from_its_zip_alone(market, tmp_path):
    archive = zipfile.ZipFile(io.BytesIO(package.package_export()))
    archive.extractall(tmp_path / "job")
    _, _, command = archive.read("Procfile").decode().partition("\nexport: python")

    done = subprocess.run(
        ["bash", "-c", f"{sys.executable}{command}"],
        capture_output=True,
        text=True,
        cwd=tmp_path / "job",
        env={"TRADESMART_SOURCE": market, "EXPORT_TO": str(tmp_path / "to")},
    )

    assert done.returncode == 0, done.stderr
    assert verify(tmp_path / "to") == []
    assert not (tmp_path / "job" / "shared" / "kiwoom").exists()
    assert "pg8000" in (tmp_path / "job" / "requirements.txt").read_text()
