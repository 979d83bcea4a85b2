from __future__ import annotations

from datetime import timedelta

import pytest

from shared.tokens import AccessToken, fingerprint
from tests.support.builders import kst
from tests.support.fakes import TOKEN


def test_a_token_never_shows_itself():
    assert "top-secret" not in repr(TOKEN)


def test_a_token_survives_the_vault():
    kept = AccessToken.from_bytes(TOKEN.to_bytes(), "7")

    assert (kept.value, kept.expires_at, kept.version) == (
        TOKEN.value,
        TOKEN.expires_at,
        "7",
    )


def test_what_is_no_token_is_not_repeated():
    with pytest.raises(ValueError, match="does not hold a token") as refused:
        AccessToken.from_bytes(b'{"token": "top-secret"}', "1")

    assert "top-secret" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_token_is_fresh_until_it_expires():
    assert TOKEN.is_fresh(kst("2026-11-21 07:59"))
    assert not TOKEN.is_fresh(kst("2026-11-21 08:00"))
    assert not TOKEN.is_fresh(kst("2026-11-21 07:00"), timedelta(hours=1))


def test_a_fingerprint_does_not_hold_the_key():
    assert fingerprint("my-app-key") == fingerprint("my-app-key")
    assert "my" not in fingerprint("my-app-key")
