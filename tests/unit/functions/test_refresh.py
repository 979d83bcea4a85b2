from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from functions.token_refresher.refresh import refresh
from tests.builders import kst
from tests.fakes import TOKEN, FakeIssuer, FakeVault

NOW = kst("2026-11-20 12:10")


def keys():
    return "app-key", "app-secret"


def test_the_first_token_is_issued_and_kept():
    vault, issuer = FakeVault(), FakeIssuer(NOW)

    assert refresh(keys, issuer, vault, NOW)

    assert issuer.issued_for == [("app-key", "app-secret")]
    assert vault.token.expires_at == NOW + timedelta(hours=24)


def test_a_token_that_is_good_for_long_is_kept():
    vault = FakeVault(replace(TOKEN, expires_at=NOW + timedelta(hours=14)))
    issuer = FakeIssuer(NOW)

    assert not refresh(keys, issuer, vault, NOW)

    assert issuer.issued_for == []
    assert vault.puts == 0


def test_a_token_that_would_not_survive_two_missed_ticks_is_replaced():
    vault = FakeVault(replace(TOKEN, expires_at=NOW + timedelta(hours=12)))

    assert refresh(keys, FakeIssuer(NOW), vault, NOW)
    assert vault.puts == 1
