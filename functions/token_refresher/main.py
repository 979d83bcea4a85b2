"""token_refresher: the only function that may read the app key and its secret."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from functions.token_refresher.refresh import TokenKeeper
from shared.clock import Clock, new_clock
from shared.errors import TokenContested
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
    TokenSettings,
)
from shared.token_vault import Secrets, TokenVault, new_client

if TYPE_CHECKING:
    from datetime import timedelta

    from cloudevents.http import CloudEvent


@dataclass(frozen=True, slots=True)
class Refresher:
    """What one instance of this function is made of."""

    keeper: TokenKeeper
    dead_letters: DeadLetterPublisher
    clock: Clock
    offset: timedelta
    # One at a time: the second of two requests sees what the first has stored.
    lock: Lock = field(default_factory=Lock)


@cached
def wire() -> Refresher:
    """Build everything, at the first message."""
    configure_logging(LogSettings.from_env())
    topics = PubSubSettings.from_env()
    offset = ClockSettings.from_env().offset
    clock = new_clock(offset)
    base_url = KiwoomSettings.from_env().base_url
    names = SecretSettings.from_env()
    secrets = Secrets(new_client(names), names.project)
    publisher = Publisher(topics.project)

    def keys() -> tuple[str, str]:
        """The app key and its secret, read each time."""
        app_key, _ = secrets.read(names.app_key)
        secret_key, _ = secrets.read(names.secret_key)
        return app_key.decode().strip(), secret_key.decode().strip()

    refresher = Refresher(
        keeper=TokenKeeper(
            keys,
            TokenIssuer(new_http_session(), base_url, clock),
            TokenVault(secrets, names.token),
            _tell_contested,
            TokenSettings.from_env().longest_turn,
        ),
        dead_letters=DeadLetterPublisher(publisher, topics.dead_letter_topic),
        clock=clock,
        offset=offset,
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
            refreshed = refresher.keeper.refresh(
                request, delivery.published_at + refresher.offset, refresher.clock()
            )
        log_event(
            Event.TOKEN_REFRESHED if refreshed.issued else Event.TOKEN_KEPT,
            reason=request.reason,
            issued=refreshed.issued,
            version=refreshed.token.version,
            expires_at=refreshed.token.expires_at.isoformat(),
        )


def _tell_contested(reason: str) -> None:
    log_event(
        Event.TOKEN_CONTESTED,
        severity=logging.ERROR,
        reason=reason,
        remedy=TokenContested.remedy,
    )
