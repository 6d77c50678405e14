"""Trains a VGG-11 at quarter width on Fashion-MNIST, to be pruned and trained on.

    python examples/vgg/prepare.py

writes, beside this script: data/model/1 (a SavedModel of Keras 2, 3 MB), data/evaluation.npz (the 10,000 test images),
data/training.npz and data/requests.json. It takes about two minutes on two cores; a second run takes what it kept.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

import fetching  # noqa: E402
import images  # noqa: E402

BLOCKS = ((16,), (32,), (64, 64), (128, 128), (128, 128))
"""Filters of the convolutions before each pooling: configuration A of Simonyan and Zisserman (2014) at a quarter."""
DENSE, CLASSES = 128, 10
EPOCHS, BATCH = 2, 128
MOMENTUM = 0.9
"""Of batch norms: with the usual 0.99 their statistics are stale after so short a training."""
TRAINING = 20_000


def main() -> None:
    """Fetch, train, save."""
    archives = images.files()
    sources = [Path(__file__), Path(images.__file__), *archives]
    fetching.prepare(HERE / "data", sources, lambda folder: build(folder, archives))


def build(folder: Path, archives: list[Path]) -> None:
    """Everything that data/ holds. Pixels are whole numbers from 0 to 255; scaling is part of the model."""
    fetching.quiet_tensorflow()
    training, test = images.load(archives)
    trained(training).save(folder / "model" / "1", save_format="tf", include_optimizer=False)
    np.savez_compressed(folder / "evaluation.npz", image=test.photos, label=test.classes)
    np.savez_compressed(folder / "training.npz", image=training.photos[:TRAINING], label=training.classes[:TRAINING])
    (folder / "requests.json").write_text(json.dumps({"instances": test.photos[:2].tolist()}) + "\n")


def network() -> Any:
    """Eight convolutions with batch norms in five blocks, three dense layers: about 610,000 weights."""
    import tf_keras

    layers = tf_keras.layers
    image = tf_keras.Input((28, 28, 1), name="image")
    hidden = layers.ZeroPadding2D(2)(layers.Rescaling(1 / 255)(image))
    for filters in BLOCKS:
        for width in filters:
            hidden = layers.Conv2D(width, 3, padding="same", use_bias=False)(hidden)
            hidden = layers.ReLU()(layers.BatchNormalization(momentum=MOMENTUM)(hidden))
        hidden = layers.MaxPooling2D()(hidden)
    hidden = layers.Flatten()(hidden)
    for _ in range(2):
        hidden = layers.Dense(DENSE, activation="relu")(hidden)
    return tf_keras.Model(image, layers.Dense(CLASSES, activation="softmax", name="classes")(hidden))


def trained(data: images.Images) -> Any:
    """The network after two passes over the data."""
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    model = network()
    steps = EPOCHS * -(-len(data.photos) // BATCH)
    rate = tf_keras.optimizers.schedules.CosineDecay(0.003, steps)
    model.compile(tf_keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    with fetching.BARS.step("Train", total=steps) as step:
        advance = tf_keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: step.advance())
        model.fit(data.photos, data.classes, BATCH, EPOCHS, verbose=0, callbacks=[advance])
    return model


if __name__ == "__main__":
    main()
