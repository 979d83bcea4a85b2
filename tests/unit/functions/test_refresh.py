from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from functions.token_refresher.refresh import refresh
from shared.messages import TokenRequest
from tests.support.builders import kst
from tests.support.fakes import TOKEN, FakeIssuer, FakeVault

NOW = kst("2026-11-20 12:10")
TICK = TokenRequest(reason="schedule")


def keys():
    return "app-key", "app-secret"


def test_the_first_token_is_issued_and_kept():
    vault, issuer = FakeVault(), FakeIssuer(NOW)

    assert refresh(TICK, keys, issuer, vault, NOW)

    assert issuer.issued_for == [("app-key", "app-secret")]
    assert vault.token.expires_at == NOW + timedelta(hours=24)


def test_a_token_that_is_good_for_long_is_kept():
    vault = FakeVault(replace(TOKEN, expires_at=NOW + timedelta(hours=14)))
    issuer = FakeIssuer(NOW)

    assert not refresh(TICK, keys, issuer, vault, NOW)

    assert issuer.issued_for == []
    assert vault.puts == 0


def test_a_token_that_would_not_survive_two_missed_ticks_is_replaced():
    vault = FakeVault(replace(TOKEN, expires_at=NOW + timedelta(hours=12)))

    assert refresh(TICK, keys, FakeIssuer(NOW), vault, NOW)
    assert vault.puts == 1


def test_a_token_that_was_rejected_is_replaced_however_fresh_it_looks():
    vault = FakeVault(replace(TOKEN, version="7"))
    request = TokenRequest(reason="token_rejected", rejected_version="7")

    assert refresh(request, keys, FakeIssuer(NOW), vault, NOW)
    assert vault.puts == 1


def test_a_token_that_was_rejected_and_replaced_is_not_replaced_again():
    vault = FakeVault(replace(TOKEN, version="8"))
    request = TokenRequest(reason="token_rejected", rejected_version="7")

    assert not refresh(request, keys, FakeIssuer(NOW), vault, NOW)


def test_an_operator_may_force_a_new_token():
    vault = FakeVault(TOKEN)
    request = TokenRequest(reason="operator", force=True)

    assert refresh(request, keys, FakeIssuer(NOW), vault, NOW)
