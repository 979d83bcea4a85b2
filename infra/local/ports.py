"""Ports that stay the same from start to start, so that a saved connection lives."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING

from infra.local.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REMEMBERED = "ports.json"
# What each part is given where nothing else uses it; the others follow one another.
USUAL = {
    "postgres": 54320,
    "pubsub": 8085,
    "status_page": 8080,
    "dispatcher": 8081,
    "collector_live_minutes": 8082,
    "reference_sync": 8083,
    "token_refresher": 8084,
    "collector_live_days": 8091,
    "collector_live_weeks": 8092,
    "collector_history_minutes": 8093,
    "collector_history_days": 8094,
    "collector_history_weeks": 8095,
    "secrets": 8090,
    "broker": 8099,
}
# A stack that was killed a moment ago may still be ending.
GRACE_SECONDS = 4.0
POLL_SECONDS = 0.1
# How many ports after the wanted one are tried.
NEIGHBOURS = 50


class Ports:
    """The ports of one checkout's stack, kept in its folder."""

    def __init__(
        self,
        directory: Path,
        say: Callable[[str], None],
        *,
        usual: dict[str, int] | None = None,
        is_free: Callable[[int], bool] | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """Remember them in ``directory``; ``say`` which ones had to change.

        ``is_free`` tells whether a port can be listened on now.
        """
        self._path = directory / REMEMBERED
        self._say = say
        self._usual = USUAL if usual is None else usual
        self._is_free = is_free or can_listen
        self._wait = wait
        self._known = self._read()
        self._given: set[int] = set()

    def take(self, part: str) -> int:
        """The port of a part: that of the last start, else its usual one."""
        wanted = self._known.get(part) or self._usual.get(part) or free_port()
        if part in self._known:
            self._wait_for(wanted)
        following = (wanted + n for n in range(NEIGHBOURS))
        port = next(filter(self._is_available, following), None) or free_port()
        if port != wanted:
            self._say(f"port {wanted} is in use: {part} listens on {port}")
        self._given.add(port)
        if part not in self._known:
            self._known[part] = port
            self._write()
        return port

    def _is_available(self, port: int) -> bool:
        return port not in self._given and self._is_free(port)

    def _wait_for(self, port: int) -> None:
        for _ in range(round(GRACE_SECONDS / POLL_SECONDS)):
            if self._is_free(port):
                return
            self._wait(POLL_SECONDS)

    def _read(self) -> dict[str, int]:
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(part): int(port) for part, port in known.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def _write(self) -> None:
        text = json.dumps(self._known, indent=2)
        self._path.write_text(text + "\n", encoding="utf-8")


def can_listen(port: int) -> bool:
    """Whether nothing listens on ``port`` of the loopback."""
    with socket.socket() as probe:
        # Connections that are closing do not matter to a server either.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
