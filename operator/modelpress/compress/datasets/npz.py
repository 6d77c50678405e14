"""NPZ: an archive of plain arrays, one for each column, as numpy.savez writes it; pickles are never read."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from modelpress.api.errors import Invalid
from modelpress.compress.datasets.columns import Batch, batch_rows
from modelpress.compress.datasets.reading import Order
from modelpress.compress.rows import Array

_SUFFIX = ".npy"
_CHUNK_BYTES = 4 * 2**20


def read(order: Order) -> Iterator[Batch]:
    """The rows, as `reading.Reader`; raises Invalid `UnequalColumns` too."""
    try:
        with zipfile.ZipFile(order.path) as archive, contextlib.ExitStack() as stack:
            columns = {
                name.removesuffix(_SUFFIX): _Column(stack.enter_context(archive.open(name)))
                for name in archive.namelist()
                if name.endswith(_SUFFIX)
            }
            count = _count(order, columns)
            if order.limit is not None:
                count = min(count, order.limit)
            step = batch_rows(sum(column.bytes_per_row for column in columns.values()))
            for start in range(0, count, step):
                rows = min(step, count - start)
                yield {name: column.next(rows) for name, column in columns.items()}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError) as error:
        raise order.unreadable(f"is no NPZ file of plain arrays ({error}); save it with numpy.savez") from error


def _count(order: Order, columns: dict[str, _Column]) -> int:
    counts = {name: column.rows for name, column in columns.items()}
    if not counts or len(set(counts.values())) != 1 or 0 in counts.values():
        found = ", ".join(f"{name} {count}" for name, count in counts.items()) or "no arrays"
        raise Invalid(
            "UnequalColumns",
            f"{order.path} has rows: {found}; every column needs the same number, at least 1",
            field=f"{order.field}.uri",
        )
    return next(iter(counts.values()))


class _Column:
    """An array of the archive, read from its start."""

    def __init__(self, opened: IO[bytes]) -> None:
        npy: Any = np.lib.format
        version = npy.read_magic(opened)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran_order, dtype = read_header(opened)
        if dtype.hasobject:
            raise ValueError("an array holds Python objects, which only unpickling could read")
        if not shape:
            raise ValueError("an array has no rows (it is a scalar)")
        self._opened, self._shape, self._dtype = opened, shape, dtype
        self._whole: Array | None = None
        self._fortran_order = fortran_order
        self._at = 0
        self.rows: int = shape[0]
        self.bytes_per_row = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize

    def next(self, count: int) -> Array:
        """The next `count` rows, of which there are as many left."""
        if not self._fortran_order:
            content = self._content(count * self.bytes_per_row)
            return np.frombuffer(content, self._dtype).reshape(count, *self._shape[1:])
        if self._whole is None:  # rows lie scattered over the whole array
            content = self._content(self.rows * self.bytes_per_row)
            self._whole = np.frombuffer(content, self._dtype).reshape(self._shape[::-1]).T
        self._at += count
        return self._whole[self._at - count : self._at]

    def _content(self, size: int) -> bytearray:
        content = bytearray(size)
        view, at = memoryview(content), 0
        while at < size:
            chunk = self._opened.read(min(size - at, _CHUNK_BYTES))
            if not chunk:
                raise EOFError("the file ends early")
            view[at : at + len(chunk)] = chunk
            at += len(chunk)
        return content
