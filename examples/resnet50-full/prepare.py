"""Makes the full-size ResNet-50 with random weights: its size and latency are real, its answers mean nothing.

    python examples/resnet50-full/prepare.py

writes, beside this script: data/model/1 (a SavedModel of 103 MB), data/evaluation.npz and data/calibration.npz (images
of noise) and data/requests.json. It takes half a minute and fetches nothing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

import fetching  # noqa: E402

SIDE, ROWS = 224, 64


def main() -> None:
    """Make, save."""
    fetching.prepare(HERE / "data", sources(), build)


def sources() -> list[Path]:
    """All that the result depends on."""
    return [Path(__file__)]


def build(folder: Path) -> None:
    """Everything that data/ holds."""
    fetching.quiet_tensorflow()
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    model = tf_keras.applications.ResNet50(weights=None)
    model.save(folder / "model" / "1", save_format="tf", include_optimizer=False)
    noise = np.random.default_rng(0).integers(0, 256, (ROWS, SIDE, SIDE, 3), np.uint8)
    for part, rows in (("evaluation", noise[: ROWS // 2]), ("calibration", noise[ROWS // 2 :])):
        np.savez_compressed(folder / f"{part}.npz", **{model.input_names[0]: rows})
    (folder / "requests.json").write_text(json.dumps({"instances": noise[:1].tolist()}) + "\n")


if __name__ == "__main__":
    main()
