"""What steps leave for later ones to keep: zeros and shared values, on disk beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from modelpress.compress import dataset
from modelpress.compress.dataset import Array
from modelpress.compress.steps.step import Changed

MASKS, CLUSTERS = "masks.npz", "clusters.npz"


@dataclass(frozen=True)
class Held:
    """Masks and clusters by position among the variables, as in `step.Setting`."""

    masks: Mapping[int, Array] = field(default_factory=dict)
    clusters: Mapping[int, Array] = field(default_factory=dict)

    def joined(self, changed: Changed) -> Held:
        """With what one more step did: zeros stay, clusters of the last step count."""
        masks = dict(self.masks)
        for place, mask in changed.masks.items():
            masks[place] = mask & masks[place] if place in masks else mask
        return Held(masks, {**self.clusters, **changed.clusters})

    def write(self, directory: Path) -> None:
        """Into files of their own."""
        for name, arrays in ((MASKS, self.masks), (CLUSTERS, self.clusters)):
            dataset.save(directory / name, {str(place): array for place, array in sorted(arrays.items())})

    @classmethod
    def read(cls, directory: Path) -> Held:
        """As written."""
        found = []
        for name in (MASKS, CLUSTERS):
            with np.load(directory / name, allow_pickle=False) as stored:
                found.append({int(place): stored[place] for place in stored.files})
        return cls(*found)
