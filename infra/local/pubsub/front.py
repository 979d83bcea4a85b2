"""One port for both: gRPC's connections begin with HTTP/2's preface, REST's do not."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from infra.local.pubsub.protos import Message

PREFACE = b"PRI * HTTP/2.0\r\n"
CHUNK_BYTES = 256 * 1024


class Front(asyncio.Protocol):
    """Looks at the first bytes of a connection and hands it on."""

    def __init__(
        self, rest: Callable[[], asyncio.Protocol], grpc_port: int, tasks: set[Message]
    ) -> None:
        """``rest`` makes the protocol of HTTP/1; gRPC listens on ``grpc_port``."""
        self._rest = rest
        self._grpc_port = grpc_port
        self._tasks = tasks
        self._seen = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Decide as soon as the bytes allow it."""
        self._seen += data
        if self._seen.startswith(PREFACE):
            self._splice()
        elif not PREFACE.startswith(self._seen):
            protocol = self._rest()
            self._hand_over(protocol)
            protocol.data_received(self._seen)

    def _splice(self) -> None:
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        self._hand_over(protocol)
        reader.feed_data(self._seen)
        loop = asyncio.get_running_loop()
        writer = asyncio.StreamWriter(self._transport, protocol, reader, loop)
        task = loop.create_task(splice(reader, writer, self._grpc_port))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _hand_over(self, protocol: asyncio.Protocol) -> None:
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)


async def splice(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int
) -> None:
    """Join a connection with a new one to ``port``, until either side ends."""
    inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
    copies = [
        asyncio.create_task(_copy(reader, inner_writer)),
        asyncio.create_task(_copy(inner_reader, writer)),
    ]
    try:
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for copy in copies:
            copy.cancel()
        inner_writer.close()
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
