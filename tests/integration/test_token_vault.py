from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from infra.local.processes import free_port
from shared.errors import (
    SecretMisconfigured,
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


@pytest.mark.parametrize("change", ["destroy", "disable"])
def test_what_cannot_be_read_any_more_has_no_age(secret_manager, secrets, change):
    secret_manager.create("kiwoom-token")
    assert secrets.usable_since("kiwoom-token") is None
    secrets.add("kiwoom-token", b"the-token")
    assert secrets.usable_since("kiwoom-token") is not None

    getattr(secret_manager, change)("kiwoom-token")

    assert secrets.usable_since("kiwoom-token") is None


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
        newest = vault.put(TOKEN)
    vault.destroy_older(newest)

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


class Clock:
    """Seconds that go by only while someone sleeps; ``then`` happens meanwhile."""

    def __init__(self, **then):
        self.seconds = 0.0
        self.then = {int(second[1:]): what for second, what in then.items()}

    def monotonic(self):
        return self.seconds

    def sleep(self, seconds):
        self.seconds += seconds
        self.then.pop(int(self.seconds), lambda: None)()


def test_another_token_is_waited_for(vault):
    vault.put(TOKEN)
    clock = Clock(s3=lambda: vault.put(TOKEN))
    cached = CachedToken(vault, lambda: NOW, clock.sleep, clock.monotonic)
    rejected = cached.current()
    cached.replacement(rejected)

    assert cached.wait_for_another(rejected.version, 60)
    assert clock.seconds == 3
    assert cached.current().version.endswith("/versions/2")


def test_the_first_token_is_waited_for(vault):
    clock = Clock(s2=lambda: vault.put(TOKEN))
    cached = CachedToken(vault, lambda: NOW, clock.sleep, clock.monotonic)

    assert cached.wait_for_another(None, 60)
    assert clock.seconds == 2


def test_while_the_vault_has_no_token_one_that_was_refused_is_no_other(
    vault, secret_manager
):
    """A leaked token is destroyed, and the broker ends it."""
    vault.put(TOKEN)
    clock = Clock(s3=lambda: vault.put(TOKEN))
    cached = CachedToken(vault, lambda: NOW, clock.sleep, clock.monotonic)
    rejected = cached.current()
    secret_manager.destroy("kiwoom-token")
    with pytest.raises(TokenMissing) as error:
        cached.replacement(rejected)

    assert cached.wait_for_another(error.value.version, 60)
    assert clock.seconds == 3


def test_while_the_vault_has_no_token_one_that_has_expired_is_no_other(
    vault, secret_manager
):
    vault.put(replace(TOKEN, expires_at=NOW + timedelta(seconds=1)))
    clock, now = Clock(s3=lambda: vault.put(TOKEN)), [NOW]
    cached = CachedToken(vault, lambda: now[0], clock.sleep, clock.monotonic)
    cached.current()
    secret_manager.destroy("kiwoom-token")
    now[0] += timedelta(minutes=1)
    with pytest.raises(TokenMissing) as error:
        cached.current()

    assert cached.wait_for_another(error.value.version, 60)
    assert clock.seconds == 3


def test_a_token_that_does_not_come_is_waited_for_no_longer_than_allowed(vault):
    clock = Clock()
    cached = CachedToken(vault, lambda: NOW, clock.sleep, clock.monotonic)

    assert not cached.wait_for_another(None, 5)
    assert clock.seconds == 5


def test_however_many_wait_the_vault_is_asked_once_a_second(vault, monkeypatch):
    asked, clock = [], Clock()
    cached = CachedToken(vault, lambda: NOW, lambda _: None, clock.monotonic)
    read = vault.current
    monkeypatch.setattr(vault, "current", lambda: (asked.append(1), read())[1])

    for _ in range(10):
        cached._has_another(None)

    assert len(asked) == 1


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
    secret_manager.let_latest_lag("kiwoom-token")

    assert vault.current().version.endswith("/versions/1")
    assert vault.stored().value == "newer"


@pytest.mark.parametrize("change", ["destroy", "disable"])
def test_what_this_instance_has_put_may_be_gone_as_well(vault, secret_manager, change):
    """A leaked token is destroyed: the refresher that put it must not go on with it."""
    vault.put(TOKEN)
    getattr(secret_manager, change)("kiwoom-token")

    assert vault.stored() is None
    secret_manager.let_latest_lag("kiwoom-token")
    assert vault.stored() is None


def test_an_older_version_does_not_take_the_place_of_one_that_was_destroyed(
    vault, secret_manager
):
    vault.put(TOKEN)
    vault.put(replace(TOKEN, value="leaked"))
    secret_manager.destroy("kiwoom-token")
    secret_manager.let_latest_lag("kiwoom-token")

    assert vault.current().value == TOKEN.value
    assert vault.stored() is None


@pytest.mark.parametrize(
    "payload",
    [b'{"token":null,"expires_at":"2026-11-21T08:00+09:00","app_key_id":"f"}', b"x"],
)
def test_a_version_without_a_token_is_no_token(vault, secret_manager, payload):
    secret_manager.create("kiwoom-token", payload)

    assert vault.stored() is None


READER = "roles/secretmanager.secretAccessor"
WRITER = "roles/secretmanager.secretVersionManager"


@pytest.mark.parametrize(
    ("method", "call", "role"),
    [
        ("AccessSecretVersion", lambda vault: vault.current(), READER),
        ("AccessSecretVersion", lambda vault: vault.stored(), READER),
        ("AddSecretVersion", lambda vault: vault.put(TOKEN), WRITER),
        ("ListSecretVersions", lambda vault: vault.put_since(NOW), WRITER),
        ("ListSecretVersions", lambda vault: vault.destroy_older(TOKEN), WRITER),
    ],
)
def test_a_missing_role_is_named_and_is_nothing_to_wait_for(
    vault, secret_manager, method, call, role
):
    secret_manager.deny(method, "kiwoom-token")

    with pytest.raises(SecretMisconfigured, match=f"kiwoom-token.*{role}"):
        call(vault)


def test_a_collector_without_the_role_does_not_wait_for_a_token(vault, secret_manager):
    vault.put(TOKEN)
    secret_manager.deny("AccessSecretVersion", "kiwoom-token")

    with pytest.raises(SecretMisconfigured, match=READER):
        CachedToken(vault, lambda: NOW).current()


def test_a_rejected_token_is_replaced_by_a_newer_one_only(vault):
    vault.put(TOKEN)
    cached = CachedToken(vault, lambda: NOW)
    rejected = cached.current()
    assert cached.replacement(rejected) is None

    vault.put(TOKEN)

    assert cached.replacement(rejected).version.endswith("/versions/2")
    assert cached.current().version.endswith("/versions/2")
