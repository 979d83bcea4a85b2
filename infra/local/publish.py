"""``make publish``, ``backfill`` and ``reference``: messages for the local stack."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from infra.local.announcement import NotRunning, running
from infra.local.deadline import deadline
from shared.errors import MalformedMessage, PipelineError
from shared.messages import (
    Heartbeat,
    ReferenceRequest,
    ReportRequest,
    Trigger,
    is_heartbeat,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS = 15.0
# Where a run is seen; a report is no run.
WATCHED = "make status"


def _of_triggers(data: bytes) -> Trigger | Heartbeat:
    return (Heartbeat if is_heartbeat(data) else Trigger).from_bytes(data)


# What reads the messages of each topic, and rejects them here already.
READERS = {
    "triggers": _of_triggers,
    "reference": ReferenceRequest.from_bytes,
    "reports": ReportRequest.from_bytes,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the message, publish it, and say so."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("message", nargs="?", default="")
    parser.add_argument("--backfill", action="store_true")
    parser.add_argument("--topic", choices=READERS, default="triggers")
    for name in ("stocks", "timeframe", "start", "end"):
        parser.add_argument(f"--{name}", default="")
    options = parser.parse_args(arguments)
    message = options.message or json.dumps(_trigger(options))
    late = f"not published: Pub/Sub has not answered for {SECONDS:.0f} s; see make logs"
    try:
        READERS[options.topic](message.encode())
        stack = running()
        with deadline(SECONDS, late):
            _publish(stack.project, stack.pubsub_host, options.topic, message)
    except (MalformedMessage, NotRunning, PipelineError) as error:
        sys.stderr.write(f"not published: {error}\n")
        return 1
    seen = f"{stack.status_page}/reports" if options.topic == "reports" else WATCHED
    sys.stdout.write(f"published {message}\nwatch it: {seen}\n")
    return 0


def _publish(project: str, host: str, topic: str, message: str) -> None:
    os.environ["PUBSUB_EMULATOR_HOST"] = host
    # Imported here: a wrong message, and a stack that is not there, is told at once.
    from shared.pubsub.publisher import Publisher  # noqa: PLC0415

    Publisher(project).publish(topic, [message.encode()], {})


def _trigger(options: argparse.Namespace) -> dict[str, Any]:
    """The message that the short form stands for; what is not given is left out."""
    trigger: dict[str, Any] = {"mode": "backfill"} if options.backfill else {}
    several = {"stocks": options.stocks, "timeframes": options.timeframe}
    trigger |= {name: value.split(",") for name, value in several.items() if value}
    days = {"start": options.start, "end": options.end}
    return trigger | {name: value for name, value in days.items() if value}


if __name__ == "__main__":
    sys.exit(main())
