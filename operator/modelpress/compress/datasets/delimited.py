"""CSV (and TSV) with a header: types follow from the values, and a column is as wide as its widest value needs.

A cell may hold a JSON list of numbers, which gives a column an axis; so do numbered columns (see `binding`).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.types as kinds

from modelpress.compress.datasets import arrow, columns, reading
from modelpress.compress.datasets.columns import Batch
from modelpress.compress.datasets.reading import Order
from modelpress.compress.rows import Array, Unusable

_BLOCK_BYTES = 4 * 2**20
_CONVERSION = re.compile(r"CSV column #(\d+)")
_TABS = (".tsv", ".tsv.gz", ".tab", ".tab.gz")


class _Widen(Exception):
    """A column does not fit the type that its first values suggested."""

    def __init__(self, name: str, kind: Any) -> None:
        super().__init__(name)
        self.name, self.kind = name, kind


def read(order: Order) -> Iterator[Batch]:
    """The rows, as `reading.Reader`."""
    types = _types(order)
    start = 0
    for batch in _batches(order, types):
        places = functools.partial(order.place_after, start)
        yield {name: _lists(arrow.rows(batch.column(name), places), places) for name in batch.schema.names}
        start += batch.num_rows


def _types(order: Order) -> dict[str, Any]:
    """The type of each column, from all rows that are wanted: one pass, again from the start where one is widened."""
    types: dict[str, Any] = {}
    while True:
        try:
            for batch in _batches(order, types):
                for name, kind in zip(batch.schema.names, batch.schema.types, strict=True):
                    types.setdefault(name, kind)
            return types
        except _Widen as found:
            types[found.name] = found.kind


def _batches(order: Order, types: dict[str, Any]) -> Iterator[Any]:
    rows = 0
    try:
        with reading.opened(order.path) as opened:
            reader = pyarrow.csv.open_csv(
                opened,
                read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
                parse_options=pyarrow.csv.ParseOptions(delimiter=_delimiter(order), newlines_in_values=True),
                convert_options=pyarrow.csv.ConvertOptions(column_types=types),
            )
            names = _names(order, reader.schema)
            for name, kind in zip(names, reader.schema.types, strict=True):
                if kinds.is_temporal(kind) or kinds.is_null(kind):
                    raise _Widen(name, pa.string() if kinds.is_temporal(kind) else pa.float64())
            while order.limit is None or rows < order.limit:
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    break
                rows += batch.num_rows
                yield batch
    except pa.ArrowInvalid as error:
        raise _explained(order, error) from error
    except (OSError, EOFError) as error:
        raise order.unreadable(f"is cut short or damaged ({error}); write it again") from error


def _delimiter(order: Order) -> str:
    return "\t" if order.path.name.lower().endswith(_TABS) else ","


def _names(order: Order, schema: Any) -> list[str]:
    names = list(schema.names)
    for name in names:
        if names.count(name) > 1:
            raise order.unreadable(f"has several columns called {name}; give each its own name in the first line")
    return names


def _explained(order: Order, error: Exception) -> Exception:
    """A wider type for a column whose values need one; else what is wrong with the file."""
    text = " ".join(str(error).split())
    column = _CONVERSION.search(text)
    if column is None or "conversion error" not in text:
        return order.unreadable(f"is no CSV file with a header ({text[:300]}); write it again")
    name = _header(order)[int(column.group(1))]
    return _Widen(name, pa.float64() if "to int64" in text else pa.string())


def _header(order: Order) -> list[str]:
    with reading.opened(order.path) as opened:
        reader = pyarrow.csv.open_csv(
            opened, parse_options=pyarrow.csv.ParseOptions(delimiter=_delimiter(order), newlines_in_values=True)
        )
        return list(reader.schema.names)


def _lists(column: Array | Unusable, place: Callable[[int], str]) -> Array | Unusable:
    """Cells that hold lists of numbers as arrays; anything else as it is."""
    if isinstance(column, Unusable) or column.dtype != object or not len(column) or not column[0].startswith(b"["):
        return column
    values: list[Array] = []
    for cell in column:
        try:
            value = np.asarray(json.loads(cell))
        except ValueError:
            return column
        if value.dtype.kind not in "biuf":
            return column
        values.append(value)
    return columns.stacked(values, [place(row) for row in range(len(values))])
