"""token_refresher: the only function that may read the app key and its secret."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

import functions_framework

from functions.token_refresher.refresh import refresh
from shared.clock import Clock, new_clock
from shared.delivery import Delivery, Outbox, answered, once
from shared.kiwoom.auth import TokenIssuer
from shared.kiwoom.client import new_session
from shared.logging import say, set_up
from shared.messages import TokenRequest
from shared.settings import (
    ClockSettings,
    KiwoomSettings,
    LogSettings,
    PubSubSettings,
    SecretSettings,
)
from shared.token_vault import Secrets, TokenVault, new_client

if TYPE_CHECKING:
    from cloudevents.http import CloudEvent


@dataclass(frozen=True, slots=True)
class Refresher:
    """What one instance of this function is made of."""

    secrets: Secrets
    names: SecretSettings
    issuer: TokenIssuer
    vault: TokenVault
    outbox: Outbox
    clock: Clock
    # One at a time: the second of two requests sees what the first has stored.
    lock: Lock = field(default_factory=Lock)

    def keys(self) -> tuple[str, str]:
        """The app key and its secret, read anew each time."""
        app_key, _ = self.secrets.read(self.names.app_key)
        secret_key, _ = self.secrets.read(self.names.secret_key)
        return app_key.decode().strip(), secret_key.decode().strip()


@once
def wire() -> Refresher:
    """Build everything, at the first message."""
    set_up(LogSettings.from_env())
    names = SecretSettings.from_env()
    secrets = Secrets(new_client(names), names.project)
    return Refresher(
        secrets=secrets,
        names=names,
        issuer=TokenIssuer(new_session(), KiwoomSettings.from_env().base_url),
        vault=TokenVault(secrets, names.token),
        outbox=Outbox(PubSubSettings.from_env()),
        clock=new_clock(ClockSettings.from_env().offset),
    )


@functions_framework.cloud_event
def refresh_token(event: CloudEvent) -> None:
    """Keep a good token; returning acknowledges, raising redelivers."""
    refresher = wire()
    delivery = Delivery.of(event)
    with answered(delivery, refresher.outbox):
        request = TokenRequest.from_bytes(delivery.data)
        with refresher.lock:
            issued = refresh(
                request,
                refresher.keys,
                refresher.issuer,
                refresher.vault,
                refresher.clock(),
            )
        say("token_refreshed" if issued else "token_kept", reason=request.reason)
