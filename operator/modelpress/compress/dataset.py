"""Model-ready rows from files: columns mapped to inputs and targets, cast without loss, never unpickled."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from modelpress.api import identity
from modelpress.api.data import Data, DataSet
from modelpress.api.errors import Invalid
from modelpress.compress.signature import STRING, Signature, Tensor
from modelpress.storage import listing, location

LABEL = "label"
"""Column of the targets where no map names one."""

Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of a data set, the first axis of every array."""

    inputs: dict[str, Array]
    """By model input."""
    targets: dict[str, Array]
    """By model output; under `label` where the data set has no map and no signature was bound yet."""
    digest: str
    """Content digest of the files, whatever share of them was read."""

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values()))) if self.inputs else 0

    def part(self, start: int, stop: int | None = None) -> Rows:
        """Rows `start` (included) to `stop` (excluded; None = the end)."""
        return dataclasses.replace(
            self,
            inputs={name: array[start:stop] for name, array in self.inputs.items()},
            targets={name: array[start:stop] for name, array in self.targets.items()},
        )


def load(data_set: DataSet, *, role: str, default_samples: int | None, digest: str | None = None) -> Rows:
    """The first `samples` rows of a data set; `default_samples` where it sets none, None = all of them.

    `role` is its name below `spec.data`, for errors; `digest` is that of the files where it is known. Raises Invalid.
    """
    field = f"spec.data.{role}"
    limit = data_set.samples if data_set.samples is not None else default_samples
    columns = _columns(_files(data_set, field), limit, field)
    inputs, targets = _mapped(data_set, columns, field)
    return Rows(inputs, targets, digest or content_digest(data_set, role=role))


def content_digest(data_set: DataSet, *, role: str) -> str:
    """Content digest of the files of a data set. Raises Invalid."""
    field = f"spec.data.{role}"
    files = _files(data_set, field)
    return identity.content_digest([entry for path in files for entry in listing.files(path, field=f"{field}.uri")])


def by_role(data: Data | None) -> dict[str, DataSet]:
    """The data sets that are named, under their names below `spec.data`."""
    found = (
        {}
        if data is None
        else {"evaluation": data.evaluation, "calibration": data.calibration, "training": data.training}
    )
    return {role: data_set for role, data_set in found.items() if data_set is not None}


def digests(data: Data | None) -> dict[str, str]:
    """Content digests of the data sets by role. Raises Invalid."""
    return {role: content_digest(found, role=role) for role, found in by_role(data).items()}


def save(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes arrays as NPZ whose bytes depend on nothing but them."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as opened:
                npy: Any = np.lib.format
                npy.write_array(opened, np.asarray(array, order="C"), allow_pickle=False)


def bound(rows: Rows, signature: Signature, *, role: str) -> Rows:
    """The rows as `signature` takes them: every input there, of its type and shape; targets under outputs' names.

    Columns that the signature does not take are left out. Raises Invalid `MissingInput`, `ShapeMismatch`,
    `DtypeMismatch`, `UnknownOutput`.
    """
    field = f"spec.data.{role}.columns"
    inputs = {}
    for name, expected in signature.inputs.items():
        if name not in rows.inputs:
            raise Invalid(
                "MissingInput",
                f"signature {signature.name} takes the input {name} ({expected}), the data has {_names(rows.inputs)}; "
                f"add the column or map it with columns.inputs: {{{name}: <column>}}",
                field=f"{field}.inputs",
            )
        inputs[name] = fitted(rows.inputs[name], expected, name=name, field=f"{field}.inputs.{name}")
    return dataclasses.replace(rows, inputs=inputs, targets=_bound_targets(rows, signature, field))


def fitted(array: Array, expected: Tensor, *, name: str, field: str) -> Array:
    """`array` as rows of the tensor `expected`; raises Invalid where shape or values do not fit."""
    found = Tensor(array.dtype.name, (None, *array.shape[1:]))
    shape = expected.shape
    if shape is not None and not (
        len(shape) == array.ndim
        and all(size is None or size == have for size, have in zip(shape[1:], array.shape[1:], strict=True))
    ):
        raise Invalid(
            "ShapeMismatch",
            f"input {name} takes {expected}, the column has {found}; reshape the column or map another one",
            field=field,
        )
    return _cast(array, expected, found, name=name, field=field)


def _cast(array: Array, expected: Tensor, found: Tensor, *, name: str, field: str) -> Array:
    if expected.dtype == STRING:
        if array.dtype.kind in "SU":
            return np.char.encode(array, "utf-8").astype(object) if array.dtype.kind == "U" else array.astype(object)
    elif array.dtype.kind in "biuf":
        wanted = _numpy_type(expected.dtype)
        with np.errstate(all="ignore"):
            cast: Array = array.astype(wanted)
            if array.dtype == wanted or np.array_equal(
                cast.astype(array.dtype), array, equal_nan=array.dtype.kind == "f" and wanted.kind == "f"
            ):
                return cast
    raise Invalid(
        "DtypeMismatch",
        f"input {name} takes {expected}, the column has {found} with values that {expected.dtype} cannot hold exactly; "
        f"save the column as {expected.dtype}",
        field=field,
    )


def _numpy_type(name: str) -> np.dtype[Any]:
    if name == "bfloat16":
        import ml_dtypes

        name = ml_dtypes.bfloat16
    wanted: np.dtype[Any] = np.dtype(name)
    return wanted


def _bound_targets(rows: Rows, signature: Signature, field: str) -> dict[str, Array]:
    targets = rows.targets
    if set(targets) == {LABEL} and LABEL not in signature.outputs:
        if len(signature.outputs) == 1:
            return {next(iter(signature.outputs)): targets[LABEL]}
        return {}
    for name in targets:
        if name not in signature.outputs:
            raise Invalid(
                "UnknownOutput",
                f"{name} is no output of signature {signature.name}, which gives {_names(signature.outputs)}",
                field=f"{field}.targets.{name}",
            )
    return targets


def _names(named: Mapping[str, Any]) -> str:
    return ", ".join(named) or "none"


def _files(data_set: DataSet, field: str) -> list[Path]:
    path = location.resolve(data_set.uri, field=f"{field}.uri")
    paths = sorted(path.parent.glob(path.name)) if "*" in path.name and path.parent.is_dir() else []
    for found in paths or [path]:
        _require_npz(data_set, found, field)
    return paths or [path]


def _require_npz(data_set: DataSet, path: Path, field: str) -> None:
    if data_set.format not in ("Auto", "NPZ") or (data_set.format == "Auto" and path.suffix != ".npz"):
        what = data_set.format if data_set.format != "Auto" else f"the format of {path.name}"
        raise Invalid(
            "UnsupportedFormat",
            f"{what} cannot be read by this version; save the columns with numpy.savez (.npz)",
            field=f"{field}.format",
        )
    if not path.is_file():
        raise Invalid("NotFound", f"no file is at {path}; check the path, and that it is mounted", field=f"{field}.uri")


def _columns(paths: list[Path], limit: int | None, field: str) -> dict[str, Array]:
    shards, rows = [], 0
    for path in paths:
        shard = _read_npz(path, None if limit is None else limit - rows, field)
        shards.append(shard)
        rows += len(next(iter(shard.values())))
        if limit is not None and rows >= limit:
            break
    if len(shards) == 1:
        return shards[0]
    if any(set(shard) != set(shards[0]) for shard in shards):
        raise Invalid("UnequalShards", "the files have different columns; save the same in each", field=f"{field}.uri")
    return {name: np.concatenate([shard[name] for shard in shards]) for name in shards[0]}


def _read_npz(path: Path, limit: int | None, field: str) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(path) as archive:
            columns = {}
            for member in archive.namelist():
                if member.endswith(".npy"):
                    with archive.open(member) as opened:
                        columns[member.removesuffix(".npy")] = _read_rows(opened, limit)
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise Invalid(
            "Unreadable",
            f"{path} is no NPZ file of plain arrays ({error}); save it with numpy.savez",
            field=f"{field}.uri",
        ) from error
    counts = {name: len(array) for name, array in columns.items()}
    if not counts or len(set(counts.values())) != 1 or 0 in counts.values():
        found = ", ".join(f"{name} {count}" for name, count in counts.items()) or "no arrays"
        raise Invalid(
            "UnequalColumns",
            f"{path} has rows: {found}; every column needs the same number, at least 1",
            field=f"{field}.uri",
        )
    return columns


def _read_rows(opened: IO[bytes], limit: int | None) -> Array:
    npy: Any = np.lib.format
    read_header = npy.read_array_header_1_0 if npy.read_magic(opened) == (1, 0) else npy.read_array_header_2_0
    shape, fortran_order, dtype = read_header(opened)
    if dtype.hasobject:
        raise ValueError("an array holds Python objects, which only unpickling could read")
    if not shape:
        raise ValueError("an array has no rows (it is a scalar)")
    read = shape[0] if fortran_order or limit is None else min(limit, shape[0])
    count = read * int(np.prod(shape[1:], dtype=np.int64))
    content = bytearray(count * dtype.itemsize)
    view, at = memoryview(content), 0
    while at < len(content):
        chunk = opened.read(min(len(content) - at, listing.CHUNK_BYTES))
        if not chunk:
            raise EOFError("the file ends early")
        view[at : at + len(chunk)] = chunk
        at += len(chunk)
    array = np.frombuffer(content, dtype=dtype)
    shaped = array.reshape(shape[::-1]).T if fortran_order else array.reshape(read, *shape[1:])
    return shaped[:limit]


def _mapped(data_set: DataSet, columns: dict[str, Array], field: str) -> tuple[dict[str, Array], dict[str, Array]]:
    wanted_inputs = dict(data_set.columns.inputs or {}) if data_set.columns else {}
    wanted_targets = dict(data_set.columns.targets or {}) if data_set.columns else {}
    for side, wanted in (("inputs", wanted_inputs), ("targets", wanted_targets)):
        for name, column in wanted.items():
            if column not in columns:
                raise Invalid(
                    "MissingColumn",
                    f"there is no column {column}; the data has {_names(columns)}",
                    field=f"{field}.columns.{side}.{name}",
                )
    if not wanted_targets and LABEL in columns and LABEL not in wanted_inputs.values():
        wanted_targets = {LABEL: LABEL}
    taken = {*wanted_inputs.values(), *wanted_targets.values()}
    inputs = {name: columns[column] for name, column in wanted_inputs.items()}
    inputs |= {name: array for name, array in columns.items() if name not in taken and name not in inputs}
    return inputs, {name: columns[column] for name, column in wanted_targets.items()}
