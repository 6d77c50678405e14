"""From requests to the names of their answers: by form, by a memo of raw bytes, or by parsing."""

from __future__ import annotations

import time

import cachebox

from modelpress.sidecar.key import Identity, Level1
from modelpress.sidecar.measures import Measures
from modelpress.sidecar.question import Question
from modelpress.sidecar.reason import Bypass, Uncacheable

SHARE = 8
"""One part in so many of the memory is for the memo."""
_ENTRY = 256

Memo = cachebox.LRUCache[bytes, bytes | Bypass]


class Keys:
    """Canonical keys of what one sidecar is asked; `size` is that of the whole memory tier, in bytes."""

    def __init__(self, identity: Identity, measures: Measures, *, size: int) -> None:
        self._identity = identity
        self._measures = measures
        self.memo = _memo(size)
        """Canonical keys, or why there is none, by the hash of the raw bytes."""
        self._level1: dict[tuple[int, str], Level1] = {}

    def resize(self, size: int) -> None:
        """Another size, with an empty memo."""
        self.memo = _memo(size)

    def of(self, question: Question, version: int) -> bytes | Bypass:
        """The canonical key where `version` answers, or why this question has none."""
        started = time.perf_counter()
        known = question.known(version)
        if known is not None:
            self._measures.lookup_seconds.observe(time.perf_counter() - started)
            return known
        level1 = self._level1.get((version, question.method))
        if level1 is None:
            level1 = self._level1[version, question.method] = Level1(self._identity, version, question.method)
        raw = level1.digest(question.context, question.chunks, question.hashed)
        key = self.memo.get(raw)
        middle = time.perf_counter()
        self._measures.lookup_seconds.observe(middle - started)
        if key is None:
            try:
                key = question.canonical(version)
            except Uncacheable as uncacheable:
                key = uncacheable.reason
            self.memo.insert(raw, key)
            self._measures.key_seconds.observe(time.perf_counter() - middle)
        return key


def _memo(size: int) -> Memo:
    return cachebox.LRUCache(max(size // SHARE // _ENTRY, 16))
