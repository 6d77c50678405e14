"""What a training is asked for, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelpress.api.recipe import Training
from modelpress.compress.dataset import Rows
from modelpress.compress.signature import Signature
from modelpress.compress.training.constraints import Constraints

Loss = Callable[[dict[str, Any], dict[str, Any]], Any]
"""(inputs by name, labels by output) -> mean over the rows; a scalar tensor. Traced."""
Seen = Callable[[], Mapping[int, Any]]
"""Position of a variable that is a moving average -> what the last loss's rows say of it. Traced, after the loss."""


NOT_MIXED = "all in float32: only a CPU with bfloat16 computes in mixed precision; leave training.mixedPrecision out"


@dataclass(frozen=True)
class Task:
    """What is trained on what."""

    signature: Signature
    """Its inputs tell the types of the rows."""
    rows: Rows
    loss: Loss
    variables: Sequence[Any]
    """The whole state of the model, in an order that depends on nothing but the model."""
    trainable: Mapping[int, Any]
    """Position among `variables` -> variable."""
    constraints: Constraints
    held_out_loss: Loss | None = None
    """Loss as the model will serve, where training runs it otherwise (dropout, batch statistics); None: `loss`."""
    names: Mapping[int, str] = field(default_factory=dict)
    """Readable names of variables, for histograms; absent ones are numbered."""
    seen: Seen | None = None
    """What moving averages follow; None: there are none, or they stay as they are."""
    worthless: float = math.inf
    """Loss of a model that always gives the same answer; inf: not known."""


@dataclass(frozen=True)
class Course:
    """How long and how fast."""

    epochs: int
    learning_rate: float
    training: Training
    title: str
    """For people, e.g. `Fine-tuning`."""
    field: str
    """Path of the step in the resource, for errors."""
    before: Callable[[int, int], None] | None = None
    """Called with (update, total) before every update, from 0; changes masks when it is time to."""
    best_from: Callable[[int], int] | None = None
    """Total of updates -> how many must be done before an epoch may be the best one: sparsity may have to be reached
    first; None: any epoch may."""
    updates: int | None = None
    """Stop after so many updates, for trials; None: when the epochs are over."""


@dataclass(frozen=True)
class History:
    """What came of a training."""

    losses: tuple[float, ...]
    """Mean training loss of each epoch."""
    held_out: tuple[float, ...]
    """Loss on the rows kept out, after each epoch; empty where none were."""
    best: int
    """Epoch, from 0, whose weights the model has now."""
    stopped: bool
    """Whether the loss on rows kept out grew for so long that the rest was left out."""
    resumed: int
    """Updates that an earlier, killed process had done."""
    mixed: bool | None = None
    """Whether products were in bfloat16; None: nobody asked for it."""
    threads: int | None = None
    """Of one operation: sums are taken in as many parts; None where a GPU takes them."""

    @property
    def note(self) -> str:
        """For people."""
        said = f"loss {self.losses[0]:.4g} in the first epoch" if self.losses else "no update"
        if len(self.losses) > 1:
            said += f", {self.losses[-1]:.4g} in the last"
        if self.held_out:
            said += f"; {self.held_out[self.best]:.4g} on rows kept out, after epoch {self.best + 1}"
        if self.stopped:
            said += f"; stopped after epoch {len(self.losses)}, as it did not improve any more"
        if self.mixed is not None:
            said += "; in mixed precision" if self.mixed else f"; {NOT_MIXED}"
        if self.threads is not None:
            said += f"; trained in {self.threads} thread{'s' * (self.threads != 1)}: the bytes follow their number"
        return said
