"""The memory tier: answers by key, bounded by bytes and by age."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import cachebox

Value = TypeVar("Value")

OVERHEAD = 512
"""Bytes that an entry costs beside its payload: key, list node, hash slot, Python objects, its share of the memo."""


class _Entry(NamedTuple, Generic[Value]):
    value: Value
    payload: int
    born: float


def _size(_: bytes, entry: _Entry[Value]) -> int:
    return entry.payload + OVERHEAD


class Memory(Generic[Value]):
    """LRU or LFU over bytes. `clock` gives seconds that never go back."""

    def __init__(self, *, size: int, ttl: float, policy: str, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ttl = ttl
        self._policy = effective_policy(policy)
        self._size = size
        self._entries = self._empty()
        self.evicted_for_space = 0
        self.expired = 0

    @property
    def policy(self) -> str:
        """The policy in force: TinyLFU is not here yet and gives LRU."""
        return self._policy

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
        if self._clock() - entry.born > self._ttl:
            self._entries.pop(key, None)
            self.expired += 1
            return None
        return entry.value

    def put(self, key: bytes, value: Value, payload: int) -> bool:
        """Keeps an answer of `payload` bytes, making room where needed; False where it alone would not fit."""
        if payload + OVERHEAD > self._size:
            return False
        before = len(self._entries)
        known = key in self._entries
        self._entries.insert(key, _Entry(value, payload, self._clock()))
        self.evicted_for_space += before + (0 if known else 1) - len(self._entries)
        return True

    def clear(self) -> int:
        """Forgets everything; the number of entries that were there."""
        count = len(self._entries)
        self._entries.clear()
        return count

    def reconfigure(self, *, size: int, ttl: float, policy: str) -> None:
        """Takes new bounds at once; what no longer fits is evicted, least wanted first."""
        self._ttl = ttl
        wanted = effective_policy(policy)
        if (size, wanted) == (self._size, self._policy):
            return
        old, self._size, self._policy = self._entries, size, wanted
        self._entries = self._empty()
        for key, entry in list(old.items()):
            if _size(key, entry) <= size:
                self._entries.insert(key, entry)
        self.evicted_for_space += len(old) - len(self._entries)

    def _empty(self) -> cachebox.LRUCache[bytes, _Entry[Value]] | cachebox.LFUCache[bytes, _Entry[Value]]:
        kind = cachebox.LFUCache if self._policy == "LFU" else cachebox.LRUCache
        return kind(max(self._size, 1), getsizeof=_size)


def effective_policy(asked: str) -> str:
    """LFU where asked for, otherwise LRU."""
    return "LFU" if asked == "LFU" else "LRU"
