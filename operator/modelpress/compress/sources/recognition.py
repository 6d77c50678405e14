"""What a file or folder holds, from its first bytes: names lie, and nothing is loaded to find out."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

from google.protobuf.message import DecodeError

from modelpress.compress import signature_file, wire
from modelpress.storage import listing

Format = Literal["SavedModel", "Keras", "KerasHDF5", "FrozenGraph", "TFLite"]

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_TFLITE_MAGIC = b"TFL3"
_ZIP_MAGIC = b"PK\x03\x04"
_PICKLE_MAGIC = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_MODEL_SUFFIXES = (".keras", ".h5", ".hdf5", ".pb", ".tflite")


def located(root: Path) -> Path:
    """The model at or below `root`: of numbered versions the highest; in a folder without a SavedModel its only file.

    `root` itself where there is nothing better.
    """
    path = root
    if path.is_file() and path.name == signature_file.FILE_NAME:
        return path.parent
    if path.is_dir() and not (path / signature_file.FILE_NAME).exists():
        path = listing.newest_version(path) or path
    if path.is_dir() and not (path / signature_file.FILE_NAME).exists():
        models = [entry for entry in path.iterdir() if entry.is_file() and entry.suffix.lower() in _MODEL_SUFFIXES]
        if len(models) == 1:
            return models[0]
    return path


def format_of(path: Path) -> Format | None:
    """The format of a model; None where it is none that can be read."""
    if path.is_dir():
        return "SavedModel" if (path / signature_file.FILE_NAME).is_file() else None
    with path.open("rb") as opened:
        head = opened.read(16)
    if head.startswith(HDF5_MAGIC):
        return "KerasHDF5"
    if head[4:8] == _TFLITE_MAGIC:
        return "TFLite"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return "Keras" if "config.json" in archive.namelist() else None
    if path.suffix.lower() == ".pb" and _is_graph(path):
        return "FrozenGraph"
    return None


def is_pickle(path: Path) -> bool:
    """Whether a file begins like a Python pickle, which is a program."""
    if not path.is_file():
        return False
    with path.open("rb") as opened:
        return opened.read(2) in _PICKLE_MAGIC


def is_cut_off(path: Path) -> bool:
    """Whether a file begins like a zip (a .keras file is one) and does not end like one."""
    with path.open("rb") as opened:
        return opened.read(4) == _ZIP_MAGIC and not zipfile.is_zipfile(path)


def _is_graph(path: Path) -> bool:
    try:
        graph = wire.GraphDef.FromString(path.read_bytes())
    except (DecodeError, ValueError):
        return False
    return bool(graph.node) and all(node.name and node.op for node in graph.node)
