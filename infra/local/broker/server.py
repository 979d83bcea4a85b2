"""The simulated broker on the wire: HTTP/1.1, kept alive, one process, no threads."""

from __future__ import annotations

import argparse
import asyncio
import signal
import time
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import h11

from functions.reference_sync.reference_data import bundled_calendar
from infra.local.broker import master
from infra.local.broker.broker import Answer, Broker, Limit
from infra.local.broker.days import DaySource, GeneratedDays, RecordedDays
from infra.local.broker.faults import Kind
from infra.local.broker.market import Market
from infra.local.broker.views import CorporateAction, Disclosures
from shared.clock import new_clock

if TYPE_CHECKING:
    from collections.abc import Sequence

# The only keys that it knows; no secret, since it has nothing to protect.
APP_KEY = "simulated-app-key"
SECRET_KEY = "simulated-secret-key"  # noqa: S105 - see above
TIMEOUT_SECONDS = 60
SLOW_SECONDS = 2
LIMITS = {"real": 5, "mock": 1}
# What really happened to two of the targets.
ACTIONS = {"058470": [CorporateAction(date(2025, 4, 25), 5.0)]}
HALTS = {"207940": (date(2025, 10, 30), date(2025, 11, 21))}


class Connection:
    """One client's connection."""

    def __init__(
        self,
        broker: Broker,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._broker = broker
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER)

    async def serve(self) -> None:
        """Answer request after request until the client goes away."""
        try:
            while await self._serve_one():
                self._http.start_next_cycle()
        except (ConnectionError, h11.ProtocolError):
            pass
        finally:
            self._writer.close()

    async def _serve_one(self) -> bool:
        request = await self._next_event()
        if not isinstance(request, h11.Request):
            return False
        body = b""
        while not isinstance(event := await self._next_event(), h11.EndOfMessage):
            if isinstance(event, h11.ConnectionClosed):
                return False
            body += bytes(event.data) if isinstance(event, h11.Data) else b""
        headers = {name.decode(): value.decode() for name, value in request.headers}
        path = request.target.decode().partition("?")[0]
        answer = self._broker.handle(path, headers, body)
        if not isinstance(answer, Answer):
            answer = await asyncio.get_running_loop().run_in_executor(None, answer)
        return await self._send(answer)

    async def _next_event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(65_536))
        return event

    async def _send(self, answer: Answer) -> bool:
        if answer.fault is Kind.SLOW:
            await asyncio.sleep(SLOW_SECONDS)
        if answer.fault is Kind.TIMEOUT:
            await asyncio.sleep(TIMEOUT_SECONDS)
        if answer.fault in {Kind.RESET, Kind.TIMEOUT}:
            self._writer.transport.abort()
            return False
        length = len(answer.body) + (100 if answer.fault is Kind.TRUNCATED else 0)
        response = h11.Response(
            status_code=answer.status,
            headers=[
                ("content-type", "application/json;charset=UTF-8"),
                ("content-length", str(length)),
                *answer.headers.items(),
            ],
        )
        self._writer.write(self._http.send(response) or b"")
        self._writer.write(self._http.send(h11.Data(data=answer.body)) or b"")
        if answer.fault is Kind.TRUNCATED:
            await self._writer.drain()
            return False
        self._writer.write(self._http.send(h11.EndOfMessage()) or b"")
        await self._writer.drain()
        return self._http.our_state is not h11.MUST_CLOSE


async def serve(broker: Broker, port: int) -> None:
    """Serve on the loopback until told to stop; say the port on stdout."""

    async def connected(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await Connection(broker, reader, writer).serve()

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = await asyncio.start_server(connected, "127.0.0.1", port)
    await stopped.wait()
    server.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the simulated broker."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--mode", choices=LIMITS, default="real")
    parser.add_argument("--no-limit", action="store_true")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--clock-offset", type=float, default=0.0)
    parser.add_argument("--data", type=Path, help="a folder of real daily data")
    options = parser.parse_args(arguments)

    now = new_clock(timedelta(seconds=options.clock_offset))
    calendar = bundled_calendar()
    source: DaySource
    if options.data:
        source = RecordedDays(options.data)
        entries = master.recorded(options.data)
    else:
        entries = master.simulated()
        source = GeneratedDays(options.seed, calendar, entries, HALTS)
    broker = Broker(
        Market(source, calendar, seed=options.seed),
        entries,
        {APP_KEY: SECRET_KEY},
        Limit(None if options.no_limit else LIMITS[options.mode], time.monotonic),
        now,
        disclosures=Disclosures(actions=dict(ACTIONS)),
    )
    asyncio.run(serve(broker, options.port))


if __name__ == "__main__":
    main()
