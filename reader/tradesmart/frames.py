"""From Arrow to pandas, in the shape that is promised for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from tradesmart.request import KOREAN, PRICES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tradesmart.judgement import Instants
    from tradesmart.request import Request

INDEX = "opened_at"
STOCK = "stock_code"
INSTANT = pa.timestamp("us", "UTC")


def schema(names: Sequence[str], zone: str, *, stocks: bool = True) -> pa.Schema:
    """The schema of candles as Arrow has them."""
    fields = [pa.field(STOCK, pa.string(), nullable=False)] if stocks else []
    fields.append(pa.field(INDEX, pa.timestamp("us", zone), nullable=False))
    fields += [pa.field(name, pa.int64(), name not in PRICES) for name in names]
    return pa.schema(fields)


def candle_columns(names: Sequence[str]) -> pa.Schema:
    """The types of columns of candles, as a source has them."""
    types = {STOCK: pa.string(), "session": pa.string(), INDEX: INSTANT}
    return pa.schema({name: types.get(name, pa.int64()) for name in names})


def encoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    """With the codes of stocks as a dictionary, which is what all here count by."""
    if pa.types.is_dictionary(batch.schema.field(0).type):
        return batch
    return batch.set_column(0, STOCK, batch.column(0).dictionary_encode())


def in_order(table: pa.Table) -> pa.Table:
    """Sorted by stock and opening; a table that is sorted already is not copied."""
    opened = instants(table)
    if STOCK not in table.column_names:
        if (opened[1:] > opened[:-1]).all():
            return table
        return table.take(pa.array(np.argsort(opened, kind="stable")))
    owners, _ = stocks(table)
    later = (owners[1:] == owners[:-1]) & (opened[1:] > opened[:-1])
    if ((owners[1:] > owners[:-1]) | later).all():
        return table
    return table.take(pa.array(np.lexsort((opened, owners))))


def frame(table: pa.Table, request: Request, codes: Sequence[str]) -> pd.DataFrame:
    """The frame of a sorted ``table``."""
    if request.wide is not None:
        return _wide(table, request, codes)
    data = {name: _values(table, name) for name in request.names}
    index = _index(table, request)
    made = pd.DataFrame(data, index=index)
    return made.rename(columns=KOREAN) if request.korean else made


def _index(table: pa.Table, request: Request) -> pd.Index:
    opened = instants(table)
    if request.has_plain_index:
        return _opened_at(opened, request)
    owners, names = stocks(table)
    slots, openings = pd.factorize(opened)
    order = np.argsort(openings, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return pd.MultiIndex(
        levels=[pd.Index(names, dtype="str"), _opened_at(openings[order], request)],
        codes=[owners, rank[slots]],
        names=[STOCK, INDEX],
        verify_integrity=False,
    )


def _opened_at(opened: Instants, request: Request) -> pd.DatetimeIndex:
    index = pd.DatetimeIndex(opened.view("M8[us]"), tz="UTC", name=INDEX)
    return index.tz_convert(request.zone.key)


def _wide(table: pa.Table, request: Request, codes: Sequence[str]) -> pd.DataFrame:
    """One column over time and stock; a stock without a candle stays empty."""
    assert request.wide is not None
    owners, names = stocks(table) if STOCK in table.column_names else (0, codes)
    openings, rows = np.unique(instants(table), return_inverse=True)
    columns = np.searchsorted(np.array(codes, dtype=str), np.array(names, dtype=str))
    places = (columns[owners], rows)
    values = np.zeros((len(codes), len(openings)), dtype=np.int64)
    empty = np.ones((len(codes), len(openings)), dtype=bool)
    cells = pd.array(_values(table, request.wide), dtype="Int64")
    values[places] = cells.to_numpy(np.int64, na_value=0)
    empty[places] = cells.isna()
    made = pd.DataFrame(
        {
            code: pd.arrays.IntegerArray(values[place], empty[place])
            for place, code in enumerate(codes)
        },
        index=_opened_at(openings, request),
    )
    made.columns = pd.Index(list(codes), dtype="str", name=STOCK)
    return made


def _values(table: pa.Table, name: str) -> pd.arrays.IntegerArray | Instants:
    column = table.column(name)
    if name in PRICES:
        return column.to_numpy()
    return pd.arrays.IntegerArray(
        column.fill_null(0).to_numpy().copy(),
        column.is_null().to_numpy().copy(),
    )


def instants(table: pa.Table) -> Instants:
    """When the candles open, in microseconds since 1970."""
    opened: Instants = table.column(INDEX).cast(pa.int64()).to_numpy()
    return opened


def stocks(
    table: pa.Table,
) -> tuple[Instants, list[str]]:
    """The number of each row's stock, and the codes that the numbers stand for."""
    column = table.column(STOCK)
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    chunks = column.unify_dictionaries().chunks
    if not chunks:
        return np.empty(0, dtype=np.int64), []
    names = chunks[0].dictionary.to_pylist()
    numbers = np.concatenate([chunk.indices.to_numpy() for chunk in chunks])
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    return rank[numbers], [names[place] for place in order]
