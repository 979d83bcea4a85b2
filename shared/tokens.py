"""The access token that one function issues and the others use."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """A token of the broker.

    ``app_key_id`` is a fingerprint of the app key it was issued for: the broker
    counts requests by app key, and those who count never see the key itself.
    ``version`` is where the vault stores the token, None before it is stored.
    """

    value: str = field(repr=False)
    expires_at: datetime
    app_key_id: str
    version: str | None = None

    def is_fresh(self, now: datetime, margin: timedelta = timedelta()) -> bool:
        """Whether the token will still be good ``margin`` from ``now``."""
        return now + margin < self.expires_at

    def to_bytes(self) -> bytes:
        """Write what the vault stores."""
        fields = {
            "token": self.value,
            "expires_at": self.expires_at.astimezone(UTC).isoformat(),
            "app_key_id": self.app_key_id,
        }
        return json.dumps(fields).encode()

    @classmethod
    def from_bytes(cls, data: bytes, version: str) -> Self:
        """Read what ``to_bytes`` wrote.

        Raises:
            ValueError: If the data are no token; the message never repeats them.
        """
        try:
            fields = json.loads(data)
            token = cls(
                value=fields["token"],
                expires_at=datetime.fromisoformat(fields["expires_at"]),
                app_key_id=fields["app_key_id"],
                version=version,
            )
        except (ValueError, TypeError, KeyError):
            token = None
        if not (token and _is_text(token.value) and token.expires_at.tzinfo):
            message = "the secret does not hold a token"
            raise ValueError(message)
        return token


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.strip() != ""


def fingerprint(app_key: str) -> str:
    """A short name for an app key from which the key cannot be found."""
    return sha256(app_key.encode()).hexdigest()[:12]
