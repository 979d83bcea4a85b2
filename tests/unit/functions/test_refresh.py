from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from functions.token_refresher.refresh import FIRST_TURN, FREE_ISSUES, TokenKeeper
from shared.errors import (
    KiwoomRejected,
    KiwoomUnavailable,
    PipelineError,
    SecretUnavailable,
    TokenContested,
    TokenNotIssued,
    VaultUnavailable,
)
from shared.messages import TokenRequest
from tests.support.builders import kst
from tests.support.fakes import TOKEN, FakeIssuer, FakeVault

NOW = kst("2026-11-20 12:10")
MINUTE = timedelta(minutes=1)
LONGEST_TURN = 5 * MINUTE
TICK = TokenRequest(reason="schedule")


def keys():
    return "app-key", "app-secret"


def rejected(version):
    return TokenRequest(reason="token_rejected", rejected_version=version)


class Refresher:
    """One token refresher: it asks ``issuer`` and stores in ``vault``."""

    def __init__(self, vault=None, issuer=None):
        self.vault = vault or FakeVault()
        self.issuer = issuer or FakeIssuer(NOW)
        self.told = []
        self.keeper = TokenKeeper(
            keys, self.issuer, self.vault, self.told.append, LONGEST_TURN
        )

    def __call__(self, request, now=NOW, requested_at=None):
        self.vault.now = self.issuer.now = now
        return self.keeper.refresh(request, requested_at or now, now)

    def lose(self, times, now=NOW):
        """Have the token refused at once, so many times."""
        for _ in range(times):
            self(rejected(self.vault.token.version if self.vault.token else None), now)


def test_the_first_token_is_issued_and_kept():
    refresh = Refresher()

    refreshed = refresh(TICK)

    assert refreshed.issued == 1
    assert refreshed.token == refresh.vault.token
    assert refresh.issuer.issued_for == [("app-key", "app-secret")]
    assert refresh.vault.token.expires_at == NOW + timedelta(hours=24)


def test_a_token_that_is_good_for_long_is_kept():
    token = replace(TOKEN, expires_at=NOW + timedelta(hours=14))
    refresh = Refresher(FakeVault(token))

    refreshed = refresh(TICK)

    assert (refreshed.issued, refreshed.token) == (0, token)
    assert refresh.issuer.issued_for == []
    assert refresh.vault.puts == 0


def test_a_token_that_would_not_survive_two_missed_ticks_is_replaced():
    refresh = Refresher(FakeVault(replace(TOKEN, expires_at=NOW + 12 * 60 * MINUTE)))

    assert refresh(TICK).issued == 1
    assert refresh.vault.puts == 1


def test_a_token_that_was_rejected_is_replaced_however_fresh_it_looks():
    refresh = Refresher(FakeVault(replace(TOKEN, version="7")))

    assert refresh(rejected("7")).issued == 1
    assert refresh.vault.puts == 1


def test_a_token_that_was_rejected_and_replaced_is_not_replaced_again():
    refresh = Refresher(FakeVault(replace(TOKEN, version="8")))

    assert refresh(rejected("7")).issued == 0


def test_a_later_token_that_has_expired_is_no_answer_either():
    refresh = Refresher(FakeVault(replace(TOKEN, version="8", expires_at=NOW)))

    assert refresh(rejected("7")).issued == 1


def test_an_operator_may_force_a_new_token():
    refresh = Refresher(FakeVault(TOKEN))

    assert refresh(TokenRequest(reason="operator", force=True)).issued == 1


def test_a_token_that_was_destroyed_is_replaced_by_a_warm_refresher_too():
    refresh = Refresher()
    refresh(TICK)
    refresh.vault.destroy()

    assert refresh(TICK).issued == 1
    assert refresh.vault.token is not None


def test_what_could_not_be_stored_is_stored_later_instead_of_issuing_another():
    class Away(FakeVault):
        def put(self, token):
            if self.now == NOW:
                message = "Secret Manager: ServiceUnavailable"
                raise VaultUnavailable(message)
            return super().put(token)

    refresh = Refresher(Away())
    with pytest.raises(VaultUnavailable):
        refresh(TICK)

    assert refresh(TICK, NOW + MINUTE).issued == 1
    assert len(refresh.issuer.issued_for) == 1
    assert refresh.vault.token is not None


def test_a_token_that_dies_early_is_replaced_at_once():
    refresh = Refresher()
    refresh.lose(FREE_ISSUES)

    assert len(refresh.issuer.issued_for) == FREE_ISSUES
    assert refresh.told == []


def test_tokens_that_keep_dying_are_told_once_and_replaced_in_turns():
    refresh = Refresher()
    refresh.lose(FREE_ISSUES)
    lost = rejected(refresh.vault.token.version)

    for seconds in range(60, 70, 2):
        with pytest.raises(TokenContested, match="does another program issue tokens"):
            refresh(lost, NOW + timedelta(seconds=seconds), NOW + MINUTE)

    assert len(refresh.told) == 1
    assert refresh(lost, NOW + MINUTE + FIRST_TURN, NOW + MINUTE).issued == 1


def test_turns_grow_to_five_minutes_so_that_few_tokens_an_hour_are_issued():
    refresh = Refresher()
    issued_at, now = [], NOW
    request, refused_at = TICK, NOW

    while now < NOW + timedelta(hours=2):
        try:
            refresh(request, now, refused_at)
            issued_at.append(now)
            request, refused_at = rejected(refresh.vault.token.version), now
        except TokenContested:
            pass
        now += timedelta(seconds=2)

    for start in issued_at:
        assert sum(start <= at < start + 60 * MINUTE for at in issued_at) <= 20
    assert max(b - a for a, b in pairwise(issued_at)) == LONGEST_TURN


def test_the_turn_is_counted_from_when_the_token_was_refused():
    """Who lost a token after hours lets the other one work before taking it back."""
    refresh = Refresher()
    refresh.lose(FREE_ISSUES)
    later = NOW + 30 * MINUTE

    with pytest.raises(TokenContested):
        refresh(rejected(refresh.vault.token.version), later)


def test_an_hour_after_the_storm_a_token_is_replaced_at_once_again():
    refresh = Refresher()
    refresh.lose(FREE_ISSUES)

    assert refresh(rejected("versions/4"), NOW + 61 * MINUTE).issued == 1


def test_an_operator_who_forces_a_token_does_not_wait():
    refresh = Refresher()
    refresh.lose(FREE_ISSUES)

    assert refresh(TokenRequest(reason="operator", force=True)).issued == 1


NO_TOKEN = KiwoomUnavailable("au10001: token is missing or null")
WRONG_KEY = KiwoomRejected("au10001", "8001", "App Key")


class BrokenBroker(FakeIssuer):
    """A broker that answers each call with an ``error``."""

    def __init__(self, error):
        super().__init__(NOW)
        self.error = error

    def issue(self, app_key, secret_key):
        token = super().issue(app_key, secret_key)
        if self.error:
            raise self.error
        return token


@pytest.mark.parametrize("error", [NO_TOKEN, WRONG_KEY])
def test_a_broker_that_issues_nothing_usable_is_asked_a_few_times_an_hour(error):
    refresh = Refresher(issuer=BrokenBroker(error))
    asked = refresh.issuer.issued_for

    for seconds in range(0, 3600, 20):
        before = len(asked)
        with pytest.raises(PipelineError) as raised:
            refresh(TICK, NOW + timedelta(seconds=seconds))
        answered = len(asked) > before
        assert raised.type is (type(error) if answered else TokenNotIssued)

    assert len(asked) <= 20
    assert refresh.vault.puts == 0


@pytest.mark.parametrize("error", [NO_TOKEN, WRONG_KEY])
def test_who_waits_after_a_useless_answer_gets_a_token_when_there_is_one(error):
    refresh = Refresher(issuer=BrokenBroker(error))
    for _ in range(FREE_ISSUES):
        with pytest.raises(type(error)):
            refresh(TICK)
    refresh.issuer.error = None

    with pytest.raises(TokenNotIssued, match=str(error)):
        refresh(TICK, NOW + FIRST_TURN / 2)

    assert refresh(TICK, NOW + FIRST_TURN).issued == 1


def test_an_app_key_that_cannot_be_read_is_no_answer_of_the_broker():
    refresh, missing = Refresher(), SecretUnavailable("kiwoom-app-key is missing")

    def no_keys():
        raise missing

    refresh.keeper._keys = no_keys
    for _ in range(2 * FREE_ISSUES):
        with pytest.raises(SecretUnavailable):
            refresh(TICK)
    refresh.keeper._keys = keys

    assert refresh(TICK).issued == 1


class KillingBroker(FakeIssuer):
    """A broker whose second token ends the first."""

    def __init__(self, now):
        super().__init__(now)
        self.alive = None

    def issue(self, app_key, secret_key):
        token = super().issue(app_key, secret_key)
        self.alive = f"token {len(self.issued_for)}"
        return replace(token, value=self.alive)


def test_two_refreshers_with_one_app_key_share_the_time_and_do_not_fight():
    """Each is asked twice a minute, whenever its own token is refused."""
    broker = KillingBroker(NOW)
    both = {name: Refresher(issuer=broker) for name in ("ours", "theirs")}
    waiting = dict.fromkeys(both, (TICK, NOW))
    works, now = Counter(), NOW

    while now < NOW + timedelta(hours=3):
        for name, refresh in both.items():
            request, requested_at = waiting.get(name) or (None, None)
            token = refresh.vault.token
            if request is None and token.value != broker.alive:
                request, requested_at = rejected(token.version), now
                waiting[name] = (request, requested_at)
            if request is None:
                works[name] += 1
                continue
            try:
                refresh(request, now, requested_at)
                del waiting[name]
            except TokenContested:
                pass
        now += timedelta(seconds=30)

    each = 3 * 60 * 2
    assert min(works.values()) > 0.4 * each
    assert len(broker.issued_for) <= 2 * 3 * 12
    assert all(refresh.told for refresh in both.values())


def test_of_two_refreshers_of_one_vault_the_newest_token_is_the_live_one():
    """The first to issue is the last to store: its token is dead by then."""
    broker, vault = KillingBroker(NOW), FakeVault(now=NOW)
    second = Refresher(vault, broker)

    class Slow(KillingBroker):
        def issue(self, app_key, secret_key):
            token = broker.issue(app_key, secret_key)
            if len(broker.issued_for) == 1:
                second(TICK)
            return token

    first = Refresher(vault, Slow(NOW))

    refreshed = first(TICK)

    assert refreshed.issued == 2
    assert vault.token.value == broker.alive
    assert len(first.told) == 1
    assert second.told == []
