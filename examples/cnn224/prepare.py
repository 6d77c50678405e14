"""Trains a CNN of ten classes for colour photos of 224x224, on Fashion-MNIST enlarged to that.

    python examples/cnn224/prepare.py

writes, beside this script: data/model.keras, data/evaluation.npz (1,000 test images), data/calibration.npz and
data/requests.json. It takes about three minutes on two cores; a second run takes what it kept.
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

SIDE, CLASSES = 224, 10
FILTERS = (16, 32, 64, 64, 64)
EPOCHS, BATCH = 2, 32
TRAINING, EVALUATION, CALIBRATION = 4000, 1000, 128


def main() -> None:
    """Fetch, train, save."""
    archives = images.files()
    fetching.prepare(HERE / "data", sources(archives), lambda folder: build(folder, archives))


def sources(archives: list[Path]) -> list[Path]:
    """All that the result depends on."""
    return [Path(__file__), Path(images.__file__), *archives]


def build(folder: Path, archives: list[Path]) -> None:
    """Everything that data/ holds. Pixels are whole numbers from 0 to 255; scaling is part of the model."""
    fetching.quiet_tensorflow()
    training, test = images.load(archives)
    trained(training).save(folder / "model.keras")
    shown = enlarged(test.photos[:EVALUATION])
    np.savez_compressed(folder / "evaluation.npz", image=shown, label=test.classes[:EVALUATION])
    np.savez_compressed(folder / "calibration.npz", image=enlarged(training.photos[:CALIBRATION]))
    (folder / "requests.json").write_text(json.dumps({"instances": shown[:1].tolist()}) + "\n")


def enlarged(photos: np.ndarray) -> np.ndarray:
    """Grey photos [n, 28, 28, 1] as colour photos [n, 224, 224, 3], both of type uint8."""
    import tensorflow as tf

    grey = tf.image.resize(photos.astype("f4"), (SIDE, SIDE)).numpy()
    return np.repeat(np.rint(grey).astype(np.uint8), 3, axis=-1)


def network() -> keras.Model:
    """Five blocks of convolution and pooling, a dense layer, ten classes."""
    import keras

    layers = keras.layers
    image = keras.Input((SIDE, SIDE, 3), name="image")
    hidden = layers.Rescaling(1 / 255)(image)
    for filters in FILTERS:
        hidden = layers.Conv2D(filters, 3, padding="same", activation="relu")(hidden)
        hidden = layers.MaxPooling2D()(hidden)
    hidden = layers.Dense(64, activation="relu")(layers.Flatten()(hidden))
    return keras.Model(image, layers.Dense(CLASSES, activation="softmax", name="classes")(hidden))


def trained(data: images.Images) -> keras.Model:
    """The network after two passes over a part of the data."""
    import keras

    keras.utils.set_random_seed(0)
    model = network()
    model.compile(keras.optimizers.Adam(0.001), "sparse_categorical_crossentropy")
    photos, classes = enlarged(data.photos[:TRAINING]), data.classes[:TRAINING]
    with fetching.BARS.step("Train", total=EPOCHS * -(-TRAINING // BATCH)) as step:
        advance = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: step.advance())
        model.fit(photos, classes, BATCH, EPOCHS, verbose=0, callbacks=[advance])
    return model


if __name__ == "__main__":
    main()
