"""A TCP proxy that can fall silent: it takes what it is sent, and says no more."""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Event, Thread


class SilentProxy:
    """In front of a local ``target`` port, on a ``port`` of its own."""

    def __init__(self, target):
        self.target = target
        self.opened = 0
        self._flows = Event()
        self._flows.set()
        self._silenced = []
        self._sockets = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def silence_existing(self):
        """What is connected hears nothing any more; what connects now is served."""
        silenced, self._flows = self._flows, Event()
        self._flows.set()
        silenced.clear()
        self._silenced.append(silenced)

    def silence_all(self):
        """The same for what connects from now on, until ``speak``."""
        self.silence_existing()
        self._flows = Event()

    def speak(self):
        """Serve what connects from now on."""
        self._flows = Event()
        self._flows.set()

    def stop(self):
        for one in (self._listener, *self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for silenced in self._silenced:
            silenced.set()
        self._flows.set()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.opened += 1
            server = socket.create_connection(("127.0.0.1", self.target))
            for one in (client, server):
                one.settimeout(None)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets.append(one)
            for ways in ((client, server), (server, client)):
                Thread(target=_pump, args=(*ways, self._flows), daemon=True).start()


def _pump(source, target, flows):
    with suppress(OSError, ValueError):
        while data := source.recv(65_536):
            flows.wait()
            target.sendall(data)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
