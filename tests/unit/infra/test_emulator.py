from __future__ import annotations

import pytest

from infra.local import emulator
from infra.local.processes import StartFailed


def test_without_an_emulator_the_command_to_install_one_is_told(monkeypatch):
    monkeypatch.setattr(emulator.shutil, "which", lambda _: None)

    with pytest.raises(StartFailed, match="gcloud components install pubsub-emulator"):
        emulator._command(4711)
