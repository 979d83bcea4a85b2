"""``make publish``, ``backfill`` and ``reference``: messages for the local stack."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from dotenv import dotenv_values

from infra.local.dev import GCLOUD
from infra.local.stack import PROJECT
from shared.errors import MalformedMessage, PipelineError
from shared.messages import ReferenceRequest, Trigger

if TYPE_CHECKING:
    from collections.abc import Sequence


# What reads the messages of each topic, and refuses them here already.
READERS = {"triggers": Trigger.from_bytes, "reference": ReferenceRequest.from_bytes}


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
    try:
        READERS[options.topic](message.encode())
    except MalformedMessage as error:
        print(f"not published: {error}", file=sys.stderr)
        return 1
    host = dotenv_values(GCLOUD).get("PUBSUB_EMULATOR_HOST")
    if not host:
        print("no stack runs here; start one with: make dev", file=sys.stderr)
        return 1
    os.environ["PUBSUB_EMULATOR_HOST"] = host
    # Imported here: a wrong message is told at once.
    from shared.pubsub.publisher import Publisher  # noqa: PLC0415

    try:
        Publisher(PROJECT).publish(options.topic, [message.encode()], {})
    except PipelineError as error:
        print(f"not published: {error}", file=sys.stderr)
        return 1
    print(f"published {message}")
    return 0


def _trigger(options: argparse.Namespace) -> dict[str, Any]:
    """The message that the short form stands for; what is not given is left out."""
    trigger: dict[str, Any] = {"mode": "backfill"} if options.backfill else {}
    several = {"stocks": options.stocks, "timeframes": options.timeframe}
    trigger |= {name: value.split(",") for name, value in several.items() if value}
    days = {"start": options.start, "end": options.end}
    return trigger | {name: value for name, value in days.items() if value}


if __name__ == "__main__":
    sys.exit(main())
