"""``python -m tradesmart export FOLDER`` and ``verify FOLDER``."""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

from tradesmart.errors import SourceUnavailable
from tradesmart.export import KEPT, export, verify

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Export candles, or check an export."""
    parser = argparse.ArgumentParser(prog="tradesmart", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    writes = commands.add_parser(
        "export", help="write what has changed since last time"
    )
    writes.add_argument("to", help="a folder, or gs://bucket/path")
    writes.add_argument("--source", help="postgresql://…; else as for read_candles")
    writes.add_argument("--format", choices=("parquet", "csv"), default="parquet")
    writes.add_argument(
        "--keep-days", type=float, default=KEPT.days, help="how long old files stay"
    )
    checks = commands.add_parser("verify", help="recompute every digest of an export")
    checks.add_argument("of", help="a folder, or gs://bucket/path")
    options = parser.parse_args(arguments)
    try:
        if options.command == "verify":
            return _verify(options.of)
        keep = timedelta(days=options.keep_days)
        done = export(
            options.to, source=options.source, format=options.format, keep=keep
        )
    except (SourceUnavailable, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write(
        f"{options.to}: {done.written} files written ({done.rows:,} rows), "
        f"{done.unchanged} unchanged, {done.removed} removed, in {done.seconds:.1f} s\n"
    )
    return 0


def _verify(of: str) -> int:
    broken = verify(of)
    for line in broken:
        sys.stderr.write(f"{line}\n")
    sys.stderr.write(f"{of}: {len(broken) or 'no'} damaged files\n")
    return 1 if broken else 0


def run() -> None:
    """The command ``tradesmart``."""
    sys.exit(main())


if __name__ == "__main__":
    run()
