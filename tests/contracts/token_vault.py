"""What every vault of the token does; see ``Vault`` of the token refresher."""

from __future__ import annotations

from dataclasses import replace

from tests.support.fakes import TOKEN


class TokenVaultContract:
    """The fixture ``vault`` is empty."""

    def test_an_empty_vault_has_no_token(self, vault):
        assert vault.stored() is None

    def test_a_token_comes_back_as_it_was_put(self, vault):
        vault.put(TOKEN)

        stored = vault.stored()

        assert replace(stored, version=TOKEN.version) == TOKEN

    def test_the_vault_gives_every_token_a_version_of_its_own(self, vault):
        versions = set()
        for value in ("first", "second", "third"):
            vault.put(replace(TOKEN, value=value))
            versions.add(vault.stored().version)

        assert vault.stored().value == "third"
        assert len(versions) == 3
