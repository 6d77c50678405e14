"""Small nets for Fashion-MNIST, trained once for a few minutes: a VGG and a ResNet-20, with their data sets.

They are saved as most SavedModels in production were: by Keras 2, with all that it writes. Ratios are against that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parents[1] / "examples"
sys.path += [str(EXAMPLES), str(EXAMPLES / "fashion-mnist")]

import fetching  # noqa: E402
import images  # noqa: E402

CLASSES = 10
EPOCHS, BATCH = 2, 128
CALIBRATION = 256
MOMENTUM = 0.9
"""Of batch norms: with the usual 0.99 their statistics are stale after so short a training."""


def prepared(name: str, network: Callable[[Any], Any]) -> Path:
    """Folder with model (a SavedModel) and its evaluation, calibration and training.npz, made unless it is kept."""
    archives = images.files()
    folder = fetching.cache() / "benchmarks" / name / "data"
    fetching.prepare(folder, [Path(__file__), *archives], lambda into: _build(into, archives, network))
    return folder


def vgg(layers: Any) -> Any:
    """Ten convolutions in four blocks, two dense layers, batch norms: 498 k parameters."""
    import tf_keras

    image = tf_keras.Input((28, 28, 1), name="image")
    hidden = image
    for block, filters in enumerate(((32, 32), (64, 64), (64, 64, 64), (96, 96, 96))):
        if block:
            hidden = layers.MaxPooling2D()(hidden)
        for width in filters:
            hidden = _convolved(layers, hidden, width)
            hidden = layers.ReLU()(hidden)
    hidden = layers.Dense(112, activation="relu")(layers.Flatten()(hidden))
    return tf_keras.Model(image, layers.Dense(CLASSES, activation="softmax", name="classes")(hidden))


def resnet20(layers: Any) -> Any:
    """Three stages of three residual blocks, as for CIFAR (He et al. 2015): 273 k parameters."""
    import tf_keras

    image = tf_keras.Input((28, 28, 1), name="image")
    hidden = layers.ReLU()(_convolved(layers, image, 16))
    for stage, width in enumerate((16, 32, 64)):
        for block in range(3):
            strides = 2 if stage and not block else 1
            inner = layers.ReLU()(_convolved(layers, hidden, width, strides))
            inner = _convolved(layers, inner, width)
            passed = hidden if strides == 1 else _convolved(layers, hidden, width, strides, size=1)
            hidden = layers.ReLU()(layers.Add()([inner, passed]))
    hidden = layers.GlobalAveragePooling2D()(hidden)
    return tf_keras.Model(image, layers.Dense(CLASSES, activation="softmax", name="classes")(hidden))


def _convolved(layers: Any, hidden: Any, width: int, strides: int = 1, size: int = 3) -> Any:
    hidden = layers.Conv2D(width, size, strides, padding="same", use_bias=False)(hidden)
    return layers.BatchNormalization(momentum=MOMENTUM)(hidden)


def _build(folder: Path, archives: list[Path], network: Callable[[Any], Any]) -> None:
    """Pixels are from 0 to 1."""
    fetching.quiet_tensorflow()
    training, test = ((one.photos.astype("f4") / 255, one.classes) for one in images.load(archives))
    _trained(network, *training).save(folder / "model", save_format="tf", include_optimizer=False)
    for name, (photos, classes) in {"evaluation": test, "training": training}.items():
        np.savez_compressed(folder / f"{name}.npz", image=photos, label=classes)
    np.savez_compressed(folder / "calibration.npz", image=training[0][:CALIBRATION])


def _trained(network: Callable[[Any], Any], photos: Any, classes: Any) -> Any:
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    model = network(tf_keras.layers)
    steps = EPOCHS * -(-len(photos) // BATCH)
    rate = tf_keras.optimizers.schedules.CosineDecay(0.003, steps)
    model.compile(tf_keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    with fetching.BARS.step("Train", total=steps) as step:
        advance = tf_keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: step.advance())
        model.fit(photos, classes, BATCH, EPOCHS, verbose=0, callbacks=[advance])
    return model
