"""What training must not undo: zeros stay zero, and weights that share a value go on sharing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from modelpress.compress.dataset import Array


class Constraints:
    """Masks and clusters of trainable variables, by position; masks may change while training goes on."""

    def __init__(
        self, trainable: Mapping[int, Any], masks: Mapping[int, Array], clusters: Mapping[int, Array] | None = None
    ) -> None:
        """`masks`: True where a weight stays. `clusters`: for each weight the number of the value that it shares."""
        self._trainable = trainable
        self._masks = {
            position: tf.Variable(mask, trainable=False)
            for position, mask in sorted(masks.items())
            if position in trainable
        }
        self._clusters = {
            position: (tf.constant(numbers.reshape(-1), tf.int32), int(numbers.max()) + 1)
            for position, numbers in sorted((clusters or {}).items())
            if position in trainable
        }

    @property
    def state(self) -> Sequence[Any]:
        """Variables of the constraints themselves, to be kept in checkpoints."""
        return list(self._masks.values())

    def masks(self) -> dict[int, Array]:
        """The masks as they are now."""
        return {position: np.asarray(mask) for position, mask in self._masks.items()}

    def set_masks(self, masks: Mapping[int, Array]) -> None:
        """New masks, for the positions that had one; the weights follow at once."""
        for position, mask in masks.items():
            self._masks[position].assign(mask)
        self.hold()

    def gradients(self, gradients: Mapping[int, Any]) -> dict[int, Any]:
        """Gradients that move all weights of a cluster alike: by the mean over the cluster. Traced."""
        return {
            position: self._averaged(position, gradient) if position in self._clusters else gradient
            for position, gradient in gradients.items()
        }

    def hold(self) -> None:
        """Makes weights what they must be after an update. Traced."""
        for position in self._clusters:
            variable = self._trainable[position]
            variable.assign(self._averaged(position, variable))
        for position, mask in self._masks.items():
            variable = self._trainable[position]
            variable.assign(tf.where(mask, variable, tf.zeros_like(variable)))

    def _averaged(self, position: int, values: Any) -> Any:
        """Every value replaced by the mean of its cluster; pruned weights count for nothing."""
        numbers, count = self._clusters[position]
        dense = tf.convert_to_tensor(values)
        flat = tf.reshape(dense, [-1])
        mask = self._masks.get(position)
        weight = tf.ones_like(flat) if mask is None else tf.cast(tf.reshape(mask, [-1]), flat.dtype)
        sums = tf.math.unsorted_segment_sum(flat * weight, numbers, count)
        sizes = tf.math.unsorted_segment_sum(weight, numbers, count)
        return tf.reshape(tf.gather(tf.math.divide_no_nan(sums, sizes), numbers), tf.shape(dense))
