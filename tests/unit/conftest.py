"""Unit tests open no socket and never sleep."""

from __future__ import annotations

import time

import pytest
from hypothesis import settings

# Examples have a seed, and how long one takes is up to the machine.
settings.register_profile("unit", derandomize=True, database=None, deadline=None)
settings.load_profile("unit")


@pytest.fixture(autouse=True)
def _no_sockets(socket_disabled):
    return socket_disabled


@pytest.fixture(autouse=True)
def _no_sleep(monkeypatch):
    def refuse(seconds):
        pytest.fail(f"a unit test slept {seconds} s")

    monkeypatch.setattr(time, "sleep", refuse)
