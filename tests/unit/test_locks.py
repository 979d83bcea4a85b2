"""What is installed anywhere is locked: with hashes, and up to date with what is asked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "locks").glob("*.txt"))
# lock NAME REQUIREMENTS, as make lock reads them.
LOCKED = re.findall(
    r"^(?:options=\S+ )?lock ([\w-]+) (\S+)",
    (ROOT / "infra" / "lock.sh").read_text(encoding="utf-8"),
    re.MULTILINE,
)
PINNED = re.compile(r"^([\w.-]+)(?:\[[\w,]+\])?==([^\s;]+)", re.MULTILINE)
INCLUDED = re.compile(r"^-r (\S+)", re.MULTILINE)
INSTALLERS = ["Makefile", "infra/local/setup.sh", ".ci/run", ".ci/bare"]


def pins_of(requirements):
    """The versions that a file of requirements asks for, also by those it includes."""
    text = requirements.read_text(encoding="utf-8")
    pins = {name.lower().replace("_", "-"): at for name, at in PINNED.findall(text)}
    for other in INCLUDED.findall(text):
        pins |= pins_of((requirements.parent / other).resolve())
    return pins


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_every_version_is_locked_with_its_hashes(lock):
    entries = re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8"))

    for entry in entries:
        assert re.match(r"[^ ]+==[^ ]+ .*--hash=sha256:", entry, re.DOTALL), entry


@pytest.mark.parametrize(("name", "requirements"), LOCKED)
def test_a_lock_has_all_that_is_asked_for(name, requirements):
    """If this fails: make lock."""
    asked = pins_of(ROOT / requirements)

    locked = pins_of(ROOT / "locks" / f"{name}.txt")

    assert asked
    assert asked.items() <= locked.items()


def test_make_lock_makes_every_lock():
    assert {name for name, _ in LOCKED} == {lock.stem for lock in LOCKS}


@pytest.mark.parametrize("file", INSTALLERS)
def test_nothing_is_installed_without_its_hashes(file):
    text = (ROOT / file).read_text(encoding="utf-8").replace("\\\n", " ")
    installs = [
        line
        for line in text.splitlines()
        if re.search(r"\bpip\b.*\binstall\b|^LOCKED :=", line)
    ]

    assert [line for line in installs if "--require-hashes" not in line] == []


def test_the_environments_that_share_packages_agree_on_them():
    """The reader's environment is laid over that of the pipeline."""
    ours, over = (pins_of(ROOT / "locks" / f"{name}.txt") for name in ("dev", "reader"))

    both = ours.keys() & over.keys()
    assert both
    assert {name: ours[name] for name in both} == {name: over[name] for name in both}


def test_a_requirement_that_is_not_locked_is_found(tmp_path):
    (tmp_path / "one.txt").write_text("-r other.txt\nplaywright==1.65.2  # why\n")
    (tmp_path / "other.txt").write_text("Google_Auth[x]==2.0 ; python_version > '3'\n")

    assert pins_of(tmp_path / "one.txt") == {
        "playwright": "1.65.2",
        "google-auth": "2.0",
    }
