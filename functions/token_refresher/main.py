"""token_refresher: the only function that may read the app key and its secret."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from functions.token_refresher.refresh import refresh
from shared.clock import Clock, new_clock
from shared.events import Event
from shared.instance import cached, freeze_gc
from shared.kiwoom.auth import TokenIssuer
from shared.kiwoom.wire import new_http_session
from shared.logging import configure_logging, log_event
from shared.messages import TokenRequest
from shared.pubsub.dead_letters import DeadLetterPublisher
from shared.pubsub.delivery import Delivery, push_endpoint
from shared.pubsub.handling import acknowledging
from shared.pubsub.publisher import Publisher
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
    dead_letters: DeadLetterPublisher
    clock: Clock
    # One at a time: the second of two requests sees what the first has stored.
    lock: Lock = field(default_factory=Lock)

    def keys(self) -> tuple[str, str]:
        """The app key and its secret, read each time."""
        app_key, _ = self.secrets.read(self.names.app_key)
        secret_key, _ = self.secrets.read(self.names.secret_key)
        return app_key.decode().strip(), secret_key.decode().strip()


@cached
def wire() -> Refresher:
    """Build everything, at the first message."""
    configure_logging(LogSettings.from_env())
    topics = PubSubSettings.from_env()
    clock = new_clock(ClockSettings.from_env().offset)
    base_url = KiwoomSettings.from_env().base_url
    names = SecretSettings.from_env()
    secrets = Secrets(new_client(names), names.project)
    publisher = Publisher(topics.project)
    refresher = Refresher(
        secrets=secrets,
        names=names,
        issuer=TokenIssuer(new_http_session(), base_url, clock),
        vault=TokenVault(secrets, names.token),
        dead_letters=DeadLetterPublisher(publisher, topics.dead_letter_topic),
        clock=clock,
    )
    freeze_gc()
    return refresher


@push_endpoint
def refresh_token(push: CloudEvent) -> None:
    """Keep the token usable; returning acknowledges, raising redelivers."""
    refresher = wire()
    delivery = Delivery.of(push)
    with acknowledging(delivery, refresher.dead_letters):
        request = TokenRequest.from_bytes(delivery.data)
        with refresher.lock:
            issued = refresh(
                request,
                refresher.keys,
                refresher.issuer,
                refresher.vault,
                refresher.clock(),
            )
        event = Event.TOKEN_REFRESHED if issued else Event.TOKEN_KEPT
        log_event(event, reason=request.reason)
