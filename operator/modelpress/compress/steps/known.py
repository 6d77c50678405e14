"""What steps find out about a model, and that does not depend on how far they go: found once for all trials."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from modelpress.compress.model import OpenedModel

Found = TypeVar("Found")


class Known:
    """The findings about an opened model; whoever opens the same model again may go on with them."""

    def __init__(self, opened: OpenedModel, found: dict[Hashable, Any] | None = None) -> None:
        """`found`: those of the same model, opened earlier; what is found from now on is added."""
        self._opened = opened
        self._found: dict[Hashable, Any] = {} if found is None else found

    def is_of(self, opened: OpenedModel) -> bool:
        """Whether they are about this model: a step may make another of it and go on with that."""
        return self._opened is opened

    def once(self, key: Hashable, find: Callable[[], Found]) -> Found:
        """What is known under the key, else what `find` returns; it must not be changed."""
        if key not in self._found:
            self._found[key] = find()
        found: Found = self._found[key]
        return found
