"""Where a training stands: what a resumed one needs beside weights and optimizer, equal on all workers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from modelpress.compress.dataset import Array
from modelpress.compress.training import checkpoint, divergence, workers


@dataclass
class Standing:
    """Where the training is; with weights and optimizer all that a resumed one needs."""

    epoch: int = 0
    batch: int = 0
    total: float = 0.0
    """Sum of the losses of this epoch's batches so far."""
    watch: divergence.Watch = field(default_factory=divergence.Watch)
    stopped: bool = False
    losses: tuple[float, ...] = ()
    held_out: tuple[float, ...] = ()
    best: int = -1

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**self.__dict__, "losses": list(self.losses), "held_out": list(self.held_out), "watch": [*self.watch]}

    @classmethod
    def of(cls, counters: dict[str, Any]) -> Standing:
        """From what `plain` gave."""
        both = {"losses": tuple(counters["losses"]), "held_out": tuple(counters["held_out"])}
        return cls(**{**counters, **both, "watch": divergence.Watch.of(counters["watch"])})


def from_chief(
    all_of_us: workers.Workers, found: checkpoint.State | None, model: dict[str, Array], everything: dict[str, Array]
) -> checkpoint.State | None:
    """The chief's checkpoint, on all workers; `model` and `everything` tell the others the shapes."""
    if all_of_us.count == 1:
        return found
    text = json.dumps(found.counters).encode() if found else b""
    length = int(all_of_us.agreed([np.array(len(text), np.int64)])[0])
    if not length:
        return None
    padded = np.frombuffer(text.ljust(length, b" ")[:length], np.uint8)
    counters = json.loads(all_of_us.agreed([padded])[0].astype(np.uint8).tobytes())
    has_best = bool(counters["held_out"]) and counters["best"] >= 0
    like = everything | ({f"best_{name}": value for name, value in model.items()} if has_best else {})
    mine = [found.arrays[name] for name in like] if found else list(like.values())
    return checkpoint.State(counters, dict(zip(like, all_of_us.agreed(mine), strict=True)))
