"""``python -m tests.chaos 1000`` (``make chaos``) plays so many random histories.

Each is a seed, and can be played again alone: ``python -m tests.chaos 1 4711``.
"""

from __future__ import annotations

import sys
import time
from collections import Counter

from shared.database.engine import new_engine
from shared.settings import DatabaseSettings
from tests.chaos.run import play
from tests.support import servers


def main(arguments) -> int:
    """Play, and tell what happened."""
    count = int(arguments[0]) if arguments else 1000
    first = int(arguments[1]) if len(arguments) > 1 else 0
    total: Counter[str] = Counter()
    failed = []
    began = time.monotonic()
    with servers.postgres() as postgres:
        url = postgres.create("chaos")
        servers.migrate(url)
        engine = new_engine(DatabaseSettings(url=url, pool_size=4))
        for seed in range(first, first + count):
            report = play(engine, seed)
            total += report.kinds
            total["request"] += report.requests
            total["candle compared"] += report.compared
            if not (seed - first + 1) % 50:
                print(f"{seed - first + 1} histories played", flush=True)
            if report.wrong:
                failed.append(seed)
                print(f"seed {seed} ({dict(report.kinds)})", flush=True)
                for line in report.wrong:
                    print(f"  WRONG {line}", flush=True)
        engine.dispose()
    seconds = time.monotonic() - began
    print(f"{count} histories in {seconds:.0f} s, {len(failed)} ended wrong: {failed}")
    for kind, times in sorted(total.items()):
        print(f"  {kind}: {times:,}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
