"""The memory tier: answers by key, bounded by bytes, by number and by age."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Generic, TypeAlias, TypeVar

import cachebox

from modelpress.sidecar.tinylfu import TinyLFU

Value = TypeVar("Value")

OVERHEAD = 560
"""Bytes that an entry costs beside its payload: key, list node, hash slot, Python objects, its share of the memo.

Measured as growth of the resident set by 100,000 entries (benchmarks/sidecar): 510-530 under LRU and LFU.
"""


class Cause(StrEnum):
    """Why an entry left."""

    SPACE = "space"
    ENTRIES = "entries"
    TTL = "ttl"
    PURGE = "purge"
    VERSION = "version"


_Entry: TypeAlias = tuple[Value, int, float]
"""The value, the size of its payload, and when it was born; a plain tuple, because one is made for every miss."""
_Entries: TypeAlias = (
    cachebox.LRUCache[bytes, _Entry[Value]] | cachebox.LFUCache[bytes, _Entry[Value]] | TinyLFU[_Entry[Value]]
)


def _size(_: bytes, entry: _Entry[Value]) -> int:
    return entry[1] + OVERHEAD


class Memory(Generic[Value]):
    """LRU, LFU or TinyLFU over bytes. `clock` gives seconds that never go back; `entries` None: no bound of its own."""

    def __init__(
        self, *, size: int, ttl: float, policy: str, clock: Callable[[], float], entries: int | None = None
    ) -> None:
        self._clock = clock
        self._ttl = ttl
        self._policy = policy
        self._size = size
        self._most = entries
        self._entries = self._empty()
        self.left: Counter[Cause] = Counter()
        """Entries that left, by cause."""

    @property
    def policy(self) -> str:
        """The policy in force."""
        return self._policy

    @property
    def size(self) -> int:
        """Bytes that may be in use."""
        return self._size

    @property
    def used(self) -> int:
        """Bytes in use, overhead included; never above the size."""
        return self._entries.current_size()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> Value | None:
        """The answer, None where there is none or it is older than the time to live."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if self._clock() - entry[2] > self._ttl:
            self._entries.pop(key, None)
            self.left[Cause.TTL] += 1
            return None
        return entry[0]

    def put(self, key: bytes, value: Value, payload: int, *, age: float = 0.0) -> bool:
        """Keeps an answer of `payload` bytes, `age` seconds old, making room; False where it alone would not fit."""
        if payload + OVERHEAD > self._size or self._most == 0:
            return False
        known = key in self._entries
        if not known and self._most is not None and self._policy != "TinyLFU":
            self._trim(self._most - 1)
        before = len(self._entries)
        self._entries.insert(key, (value, payload, self._clock() - age))
        left = before + (0 if known else 1) - len(self._entries)
        if left:
            self.left[Cause.ENTRIES if self._most is not None and before >= self._most else Cause.SPACE] += left
        return True

    def clear(self, cause: Cause = Cause.PURGE) -> int:
        """Forgets everything; the number of entries that were there."""
        count = len(self._entries)
        self._entries.clear()
        self.left[cause] += count
        return count

    def reconfigure(self, *, size: int, ttl: float, policy: str, entries: int | None = None) -> None:
        """Takes new bounds at once; what no longer fits is evicted, least wanted first."""
        bound_itself = policy == "TinyLFU" and entries != self._most
        self._ttl, self._most = ttl, entries
        if (size, policy) != (self._size, self._policy) or bound_itself:
            old, self._size, self._policy = self._entries, size, policy
            self._entries = self._empty()
            for key, entry in list(old.items()):
                if _size(key, entry) <= size:
                    self._entries.insert(key, entry)
            self.left[Cause.SPACE] += len(old) - len(self._entries)
        if entries is not None:
            self._trim(entries)

    def _trim(self, entries: int) -> None:
        while len(self._entries) > entries:
            self._entries.popitem()
            self.left[Cause.ENTRIES] += 1

    def _empty(self) -> _Entries[Value]:
        size = max(self._size, 1)
        if self._policy == "TinyLFU":
            return TinyLFU(size, getsizeof=_size, entries=self._most)
        return (cachebox.LFUCache if self._policy == "LFU" else cachebox.LRUCache)(size, getsizeof=_size)
