"""The files of a data set in the order of their rows, and the format that they have."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import cast

from modelpress.api.data import DataSet
from modelpress.api.errors import Invalid
from modelpress.compress.datasets import reading, records
from modelpress.compress.datasets.reading import Order, Reader
from modelpress.compress.rows import Shapes
from modelpress.storage import staging

_HEAD_BYTES = 16
_SUFFIXES = {
    "NPZ": (".npz",),
    "Parquet": (".parquet", ".pq"),
    "TFRecord": (".tfrecord", ".tfrecords", ".tfr", ".record", ".records"),
    "CSV": (".csv", ".tsv", ".tab"),
}
_READERS = {
    "NPZ": "npz",
    "Parquet": "parquet",
    "TFRecord": "tfrecord",
    "CSV": "delimited",
    "PredictionLog": "prediction_log",
}
_SHAPES = {
    "TFRecord": Shapes(is_flat=True),
    "CSV": Shapes(is_flat=True, is_text=True),
    "Parquet": Shapes(is_flat=True),
}


def paths(data_set: DataSet, field: str) -> list[Path]:
    """The files that the URI names: one, those of a pattern, or those of a folder; sorted by name.

    Remote files are downloaded. Raises Invalid `NotFound`, and see `staging.path_of`.
    """
    path = staging.path_of(data_set.uri, role=field.rpartition(".")[2], field=f"{field}.uri")
    if path.is_dir():
        found = [entry for entry in path.iterdir() if entry.is_file() and entry.name[0] not in "._"]
    elif "*" in path.name and path.parent.is_dir() and not path.exists():
        found = [entry for entry in path.parent.glob(path.name) if entry.is_file()]
    else:
        found = [path] if path.is_file() else []
    if not found:
        raise Invalid("NotFound", f"no file is at {path}; check the path, and that it is mounted", field=f"{field}.uri")
    return sorted(found)


def format_of(found: list[Path], data_set: DataSet, field: str) -> str:
    """The format of the files: the one that is set, else what name and first bytes of the first say.

    Raises Invalid `UnsupportedFormat`.
    """
    if data_set.format != "Auto":
        return data_set.format
    name = _recognised(found[0], field)
    if name is None:
        raise Invalid(
            "UnsupportedFormat",
            f"{found[0].name} is none of {', '.join(_READERS)}; save the rows as one of them, or set format",
            field=f"{field}.format",
        )
    return name


def reader(name: str) -> Reader:
    """The reader of a format."""
    return cast(Reader, importlib.import_module(f"modelpress.compress.datasets.{_READERS[name]}").read)


def shapes(name: str) -> Shapes:
    """What a format leaves open about its columns."""
    return _SHAPES.get(name, Shapes())


def _recognised(path: Path, field: str) -> str | None:
    try:
        with path.open("rb") as plain, reading.opened(path) as unpacked:
            head, content = plain.read(_HEAD_BYTES), unpacked.read(_HEAD_BYTES)
    except (OSError, EOFError) as error:
        raise Invalid("Unreadable", f"{path} cannot be read ({error}); write it again", field=f"{field}.uri") from error
    if head.startswith(b"PK"):
        return "NPZ"
    if head.startswith(b"PAR1"):
        return "Parquet"
    if records.begins_with_record(content):
        return _kind_of_records(path, field)
    return next((name for name, suffixes in _SUFFIXES.items() if _has_suffix(path.name, suffixes)), None)


def _has_suffix(name: str, suffixes: tuple[str, ...]) -> bool:
    """Whether a name ends so, before `.gz` and before the number of a shard (`x.tfrecord-00001-of-00010`)."""
    stem = name.lower().removesuffix(".gz").partition("-of-")[0].rstrip("0123456789").removesuffix("-")
    return name.lower().removesuffix(".gz").endswith(suffixes) or stem.endswith(suffixes)


def _kind_of_records(path: Path, field: str) -> str:
    from modelpress.compress.datasets import tfrecord

    first = next(records.records(Order(path, field, 1, "")), b"")
    return "TFRecord" if tfrecord.is_example(first) else "PredictionLog"
