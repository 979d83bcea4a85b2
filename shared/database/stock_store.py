"""Stocks in PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from shared.database.engine import transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from shared.stocks import Stock

# The master does not know which stocks are targets; a listed stock is not absent.
UPSERT = text("""
    INSERT INTO stocks (stock_code, stock_name, market_code, market_name, listed,
                        is_target, listed_on, listed_shares, audit_info, state, sector,
                        size_class, order_warning, nxt_enabled)
    SELECT * FROM unnest(
        cast(:codes AS text[]), cast(:names AS text[]), cast(:market_codes AS text[]),
        cast(:market_names AS text[]), cast(:listed AS boolean[]),
        cast(:targets AS boolean[]), cast(:listed_on AS date[]),
        cast(:listed_shares AS bigint[]), cast(:audit_infos AS text[]),
        cast(:states AS text[]), cast(:sectors AS text[]),
        cast(:size_classes AS text[]), cast(:order_warnings AS text[]),
        cast(:nxt_enabled AS boolean[]))
    ON CONFLICT (stock_code) DO UPDATE
    SET stock_name = excluded.stock_name, market_code = excluded.market_code,
        market_name = coalesce(nullif(excluded.market_name, ''), stocks.market_name),
        listed = excluded.listed, is_target = stocks.is_target OR excluded.is_target,
        listed_on = excluded.listed_on, listed_shares = excluded.listed_shares,
        audit_info = excluded.audit_info, state = excluded.state,
        sector = excluded.sector, size_class = excluded.size_class,
        order_warning = excluded.order_warning, nxt_enabled = excluded.nxt_enabled,
        absences = 0, last_seen_at = clock_timestamp()
""")
COUNTS = text(
    "SELECT market_code, count(*) FROM stocks WHERE listed GROUP BY market_code"
)
# A stock that is listed again is requested again.
RELISTED = text("""
    UPDATE series SET ended = false
    FROM stocks
    WHERE stocks.stock_code = series.stock_code AND series.ended
      AND stocks.stock_code = ANY(cast(:codes AS text[])) AND NOT stocks.listed
""")
ABSENT = text("""
    UPDATE stocks
    SET absences = absences + 1, listed = absences + 1 < :unlisted_after
    WHERE listed AND market_code = ANY(cast(:market_codes AS text[]))
      AND stock_code <> ALL(cast(:codes AS text[]))
    RETURNING stock_code, listed
""")
SET_TARGETS = text("""
    UPDATE stocks SET is_target = :is_target
    WHERE stock_code = ANY(cast(:codes AS text[])) RETURNING stock_code
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

    def counts(self) -> dict[str, int]:
        """How many stocks are listed, by market code."""
        with transaction(self._engine) as connection:
            return {row[0]: row[1] for row in connection.execute(COUNTS)}

    def set_targets(self, codes: Sequence[str], *, is_target: bool) -> list[str]:
        """Add stocks to the targets or take them away; return those that we know."""
        values = {"codes": list(codes), "is_target": is_target}
        with transaction(self._engine) as connection:
            return list(connection.execute(SET_TARGETS, values).scalars())

    def upsert_all(self, stocks: Sequence[Stock]) -> int:
        """Add or change stocks; return how many there were."""
        with transaction(self._engine) as connection:
            return connection.execute(UPSERT, _columns(stocks)).rowcount

    def replace_listed(
        self, stocks: Sequence[Stock], market_codes: Sequence[str], unlisted_after: int
    ) -> list[str]:
        """Take ``stocks`` as all that is listed on these markets, in one transaction.

        A stock that is absent stays, with its candles; absent so often in a row, it is
        no longer listed.

        Returns:
            The codes that were unlisted by this.
        """
        codes = [stock.stock_code for stock in stocks]
        absent = {
            "codes": codes,
            "market_codes": list(market_codes),
            "unlisted_after": unlisted_after,
        }
        with transaction(self._engine) as connection:
            connection.execute(RELISTED, {"codes": codes})
            connection.execute(UPSERT, _columns(stocks))
            gone = connection.execute(ABSENT, absent).all()
        return [code for code, listed in gone if not listed]


def _columns(stocks: Sequence[Stock]) -> dict[str, object]:
    return {
        "codes": [stock.stock_code for stock in stocks],
        "names": [stock.stock_name for stock in stocks],
        "market_codes": [stock.market_code for stock in stocks],
        "market_names": [stock.market_name for stock in stocks],
        "listed": [stock.listed for stock in stocks],
        "targets": [stock.is_target for stock in stocks],
        "listed_on": [stock.listed_on for stock in stocks],
        "listed_shares": [stock.listed_shares for stock in stocks],
        "audit_infos": [stock.audit_info for stock in stocks],
        "states": [stock.state for stock in stocks],
        "sectors": [stock.sector for stock in stocks],
        "size_classes": [stock.size_class for stock in stocks],
        "order_warnings": [stock.order_warning for stock in stocks],
        "nxt_enabled": [stock.nxt_enabled for stock in stocks],
    }
