"""Strings made safe for what they are sent to: Pub/Sub, the log, PostgreSQL."""

from __future__ import annotations

import re

# No UTF-8 exists for half of a surrogate pair, and PostgreSQL stores no NUL.
UNSENDABLE = re.compile("[\x00\ud800-\udfff]")


def sendable(text: str) -> str:
    """Replace NUL and lone surrogates, which JSON may contain, by U+FFFD."""
    return UNSENDABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def shortened(text: str, most_bytes: int) -> str:
    """Cut a sendable string to ``most_bytes`` of UTF-8, between two characters."""
    encoded = text.encode()
    if len(encoded) <= most_bytes:
        return text
    return encoded[:most_bytes].decode(errors="ignore")
