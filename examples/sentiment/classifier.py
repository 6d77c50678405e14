"""A sentiment head on a frozen encoder: trained on embeddings, saved as one model."""

from __future__ import annotations

import encoder
import fetching
import keras
import numpy as np
import tensorflow as tf
import tokens

BATCH = 64
EPOCHS, WEIGHT_DECAY = 300, 0.002


class Classifier(tf.Module):
    """The encoder and a dense head: the probabilities that a text dislikes and likes what it is about."""

    def __init__(self, network: encoder.Encoder, kernel: np.ndarray, bias: np.ndarray) -> None:
        super().__init__()
        self._encoder = network
        self._kernel = tf.Variable(kernel, name="head.kernel")
        self._bias = tf.Variable(bias, name="head.bias")

    @tf.function(input_signature=encoder.SIGNATURE)
    def serve(self, input_ids: tf.Tensor, attention_mask: tf.Tensor) -> dict[str, tf.Tensor]:
        embedding = self._encoder(input_ids, attention_mask)
        return {"probabilities": tf.nn.softmax(tf.matmul(embedding, self._kernel) + self._bias)}


def embedded(network: encoder.Encoder, rows: dict[str, np.ndarray]) -> np.ndarray:
    """Embeddings; rows of like length go together and are cut to it, which halves the work."""
    lengths = rows["attention_mask"].sum(axis=1)
    order = np.argsort(lengths, kind="stable")
    embeddings = np.empty((len(order), encoder.FEATURES), np.float32)
    embed = tf.function(network, input_signature=encoder.SIGNATURE)
    with fetching.BARS.step("Embed reviews", total=len(order)) as step:
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            longest = lengths[batch].max()
            embeddings[batch] = embed(*(rows[name][batch, :longest] for name in tokens.INPUTS)).numpy()
            step.advance(len(batch))
    return embeddings


def trained_head(embeddings: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of a logistic regression."""
    kernel = tf.Variable(tf.zeros([encoder.FEATURES, 2]))
    bias = tf.Variable(tf.zeros([2]))
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build([kernel, bias])

    @tf.function
    def improve() -> None:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, embeddings @ kernel + bias)
            loss = tf.reduce_mean(losses) + WEIGHT_DECAY * tf.reduce_sum(kernel**2)
        optimizer.apply_gradients(zip(tape.gradient(loss, [kernel, bias]), [kernel, bias], strict=True))

    with fetching.BARS.step("Train the head", total=EPOCHS) as step:
        for _ in range(EPOCHS):
            improve()
            step.advance()
    return kernel.numpy(), bias.numpy()
