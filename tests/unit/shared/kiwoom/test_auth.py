from __future__ import annotations

import json

import pytest

from shared.errors import KiwoomRejected, KiwoomUnavailable
from shared.kiwoom.auth import TokenIssuer
from shared.kiwoom.wire import new_http_session
from shared.tokens import fingerprint
from tests.support.builders import kst
from tests.support.fakes import FakeWire, refusal, reply

GOOD = {
    "expires_dt": "20261121083713",
    "token_type": "bearer",
    "token": "top-secret-token",
    "return_code": 0,
    "return_msg": "정상적으로 처리되었습니다",
}


NOW = kst("2026-11-20 08:37:13")


def issue(answer, now=NOW):
    wire = FakeWire(answer)
    http = new_http_session()
    http.mount("https://", wire)
    issuer = TokenIssuer(http, "https://api.kiwoom.com", lambda: now)
    return issuer.issue("app-key", "app-secret"), wire.requests[0]


def test_a_token_expires_at_a_time_in_seoul():
    token, _ = issue(reply(GOOD))

    assert token.value == "top-secret-token"
    assert token.expires_at == kst("2026-11-21 08:37:13")
    assert token.app_key_id == fingerprint("app-key")


def test_the_body_has_the_documented_names(documented):
    _, request = issue(reply(GOOD))

    sent = json.loads(request.body)
    assert sent.keys() == set(documented["au10001"]["required"])
    assert request.path_url == documented["au10001"]["path"]
    assert {"token", "expires_dt"} <= set(documented["au10001"]["response"])


@pytest.mark.parametrize("code", ["8001", "8050", "8030"])
def test_wrong_keys_and_addresses_are_told_with_the_brokers_words(code):
    with pytest.raises(KiwoomRejected, match=f"{code}: .*지정단말기") as refused:
        issue(refusal(code, "지정단말기"))

    assert refused.value.error_code == f"kiwoom_{code}"
    assert "app-secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("8001", "gcloud secrets versions add kiwoom-app-key"),
        ("8050", "register the address"),
        ("8030", "set KIWOOM_MODE"),
        ("8031", "set KIWOOM_MODE"),
    ],
)
def test_what_only_an_operator_can_mend_comes_with_the_remedy(code, remedy):
    with pytest.raises(KiwoomRejected, match=remedy):
        issue(refusal(code, "투자구분이 다릅니다"))


def test_a_firewall_may_let_us_through_later():
    with pytest.raises(KiwoomUnavailable):
        issue((b"<html>", 403, {}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"token": None},
        {"token": ""},
        {"token": []},
        {"token": " "},
        {"token": 5},
        {"token": "a b"},
        {"token": "토큰"},
        {"token": "x\n"},
        {"token": "x" * 5_000},
        {"expires_dt": None},
        {"expires_dt": ""},
        {"expires_dt": "soon"},
        {"expires_dt": "20261321083713"},
        {"expires_dt": "00010101000000"},
    ],
)
def test_an_answer_without_a_usable_token_may_be_followed_by_a_better_one(wrong):
    with pytest.raises(
        KiwoomUnavailable, match=f"au10001: {next(iter(wrong))} "
    ) as refused:
        issue(reply(GOOD | wrong))

    assert "top-secret" not in str(refused.value)


@pytest.mark.parametrize("missing", ["token", "expires_dt"])
def test_a_field_that_is_missing_is_as_bad(missing):
    with pytest.raises(KiwoomUnavailable):
        issue(reply({name: GOOD[name] for name in GOOD if name != missing}))


def test_the_next_token_may_live_where_this_one_has_expired():
    with pytest.raises(KiwoomUnavailable, match="expires_dt .* is over") as refused:
        issue(reply(GOOD), now=kst("2026-11-21 08:37:13"))

    assert "top-secret" not in str(refused.value)
