"""``make stocks``: load a stock master from files instead of from the broker."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dotenv import dotenv_values

from infra.local.announcement import DIRECTORY, GCLOUD
from shared.database.engine import new_engine
from shared.database.stock_store import StockStore
from shared.errors import PipelineError
from shared.kiwoom.listings import stock_of
from shared.settings import DatabaseSettings
from shared.stocks import STOCK_CODE, Market

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.stocks import Stock

FILES = {"kospi_code.json": Market.KOSPI, "kosdaq_code.json": Market.KOSDAQ}
NAMES = {Market.KOSPI: "거래소", Market.KOSDAQ: "코스닥"}


def read(folder: Path) -> list[Stock]:
    """The stocks of ``kospi_code.json`` and ``kosdaq_code.json``.

    Raises:
        FileNotFoundError: If the folder has neither.
    """
    found = []
    for name, market in FILES.items():
        path = folder / name
        if not path.exists():
            continue
        entries = json.loads(path.read_text(encoding="utf-8"))
        for code, facts in entries.items():
            known = {"code": code, "marketName": NAMES[market]} | facts
            known["marketCode"] = str(known.get("marketCode", market.value))
            if STOCK_CODE.fullmatch(code) and known["marketCode"] == market.value:
                found.append(stock_of(known))
    if not found:
        message = f"no {' and no '.join(FILES)} in {folder}"
        raise FileNotFoundError(message)
    return found


def main(arguments: Sequence[str]) -> int:
    """Load the files of a folder into ``DATABASE_URL``, or the running stack's."""
    environ = {k: v or "" for k, v in dotenv_values(DIRECTORY / GCLOUD).items()}
    try:
        stocks = read(Path(arguments[0]))
        settings = (
            DatabaseSettings.from_env(environ)
            if environ
            else DatabaseSettings.from_env()
        )
        count = StockStore(new_engine(settings)).upsert_all(stocks)
    except (FileNotFoundError, PipelineError) as error:
        print(f"not loaded: {error}", file=sys.stderr)
        return 1
    print(f"loaded {count} stocks")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
