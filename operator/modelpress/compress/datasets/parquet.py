"""Parquet, read in batches of rows; nested lists give the inner axes of a column."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet

from modelpress.compress.datasets import arrow
from modelpress.compress.datasets.columns import BATCH_BYTES, Batch
from modelpress.compress.datasets.reading import Order

_BATCH_ROWS = 8192


def read(order: Order) -> Iterator[Batch]:
    """The rows, as `reading.Reader`."""
    try:
        with pyarrow.parquet.ParquetFile(order.path) as file:
            start = 0
            for batch in file.iter_batches(batch_size=_batch_rows(file, order.limit), use_threads=False):
                places = functools.partial(order.place_after, start)
                yield {name: arrow.rows(batch.column(name), places) for name in batch.schema.names}
                start += batch.num_rows
                if order.limit is not None and start >= order.limit:
                    return
    except (pa.ArrowException, OSError) as error:
        raise order.unreadable(f"is no Parquet file that can be read ({error}); write it again") from error


def _batch_rows(file: pyarrow.parquet.ParquetFile, limit: int | None) -> int:
    metadata = file.metadata
    size: int = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    moderate: int = max(1, min(_BATCH_ROWS, BATCH_BYTES * metadata.num_rows // max(1, size)))
    return moderate if limit is None else min(moderate, max(1, limit))
