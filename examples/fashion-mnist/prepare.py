"""Trains the classic small CNN on Fashion-MNIST, to be pruned, trained on and quantized.

    python examples/fashion-mnist/prepare.py

writes, beside this script: data/model.keras, data/evaluation.npz (the 10,000 test images), data/calibration.npz,
data/training.npz and data/requests.json. It takes about a minute on two cores; a second run takes what it kept.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

import fetching  # noqa: E402
import images  # noqa: E402

if TYPE_CHECKING:
    import keras

CLASSES = 10
EPOCHS, BATCH = 2, 128
TRAINING, CALIBRATION = 10_000, 256
"""Rows for fine-tuning and for ranges: a part of what the model was trained on."""


def main() -> None:
    """Fetch, train, save."""
    archives = images.files()
    fetching.prepare(
        HERE / "data", [Path(__file__), Path(images.__file__), *archives], lambda folder: build(folder, archives)
    )


def build(folder: Path, archives: list[Path]) -> None:
    """Everything that data/ holds. Pixels are whole numbers from 0 to 255; scaling is part of the model."""
    fetching.quiet_tensorflow()
    training, test = images.load(archives)
    trained(training).save(folder / "model.keras")
    np.savez_compressed(folder / "evaluation.npz", image=test.photos, label=test.classes)
    np.savez_compressed(folder / "calibration.npz", image=training.photos[:CALIBRATION])
    np.savez_compressed(folder / "training.npz", image=training.photos[:TRAINING], label=training.classes[:TRAINING])
    (folder / "requests.json").write_text(json.dumps({"instances": test.photos[:2].tolist()}) + "\n")


def network() -> keras.Model:
    """Three blocks of convolution and pooling, a dense layer, ten classes."""
    import keras

    layers = keras.layers
    image = keras.Input((28, 28, 1), name="image")
    hidden = layers.Rescaling(1 / 255)(image)
    for filters in (32, 64, 64):
        hidden = layers.Conv2D(filters, 3, padding="same", activation="relu")(hidden)
        hidden = layers.MaxPooling2D()(hidden)
    hidden = layers.Dense(64, activation="relu")(layers.Flatten()(hidden))
    return keras.Model(image, layers.Dense(CLASSES, activation="softmax", name="classes")(hidden))


def trained(data: images.Images) -> keras.Model:
    """The network after two passes over the data."""
    import keras

    keras.utils.set_random_seed(0)
    model = network()
    model.compile(keras.optimizers.Adam(0.002), "sparse_categorical_crossentropy")
    steps = -(-len(data.photos) // BATCH)
    with fetching.BARS.step("Train", total=EPOCHS * steps) as step:
        advance = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: step.advance())
        model.fit(data.photos, data.classes, BATCH, EPOCHS, verbose=0, callbacks=[advance])
    return model


if __name__ == "__main__":
    main()
