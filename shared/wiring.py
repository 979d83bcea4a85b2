"""What several functions build alike; each ``main`` decides what it builds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from shared.database.rate_slots import WaitPolicy, new_throttle
from shared.kiwoom.client import KiwoomClient
from shared.kiwoom.wire import new_http_session
from shared.settings import KiwoomSettings, SecretSettings
from shared.token_vault import Secrets, TokenVault, new_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from shared.token_vault import CachedToken


def token_vault() -> TokenVault:
    """The vault that the environment names."""
    secrets = SecretSettings.from_env()
    return TokenVault(Secrets(new_client(secrets), secrets.project), secrets.token)


def kiwoom_clients(
    engine: Engine, tokens: CachedToken
) -> Callable[[WaitPolicy], KiwoomClient]:
    """A client of the broker for each policy, all with one token and one HTTP pool."""
    kiwoom = KiwoomSettings.from_env()
    http = new_http_session(kiwoom.at_once)

    def client(wait_policy: WaitPolicy) -> KiwoomClient:
        throttle = new_throttle(engine, kiwoom.requests_per_second, wait_policy)
        return KiwoomClient(http, kiwoom.base_url, tokens, throttle, time.sleep)

    return client
