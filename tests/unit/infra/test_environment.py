"""What of a developer's environment reaches the functions."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local.environment import for_children


@pytest.mark.parametrize(
    "name",
    [
        "HTTPS_PROXY",
        "https_proxy",
        "NO_PROXY",
        "no_proxy",
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
    ],
)
def test_a_company_proxy_and_its_authority_are_passed_on(name):
    assert for_children({name: "value"}, Path("/repo"))[name] == "value"


def test_no_secret_is_passed_on():
    assert "KIWOOM_SECRET_KEY" not in for_children({"KIWOOM_SECRET_KEY": "s"}, Path())
