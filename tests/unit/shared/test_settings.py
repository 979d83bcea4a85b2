from __future__ import annotations

from datetime import timedelta

import pytest

from shared.errors import ConfigError
from shared.settings import (
    ClockSettings,
    DatabaseSettings,
    KiwoomSettings,
    LogSettings,
    PriceSettings,
    PubSubSettings,
    SecretSettings,
)


def test_every_missing_variable_is_named_at_once():
    with pytest.raises(ConfigError) as refused:
        DatabaseSettings.from_env({})

    for name in ("CLOUD_SQL_INSTANCE", "DATABASE_USER", "DATABASE_NAME"):
        assert f"{name} is missing" in str(refused.value)


def test_a_url_spares_the_cloud_sql_variables():
    settings = DatabaseSettings.from_env(
        {"DATABASE_URL": "postgresql://u:password@h/d", "THREADS": "16"}
    )

    assert settings.pool_size == 16
    assert "password" not in repr(settings)


def test_places_for_messages_and_connections_are_two_numbers():
    environ = {
        "DATABASE_URL": "postgresql://u@h/d",
        "THREADS": "16",
        "DATABASE_POOL": "4",
    }

    assert DatabaseSettings.from_env(environ).pool_size == 4
    assert KiwoomSettings.from_env(environ).at_once == 16


def test_the_real_broker_is_asked_four_times_a_second():
    settings = KiwoomSettings.from_env({})

    assert settings.base_url == "https://api.kiwoom.com"
    assert settings.requests_per_second == 4.0


def test_the_mock_broker_is_slower():
    settings = KiwoomSettings.from_env({"KIWOOM_MODE": "mock"})

    assert settings.base_url == "https://mockapi.kiwoom.com"
    assert settings.requests_per_second == 0.9


def test_the_limit_can_be_switched_off():
    assert KiwoomSettings.from_env({"KIWOOM_RATE": "off"}).requests_per_second is None


@pytest.mark.parametrize("name", ["KIWOOM_MODE", "KIWOOM_RATE"])
def test_a_wrong_choice_is_named(name):
    with pytest.raises(ConfigError, match=f"{name} must be"):
        KiwoomSettings.from_env({name: "sometimes"})


def test_prices_are_those_of_the_market_unless_it_is_said():
    assert PriceSettings.from_env({}).source == "market"
    assert PriceSettings.from_env({"PRICES": "recorded"}).source == "recorded"
    with pytest.raises(ConfigError, match="PRICES must be"):
        PriceSettings.from_env({"PRICES": "real"})


def test_the_clock_may_be_moved_on_one_machine():
    settings = ClockSettings.from_env({"CLOCK_OFFSET_SECONDS": "-3600"})

    assert settings.offset == timedelta(hours=-1)


def test_the_clock_cannot_be_moved_in_the_cloud():
    moved = {"CLOCK_OFFSET_SECONDS": "-3600", "K_SERVICE": "collector"}

    assert ClockSettings.from_env(moved).offset == timedelta()


def test_a_number_that_is_none_is_named():
    with pytest.raises(ConfigError, match="CLOCK_OFFSET_SECONDS must be a number"):
        ClockSettings.from_env({"CLOCK_OFFSET_SECONDS": "soon"})


@pytest.mark.parametrize("settings", [LogSettings, SecretSettings, PubSubSettings])
def test_the_project_is_needed(settings):
    with pytest.raises(ConfigError, match="GOOGLE_CLOUD_PROJECT is missing"):
        settings.from_env({})
