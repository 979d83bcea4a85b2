from __future__ import annotations

from datetime import timedelta

import pytest

from infra.local.options import Options
from shared.errors import ConfigError
from tests.support.builders import kst

NOW = kst("2026-11-24 08:00")
KEYS = {"KIWOOM_APP_KEY": "key", "KIWOOM_SECRET_KEY": "top-secret"}


@pytest.fixture
def read(tmp_path):
    def read(environ=None, env_file=""):
        path = tmp_path / ".env"
        path.write_text(env_file, encoding="utf-8")
        return Options.from_env(environ or {}, NOW, path)

    return read


def test_nobody_needs_an_account(read):
    options = read()

    assert options.base_url is None
    assert options.database_url is None
    assert options.limited
    assert options.database_name == options.prices == "simulated"


def test_real_keys_mean_the_real_broker(read):
    options = read(KEYS)

    assert options.base_url == "https://api.kiwoom.com"
    assert options.database_name == "api_kiwoom_com"
    assert options.prices == "market"
    assert "top-secret" not in repr(options)


def test_the_mock_host_has_a_database_of_its_own(read):
    options = read(KEYS | {"KIWOOM_MODE": "mock"})

    assert options.base_url == "https://mockapi.kiwoom.com"
    assert options.database_name == "mockapi_kiwoom_com"


def test_the_file_is_read_and_the_environment_wins(read):
    options = read({"RATE": "off"}, "RATE=on\nKIWOOM_MODE=mock\n")

    assert not options.limited
    assert options.mode == "mock"


def test_another_broker_can_stand_in(read):
    options = read(KEYS | {"KIWOOM_BASE_URL": "http://127.0.0.1:8099"})

    assert options.base_url == "http://127.0.0.1:8099"
    assert options.database_name == "127_0_0_1_8099"


def test_a_moment_is_a_time_in_seoul(read):
    options = read({"NOW": "2026-11-20T10:30"})

    assert options.moment == kst("2026-11-20 10:30")
    assert options.clock_offset == -timedelta(days=3, hours=21, minutes=30)
    assert options.database_name == "simulated_at_20261120t1030"


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("KIWOOM_APPKEY", "KIWOOM_APP_KEY"),
        ("KIWOOM_SECRETKEY", "KIWOOM_SECRET_KEY"),
        ("kiwoom_app_key", "KIWOOM_APP_KEY"),
        ("KIWOOM_SERVER", "KIWOOM_"),
    ],
)
def test_a_misspelt_key_never_simulates_silently(read, misspelt, meant):
    with pytest.raises(ConfigError, match=rf"{misspelt} in .env is unknown: .*{meant}"):
        read(env_file=f"{misspelt}=abc\n")


def test_names_of_other_programs_are_left_alone(read):
    assert read({"KIWOOM_ACCOUNT": "1"}, "UPBIT_KEY=x\n").base_url is None


def test_a_file_from_windows_is_read(read):
    options = read(env_file="\ufeffKIWOOM_MODE=mock\r\nRATE=off\r\n")

    assert options.mode == "mock"
    assert not options.limited


def test_a_file_that_cannot_be_decoded_is_named(tmp_path):
    path = tmp_path / ".env"
    path.write_bytes("KIWOOM_MODE=실전".encode("cp949"))

    with pytest.raises(ConfigError, match=r"\.env cannot be read: it is not UTF-8"):
        Options.from_env({}, NOW, path)


@pytest.mark.parametrize(
    ("environ", "remedy"),
    [
        ({"KIWOOM_MODE": "paper"}, "KIWOOM_MODE must be real or mock"),
        ({"RATE": "slow"}, "RATE must be on or off"),
        ({"PUBSUB": "real"}, "PUBSUB must be embedded or emulator"),
        ({"PUSH": "fast"}, "PUSH must be cloud or steady"),
        ({"NOW": "10:30"}, "NOW must be a time in Seoul such as 2026-11-20T10:30"),
        ({"KIWOOM_APP_KEY": "key"}, "KIWOOM_SECRET_KEY is missing"),
        ({"KIWOOM_SECRET_KEY": "s"}, "KIWOOM_APP_KEY is missing"),
        ({"KIWOOM_BASE_URL": "http://x"}, "needs KIWOOM_APP_KEY"),
        ({"DATA": "/nowhere"}, "DATA must be a folder"),
    ],
)
def test_a_wrong_variable_is_named_with_the_remedy(read, environ, remedy):
    with pytest.raises(ConfigError, match=remedy):
        read(environ)
