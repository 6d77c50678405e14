"""Keras files looked into before Keras opens them: whose they are, and whether they carry code.

A `.keras` file is a zip archive with config.json and metadata.json; a legacy `.h5` file has the same as attributes
(keras/src/saving/saving_lib.py, keras/src/legacy/saving/legacy_h5_format.py).
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]

from modelpress.api.errors import Invalid
from modelpress.compress.sources.recognition import HDF5_MAGIC

URI_FIELD = "spec.source.uri"
_CODE_CLASSES = frozenset({"Lambda", "__lambda__"})


@dataclass(frozen=True)
class Archive:
    """What a Keras file says about itself."""

    path: Path
    config: Any
    """The model's configuration, JSON."""
    keras_version: str
    """Of the Keras that saved it; empty where it does not say."""

    @property
    def is_keras_3(self) -> bool:
        """Whether Keras 3 saved it; else Keras 2, which is tf_keras today."""
        return self.keras_version.startswith("3")

    def code(self) -> list[str]:
        """Names of the layers that carry code, in order."""
        return list(dict.fromkeys(_code(self.config, "a function")))


def read(path: Path) -> Archive:
    """Looks into a `.keras` or HDF5 file. Raises Invalid `NotAModel`, `WeightsOnly`."""
    try:
        with path.open("rb") as opened:
            is_hdf5 = opened.read(len(HDF5_MAGIC)) == HDF5_MAGIC
        return _hdf5(path) if is_hdf5 else _zip(path)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise Invalid(
            "NotAModel", f"{path.name} is no Keras file that can be read ({error}); save it again", field=URI_FIELD
        ) from error


def _zip(path: Path) -> Archive:
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
        metadata = json.loads(archive.read("metadata.json")) if "metadata.json" in archive.namelist() else {}
    return Archive(path, config, str(metadata.get("keras_version", "")))


def _hdf5(path: Path) -> Archive:
    with h5py.File(path, "r") as file:
        config = file.attrs.get("model_config")
        version = _text(file.attrs.get("keras_version", ""))
        if config is None and "model_weights" in file:
            version = version or _text(file["model_weights"].attrs.get("keras_version", ""))
    if config is None:
        raise Invalid(
            "WeightsOnly",
            f"{path.name} holds weights without the layers that they belong to; build the model in code, load them "
            "(model.load_weights), and save all of it (model.save) as .keras or SavedModel",
            field=URI_FIELD,
        )
    return Archive(path, json.loads(_text(config)), version)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _code(config: Any, owner: str) -> Iterator[str]:
    if isinstance(config, dict):
        inner = config.get("config")
        if isinstance(inner, dict):
            owner = str(inner.get("name") or config.get("name") or owner)
        if config.get("class_name") in _CODE_CLASSES:
            yield owner
        for value in config.values():
            yield from _code(value, owner)
    elif isinstance(config, list):
        for value in config:
            yield from _code(value, owner)
