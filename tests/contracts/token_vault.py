"""What every vault of the token does; see ``Vault`` of the token refresher."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from tests.support.fakes import TOKEN


class TokenVaultContract:
    """The fixture ``vault`` is empty; ``destroy`` destroys its newest version.

    ``now`` is about the instant at which tokens are put.
    """

    def test_an_empty_vault_has_no_token(self, vault, now):
        assert vault.stored() is None
        assert vault.put_since(now - timedelta(hours=1)) == {}

    def test_a_token_comes_back_as_it_was_put(self, vault):
        put = vault.put(TOKEN)

        stored = vault.stored()

        assert stored == put
        assert replace(stored, version=TOKEN.version) == TOKEN

    def test_the_vault_gives_every_token_a_version_of_its_own(self, vault):
        versions = set()
        for value in ("first", "second", "third"):
            vault.put(replace(TOKEN, value=value))
            versions.add(vault.stored().version)

        assert vault.stored().value == "third"
        assert len(versions) == 3

    def test_a_token_that_was_destroyed_is_not_remembered(self, vault, destroy):
        vault.put(TOKEN)
        destroy()

        assert vault.stored() is None

    def test_after_one_that_was_destroyed_another_may_be_put(self, vault, destroy):
        vault.put(TOKEN)
        destroy()
        put = vault.put(replace(TOKEN, value="another"))

        assert vault.stored() == put
        assert put.value == "another"

    def test_tokens_are_counted_even_after_they_were_destroyed(self, vault, now):
        first, second = vault.put(TOKEN), vault.put(TOKEN)
        vault.destroy_older(second)

        put = vault.put_since(now - timedelta(minutes=10))

        assert list(put) == [second.version, first.version]
        assert all(abs(at - now) < timedelta(minutes=1) for at in put.values())
        assert vault.put_since(now + timedelta(minutes=10)) == {}

    def test_what_is_newer_is_never_destroyed(self, vault):
        older, newer = vault.put(TOKEN), vault.put(replace(TOKEN, value="newer"))
        vault.destroy_older(older)

        assert vault.stored() == newer
