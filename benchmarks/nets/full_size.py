"""The full-size ResNet-50 with random weights: its size and latency are real, its answers mean nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nets import fashion

fetching = fashion.fetching

SIDE, ROWS = 224, 64


def write(folder: Path) -> None:
    """`model` (a SavedModel of 103 MB), evaluation.npz and calibration.npz."""
    fetching.quiet_tensorflow()
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    model = tf_keras.applications.ResNet50(weights=None)
    model.save(folder / "model", save_format="tf", include_optimizer=False)
    noise = np.random.default_rng(0).integers(0, 256, (ROWS, SIDE, SIDE, 3), np.uint8)
    for part, rows in (("evaluation", noise[: ROWS // 2]), ("calibration", noise[ROWS // 2 :])):
        np.savez_compressed(folder / f"{part}.npz", **{model.input_names[0]: rows})
