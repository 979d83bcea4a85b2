"""Stocks in PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from shared.database.engine import transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from shared.stocks import Stock

UPSERT = text("""
    INSERT INTO stocks (stock_code, stock_name, market_code, market_name, listed,
                        is_target)
    SELECT * FROM unnest(
        cast(:codes AS text[]), cast(:names AS text[]), cast(:market_codes AS text[]),
        cast(:market_names AS text[]), cast(:listed AS boolean[]),
        cast(:targets AS boolean[]))
    ON CONFLICT (stock_code) DO UPDATE
    SET stock_name = excluded.stock_name, market_code = excluded.market_code,
        market_name = excluded.market_name, listed = excluded.listed,
        is_target = excluded.is_target, last_seen_at = clock_timestamp()
""")
TARGETS = text("SELECT stock_code FROM stocks WHERE is_target ORDER BY stock_code")
LISTED = text("SELECT stock_code FROM stocks WHERE listed ORDER BY stock_code")


class StockStore:
    """Which stocks there are."""

    def __init__(self, engine: Engine) -> None:
        """Read and write through ``engine``."""
        self._engine = engine

    def targets(self) -> list[str]:
        """Codes of the target stocks, in order; delisted ones among them."""
        with transaction(self._engine) as connection:
            return list(connection.execute(TARGETS).scalars())

    def listed(self) -> list[str]:
        """Codes of all listed stocks, in order."""
        with transaction(self._engine) as connection:
            return list(connection.execute(LISTED).scalars())

    def upsert_all(self, stocks: Sequence[Stock]) -> int:
        """Add or change stocks; return how many there were."""
        columns = {
            "codes": [stock.stock_code for stock in stocks],
            "names": [stock.stock_name for stock in stocks],
            "market_codes": [stock.market_code for stock in stocks],
            "market_names": [stock.market_name for stock in stocks],
            "listed": [stock.listed for stock in stocks],
            "targets": [stock.is_target for stock in stocks],
        }
        with transaction(self._engine) as connection:
            return connection.execute(UPSERT, columns).rowcount
