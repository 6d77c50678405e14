"""What a loaded version can do, whatever form it has on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    # Signatures know TensorFlow's types; what only keeps servables need not load it.
    from modelpress.server.signatures import Signature

Array = np.ndarray[Any, Any]


class Servable(Protocol):
    """A loaded version of a model. `run` is safe from any number of threads."""

    @property
    def signatures(self) -> Mapping[str, Signature]: ...

    def run(self, feeds: tuple[str, ...], values: Sequence[Array], fetches: tuple[str, ...]) -> Sequence[Array]:
        """Tensor names and values in, values of the fetched tensors out; raises Failure."""

    def close(self) -> None:
        """Give the memory back; nothing runs any more."""
