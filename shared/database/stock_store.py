"""Stocks in PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from shared.database.engine import transaction
from shared.stocks import MasterChanges, TargetChange

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from sqlalchemy import Connection, Engine

    from shared.stocks import Stock

# The master does not know which stocks are targets; a listed stock is not absent.
# What a list leaves blank erases nothing: the listing date tells histories apart.
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
    SET stock_name = coalesce(nullif(excluded.stock_name, ''), stocks.stock_name),
        market_code = excluded.market_code,
        market_name = coalesce(nullif(excluded.market_name, ''), stocks.market_name),
        listed = excluded.listed, is_target = stocks.is_target OR excluded.is_target,
        listed_on = coalesce(excluded.listed_on, stocks.listed_on),
        listed_shares = excluded.listed_shares,
        audit_info = excluded.audit_info, state = excluded.state,
        sector = excluded.sector, size_class = excluded.size_class,
        order_warning = excluded.order_warning, nxt_enabled = excluded.nxt_enabled,
        absences = 0, last_seen_at = clock_timestamp()
""")
COUNTS = text(
    "SELECT market_code, count(*) FROM stocks WHERE listed GROUP BY market_code"
)
# What is known about the targets, and about stocks that are listed again.
KNOWN = text("""
    SELECT stock_code, stock_name, market_code, listed, is_target, listed_on FROM stocks
    WHERE is_target OR NOT listed AND stock_code = ANY(cast(:codes AS text[]))
    ORDER BY stock_code FOR UPDATE
""")
# A stock that is listed again is requested again, with what the broker did not have.
RESUME = text("""
    UPDATE series SET ended = false
    WHERE ended AND stock_code = ANY(cast(:codes AS text[]))
""")
FORGET_ABSENT = text(
    "DELETE FROM absent_slots WHERE stock_code = ANY(cast(:codes AS text[]))"
)
# A code that was given to another listing begins a new history. The old one is kept
# under its listing date; attempts that are under way find their series changed.
ARCHIVE = (
    # In the order of all transactions: series first, then their candles.
    text("""
        SELECT FROM series WHERE stock_code = ANY(cast(:codes AS text[]))
        ORDER BY stock_code, timeframe FOR UPDATE
    """),
    text("""
        INSERT INTO former_listings
               (stock_code, listed_on, stock_name, market_code, market_name)
        SELECT stock_code, listed_on, stock_name, market_code, market_name FROM stocks
        WHERE stock_code = ANY(cast(:codes AS text[]))
        ON CONFLICT (stock_code, listed_on) DO NOTHING
    """),
    text("""
        WITH former AS (
            DELETE FROM candles WHERE stock_code = ANY(cast(:codes AS text[]))
            RETURNING *
        )
        INSERT INTO former_candles
               (stock_code, listed_on, timeframe, opened_at, open, high, low, close,
                volume, turnover, session, rescaled)
        SELECT stock_code, stocks.listed_on, timeframe, opened_at, open, high, low,
               close, volume, turnover, session, rescaled
        FROM former JOIN stocks USING (stock_code)
        ON CONFLICT (stock_code, listed_on, timeframe, opened_at) DO NOTHING
    """),
    text("DELETE FROM session_seals WHERE stock_code = ANY(cast(:codes AS text[]))"),
    text("DELETE FROM broken_seals WHERE stock_code = ANY(cast(:codes AS text[]))"),
    text("DELETE FROM staged_chains WHERE stock_code = ANY(cast(:codes AS text[]))"),
    text("""
        WITH former AS (
            DELETE FROM series WHERE stock_code = ANY(cast(:codes AS text[]))
            RETURNING stock_code, timeframe, version
        )
        INSERT INTO series (stock_code, timeframe, version)
        SELECT stock_code, timeframe, version + 1 FROM former
    """),
)
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
        """Add or change stocks, each code once; return how many there were."""
        with transaction(self._engine) as connection:
            return connection.execute(UPSERT, _columns(stocks)).rowcount

    def replace_listed(
        self, stocks: Sequence[Stock], market_codes: Sequence[str], unlisted_after: int
    ) -> MasterChanges:
        """Take ``stocks`` as all that is listed on these markets, in one transaction.

        A stock that is absent stays, with its candles; absent so often in a row, it is
        no longer listed. A code that is listed again continues; with another listing
        date it starts anew, and its old candles go to ``former_candles``.
        """
        codes = [stock.stock_code for stock in stocks]
        absent = {
            "codes": codes,
            "market_codes": list(market_codes),
            "unlisted_after": unlisted_after,
        }
        now_listed = {stock.stock_code: stock for stock in stocks}
        with transaction(self._engine) as connection:
            known = connection.execute(KNOWN, {"codes": codes}).all()
            again = [
                row for row in known if not row.listed and row.stock_code in now_listed
            ]
            relisted = [
                row.stock_code
                for row in again
                if _differ(row.listed_on, now_listed[row.stock_code].listed_on)
            ]
            _resume(connection, [row.stock_code for row in again], relisted)
            connection.execute(UPSERT, _columns(stocks))
            gone = dict(map(tuple, connection.execute(ABSENT, absent)))
        return MasterChanges(
            unlisted=[code for code, listed in gone.items() if not listed],
            relisted=relisted,
            targets=[
                change
                for row in known
                if row.is_target
                for change in _changes(row, now_listed.get(row.stock_code), gone)
            ],
        )


def _resume(connection: Connection, again: list[str], relisted: list[str]) -> None:
    if again:
        connection.execute(RESUME, {"codes": again})
        connection.execute(FORGET_ABSENT, {"codes": again})
    if relisted:
        for statement in ARCHIVE:
            connection.execute(statement, {"codes": relisted})


def _differ(before: date | None, after: date | None) -> bool:
    """Whether both dates are known, and not the same."""
    return before is not None and after is not None and before != after


def _changes(
    row: Any,  # noqa: ANN401 - a row has no types
    stock: Stock | None,
    gone: dict[str, bool],
) -> Iterator[TargetChange]:
    code = row.stock_code
    if stock is None:
        if code in gone:
            name = "target_absent" if gone[code] else "target_unlisted"
            yield TargetChange(code=name, stock_code=code, before=row.stock_name)
        return
    if not row.listed:
        yield TargetChange(
            code="target_relisted",
            stock_code=code,
            before=str(row.listed_on or ""),
            after=str(stock.listed_on or ""),
        )
    for name, before, after in (
        ("target_moved", row.market_code, stock.market_code),
        ("target_renamed", row.stock_name, stock.stock_name),
    ):
        if after and before != after:
            yield TargetChange(code=name, stock_code=code, before=before, after=after)


def _columns(listed: Sequence[Stock]) -> dict[str, object]:
    # One statement cannot write a row twice: of a code that is repeated, the first.
    stocks = {stock.stock_code: stock for stock in reversed(listed)}.values()
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
