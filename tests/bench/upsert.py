"""Storing pages of candles: our statement, the usual ways, and raw COPY as the limit."""

from __future__ import annotations

import time
from datetime import timedelta
from io import StringIO
from statistics import median

from sqlalchemy import (
    BigInteger,
    DateTime,
    Text,
    UniqueConstraint,
    create_engine,
    select,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column

from shared.candles import Candle, CandleSession, Timeframe
from shared.database.candle_rows import upsert
from shared.database.engine import new_engine
from shared.database.session_seals import Touched
from shared.series import Attempt, CollectedSeries, Series
from shared.sessions import KST
from shared.settings import DatabaseSettings
from tests.support.builders import a_request, day, kst

PAGE = 900
COVERED = Series(covered_from=day("2020-01-01"), settled_through=day("2026-01-01"))
PAGES = 222


class Base(DeclarativeBase):
    """What the ORM wants."""


class Row(Base):
    """A candle as an ORM knows it: with an id, in one table."""

    __tablename__ = "orm_candles"
    __table_args__ = (UniqueConstraint("stock_code", "timeframe", "opened_at"),)
    id = mapped_column(BigInteger, primary_key=True)
    stock_code = mapped_column(Text)
    timeframe = mapped_column(Text)
    opened_at = mapped_column(DateTime(timezone=True))
    open = mapped_column(BigInteger)
    high = mapped_column(BigInteger)
    low = mapped_column(BigInteger)
    close = mapped_column(BigInteger)
    volume = mapped_column(BigInteger)
    turnover = mapped_column(BigInteger)
    session = mapped_column(Text)


UPSERT_ONE = text("""
    INSERT INTO candles (stock_code, timeframe, opened_at, open, high, low, close,
                         volume, turnover, session)
    VALUES (:stock_code, :timeframe, :opened_at, :open, :high, :low, :close, :volume,
            :turnover, :session)
    ON CONFLICT (stock_code, timeframe, opened_at) DO UPDATE
    SET open = excluded.open, high = excluded.high, low = excluded.low,
        close = excluded.close, volume = excluded.volume
""")


def pages(count):
    """Pages of five-minute candles, ten pages a stock."""
    start = kst("2024-01-02 09:00")
    for number in range(count):
        stock_code = f"{number // 10:06d}"
        first = start + timedelta(minutes=5 * PAGE * (number % 10))
        yield tuple(
            Candle(
                stock_code=stock_code,
                timeframe=Timeframe.MINUTE_5,
                opened_at=first + timedelta(minutes=5 * n),
                open=70_000 + n,
                high=70_500 + n,
                low=69_900 + n,
                close=70_100 + n,
                volume=123_456 + n,
                turnover=None,
                session=CandleSession.REGULAR,
            )
            for n in range(PAGE)
        )


def ours(engine, page, series=None):
    request = a_request("5m", stock_code=page[0].stock_code)
    attempt = Attempt(
        request=request, owner="bench", series=series or Series(), listed=True
    )
    key = {"stock_code": request.stock_code, "timeframe": "5m", "run_id": "bench"}
    collected = CollectedSeries(
        series=Series(), calendar=0, read_at=page[-1].opened_at, candles=page
    )
    with engine.begin() as connection:
        return upsert(connection, key, attempt, collected, Touched())


def columns(candle):
    return {
        "stock_code": candle.stock_code,
        "timeframe": candle.timeframe.value,
        "opened_at": candle.opened_at,
        "open": candle.open,
        "high": candle.high,
        "low": candle.low,
        "close": candle.close,
        "volume": candle.volume,
        "turnover": candle.turnover,
        "session": candle.session.value,
    }


def orm(engine, page):
    """As the first version of this service did it: look, then add what is new."""
    with Session(engine) as session:
        known = set(
            session.scalars(
                select(Row.opened_at).where(
                    Row.stock_code == page[0].stock_code, Row.timeframe == "5m"
                )
            )
        )
        session.add_all(
            Row(**columns(candle)) for candle in page if candle.opened_at not in known
        )
        session.commit()


def executemany(engine, page):
    """One statement a candle; SQLAlchemy's own batching is for ORM and RETURNING."""
    with engine.begin() as connection:
        connection.execute(UPSERT_ONE, [columns(candle) for candle in page])


def copy(engine, page):
    """The limit: no conflict is looked at, nothing is counted."""
    lines = StringIO()
    for c in page:
        at = c.opened_at.astimezone(KST).isoformat()
        lines.write(
            f"{c.stock_code}\t5m\t{at}\t{c.open}\t{c.high}\t{c.low}\t{c.close}"
            f"\t{c.volume}\t\\N\t{c.session.value}\n"
        )
    lines.seek(0)
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        names = "stock_code, timeframe, opened_at, open, high, low, close, volume, turnover, session"
        cursor.execute(f"COPY candles ({names}) FROM STDIN", stream=lines)
        connection.commit()
    finally:
        connection.close()


WAYS = {
    "unnest upsert (ours)": (ours, PAGES),
    "raw COPY": (copy, PAGES),
    "ORM, look then add_all": (orm, 30),
    "executemany": (executemany, 10),
}


def measure(url, runs):
    """Rows/s of every way, medians; one after the other in each run.

    The usual ways have the usual engine, without what ours does to a connection.
    """
    engine = new_engine(DatabaseSettings(url=url, pool_size=2))
    usual = create_engine(url.replace("postgresql:", "postgresql+pg8000:"))
    engines = {orm: usual, executemany: usual}
    Base.metadata.create_all(engine)
    found = {name: [] for name in WAYS}
    again = []
    for _ in range(runs):
        for name, (store, count) in WAYS.items():
            _empty(engine)
            work = list(pages(count))
            began = time.perf_counter()
            for page in work:
                store(engines.get(store, engine), page)
            found[name].append(count * PAGE / (time.perf_counter() - began))
            if store is ours:
                before = _now(engine)
                began = time.perf_counter()
                for page in work:
                    ours(engine, page, COVERED)
                again.append(count * PAGE / (time.perf_counter() - began))
                rewritten = _rewritten(engine, before)
    for used in (engine, usual):
        used.dispose()
    rates = {name: round(median(rates)) for name, rates in found.items()}
    return {
        "rows_per_second": rates,
        "unchanged_rows_per_second": round(median(again)),
        "unchanged_rows_rewritten": rewritten,
        "ours_to_orm": ratio(rates, "ORM, look then add_all"),
        "ours_to_executemany": ratio(rates, "executemany"),
        "ours_to_copy": ratio(rates, "raw COPY"),
        "runs": runs,
        "rows": PAGES * PAGE,
    }


def ratio(rates, name):
    return round(rates["unnest upsert (ours)"] / rates[name], 2)


def _empty(engine):
    with engine.begin() as connection:
        connection.exec_driver_sql("TRUNCATE candles, revisions, orm_candles")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE candles")
        connection.exec_driver_sql("CHECKPOINT")


def _now(engine):
    """The transaction that comes next."""
    with engine.begin() as connection:
        return connection.exec_driver_sql("SELECT txid_current()").scalar()


def _rewritten(engine, since):
    """Rows that a later transaction wrote."""
    with engine.begin() as connection:
        return connection.exec_driver_sql(
            f"SELECT count(*) FROM candles WHERE xmin::text::bigint > {since}"
        ).scalar()
