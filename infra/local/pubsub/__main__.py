"""Serve the embedded Pub/Sub on the loopback, until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

from aiohttp import web

from infra.local.pubsub.front import Front
from infra.local.pubsub.grpc_server import new_server
from infra.local.pubsub.push import Pumps
from infra.local.pubsub.rest import Rest
from infra.local.pubsub.service import PubSub

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TICK_SECONDS = 0.05
BACKLOG = 1024


async def serve(listening: socket.socket) -> None:
    """Serve on a bound socket until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    pumps = Pumps()
    pubsub = PubSub(steady_clock(), on_change=pumps.follow)
    grpc_server = new_server(pubsub)
    grpc_port = grpc_server.add_insecure_port("127.0.0.1:0")
    await grpc_server.start()
    rest = web.Server(Rest(pubsub).handle, access_log=None, handler_cancellation=True)
    splices: set[asyncio.Task[None]] = set()
    front = await loop.create_server(
        lambda: Front(rest, grpc_port, splices), sock=listening, backlog=BACKLOG
    )
    ticking = asyncio.create_task(_tick(pubsub))
    # Without time nothing would come again: better to end, which the stack notices.
    ticking.add_done_callback(lambda _: stopped.set())
    await stopped.wait()
    if ticking.done():
        ticking.result()
    front.close()
    ticking.cancel()
    await pumps.close()
    # Hang up first: gRPC's own farewell is a line on the screen of each client.
    for splice in splices:
        splice.cancel()
    await asyncio.gather(*splices, return_exceptions=True)
    await grpc_server.stop(grace=None)


async def _tick(pubsub: PubSub) -> None:
    while True:
        pubsub.tick()
        await asyncio.sleep(TICK_SECONDS)


def steady_clock() -> Callable[[], float]:
    """Seconds since 1970 that never go back, whatever happens to the wall clock."""
    began = time.time() - time.monotonic()
    return lambda: began + time.monotonic()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8085)
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(message)s")
    try:
        listening = socket.create_server(("127.0.0.1", options.port), backlog=BACKLOG)
    except OSError as error:
        message = f"cannot listen on 127.0.0.1:{options.port}: {error.strerror}"
        print(message, file=sys.stderr)
        return 1
    asyncio.run(serve(listening))
    return 0


if __name__ == "__main__":
    sys.exit(main())
