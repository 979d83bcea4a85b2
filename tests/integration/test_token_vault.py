from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from infra.local.processes import free_port
from shared.errors import (
    SecretUnavailable,
    TokenMissing,
    TokenRejected,
    VaultUnavailable,
)
from shared.settings import SecretSettings
from shared.token_vault import CachedToken, Secrets, TokenVault, new_client
from tests.support.builders import kst
from tests.support.fakes import TOKEN

NOW = kst("2026-11-20 10:30")


def connected(host):
    settings = SecretSettings(project="test-project", emulator_host=host)
    return Secrets(new_client(settings), settings.project, seconds=1)


@pytest.fixture
def secrets(secret_manager):
    return connected(secret_manager.host)


@pytest.fixture
def vault(secret_manager, secrets):
    secret_manager.create("kiwoom-token")
    return TokenVault(secrets, "kiwoom-token")


def test_a_secret_is_read(secret_manager, secrets):
    secret_manager.create("kiwoom-app-key", b"the-key")

    assert secrets.read("kiwoom-app-key")[0] == b"the-key"


def test_a_missing_secret_is_named_with_the_command_to_add_it(secrets):
    with pytest.raises(
        SecretUnavailable,
        match="kiwoom-app-key is missing; .*gcloud secrets versions add",
    ):
        secrets.read("kiwoom-app-key")


def test_a_destroyed_version_is_not_a_missing_secret(secret_manager, secrets):
    secret_manager.create("kiwoom-app-key", b"the-key")
    name = secrets.read("kiwoom-app-key")[1]
    secrets._client.destroy_secret_version(name=name)

    with pytest.raises(SecretUnavailable, match="disabled or destroyed"):
        secrets.read("kiwoom-app-key")


def test_a_vault_that_is_away_is_transient():
    secrets = connected(f"127.0.0.1:{free_port()}")

    with pytest.raises(VaultUnavailable):
        secrets.read("kiwoom-app-key")


def test_a_token_is_kept_as_a_new_version(vault):
    assert vault.stored() is None
    vault.put(TOKEN)

    kept = vault.current()

    assert (kept.value, kept.expires_at) == (TOKEN.value, TOKEN.expires_at)
    assert kept.version.endswith("/versions/1")


def test_older_versions_are_destroyed(vault, secrets, secret_manager):
    for _ in range(3):
        vault.put(TOKEN)

    parent = "projects/test-project/secrets/kiwoom-token"
    states = [
        version.state.name
        for version in secrets._client.list_secret_versions(parent=parent)
    ]
    assert states == ["ENABLED", "DESTROYED", "DESTROYED"]
    assert vault.current().version.endswith("/versions/3")


def test_a_collector_without_a_token_waits(vault):
    with pytest.raises(TokenMissing, match="tokens topic"):
        CachedToken(vault, lambda: NOW).current()


def test_the_token_is_read_once_an_instance(vault, secret_manager):
    vault.put(TOKEN)
    cached = CachedToken(vault, lambda: NOW)
    first = cached.current()
    secret_manager.stop()

    assert cached.current() is first


def test_an_expired_token_is_looked_up_again(vault):
    vault.put(TOKEN)
    now = [NOW]
    cached = CachedToken(vault, lambda: now[0])
    cached.current()
    vault.put(TOKEN)

    now[0] = TOKEN.expires_at + timedelta(seconds=1)

    assert cached.current().version.endswith("/versions/2")


def test_a_rejected_token_is_not_sent_again(vault):
    vault.put(TOKEN)
    cached = CachedToken(vault, lambda: NOW)
    rejected = cached.current()
    cached.replacement(rejected)

    with pytest.raises(TokenRejected, match="no newer one") as error:
        cached.current()

    assert error.value.version == rejected.version
    vault.put(TOKEN)
    assert cached.current().version.endswith("/versions/2")


def test_a_vault_that_tells_of_an_older_version_is_known_better(vault, secret_manager):
    """For a while, the service may still call the version before the newest one."""
    vault.put(TOKEN)
    vault.put(replace(TOKEN, value="newer"))
    with secret_manager._lock:
        secret = secret_manager._secrets["kiwoom-token"]
        secret.versions.pop()
        secret.versions[0].payload = TOKEN.to_bytes()
        secret.versions[0].state = 1

    assert vault.current().version.endswith("/versions/1")
    assert vault.stored().value == "newer"


def test_a_rejected_token_is_replaced_by_a_newer_one_only(vault):
    vault.put(TOKEN)
    cached = CachedToken(vault, lambda: NOW)
    rejected = cached.current()
    assert cached.replacement(rejected) is None

    vault.put(TOKEN)

    assert cached.replacement(rejected).version.endswith("/versions/2")
    assert cached.current().version.endswith("/versions/2")
