"""W-TinyLFU over bytes: a newcomer displaces what is asked for less often, so that a scan displaces nothing.

G. Einziger, R. Friedman, B. Manes: TinyLFU, a highly efficient cache admission policy (ACM ToS 13/4, 2017), with the
aggregated victims of G. Einziger et al.: Lightweight robust size aware cache management (ACM ToS 18/3, 2022) for
entries of different sizes. The libraries that offer the policy (theine) bound entries, not bytes.
"""

from __future__ import annotations

import math
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Value = TypeVar("Value")

WINDOW_SHARE = 100
"""One part in so many is the window, where everything begins: bursts are answered before they are admitted."""
PROTECTED_SHARE = 0.8
"""Of the main part, for what was asked for again."""
TYPICAL_ENTRY = 2048
"""Bytes; decides only how many counters there are."""
SMALLEST_ROW, LARGEST_ROW = 2**12, 2**20
SAMPLE = 10
"""Times the counters of a row: after so many requests all counts are halved, so that old fame fades."""
_HIGHEST = 15
_HALVED = bytes(number // 2 for number in range(256))


_slots: Callable[[bytes], tuple[int, int, int, int]] = struct.Struct("<4I").unpack_from


class Sketch:
    """How often each key was asked for lately: a count-min sketch. Keys are digests, hence already random."""

    def __init__(self, counters: int) -> None:
        self._mask = counters - 1
        self._rows = [bytearray(counters) for _ in range(4)]
        self._left = self._period = SAMPLE * counters

    def add(self, key: bytes) -> None:
        """Once more."""
        mask = self._mask
        one, two, three, four = _slots(key)
        first, second, third, fourth = self._rows
        if first[one := one & mask] < _HIGHEST:
            first[one] += 1
        if second[two := two & mask] < _HIGHEST:
            second[two] += 1
        if third[three := three & mask] < _HIGHEST:
            third[three] += 1
        if fourth[four := four & mask] < _HIGHEST:
            fourth[four] += 1
        self._left -= 1
        if not self._left:
            self._rows = [row.translate(_HALVED) for row in self._rows]
            self._left = self._period // 2

    def count(self, key: bytes) -> int:
        """At least as often as it was, at most 15."""
        mask = self._mask
        return min(row[slot & mask] for row, slot in zip(self._rows, _slots(key), strict=True))


class TinyLFU(Generic[Value]):
    """Bounded by the sum of `getsizeof`, and by number if `entries` says so. Keys are at least 16 random bytes."""

    def __init__(self, maxsize: int, *, getsizeof: Callable[[bytes, Value], int], entries: int | None = None) -> None:
        self._maxsize = maxsize
        self._most = math.inf if entries is None else entries
        self._window_most = max(1, self._most // WINDOW_SHARE)
        self._protected_most = (self._most - self._window_most) * PROTECTED_SHARE
        self._window_size = maxsize // WINDOW_SHARE
        self._protected_size = int((maxsize - self._window_size) * PROTECTED_SHARE)
        self._size_of = getsizeof
        self._sketch = Sketch(_counters(maxsize, entries))
        self._window: OrderedDict[bytes, Value] = OrderedDict()
        self._probation: OrderedDict[bytes, Value] = OrderedDict()
        self._protected: OrderedDict[bytes, Value] = OrderedDict()
        self._window_used = self._protected_used = self._used = 0

    def __len__(self) -> int:
        return len(self._window) + len(self._probation) + len(self._protected)

    def __contains__(self, key: bytes) -> bool:
        return key in self._protected or key in self._probation or key in self._window

    def current_size(self) -> int:
        """Bytes in use."""
        return self._used

    def items(self) -> Iterator[tuple[bytes, Value]]:
        """All entries, the least wanted first."""
        for segment in (self._window, self._probation, self._protected):
            yield from segment.items()

    def get(self, key: bytes) -> Value | None:
        """The value, None where there is none; counted as asked for in both cases."""
        self._sketch.add(key)
        found = self._protected.get(key)
        if found is not None:
            self._protected.move_to_end(key)
            return found
        found = self._probation.pop(key, None)
        if found is not None:
            self._protect(key, found)
            return found
        found = self._window.get(key)
        if found is not None:
            self._window.move_to_end(key)
        return found

    def insert(self, key: bytes, value: Value) -> None:
        """Keeps a value if it is wanted more than what it would displace; others may go, or itself."""
        self.pop(key, None)
        size = self._size_of(key, value)
        if size > self._maxsize or not self._most:
            return
        if size > self._window_size:
            if self._admits(key, self._used + size - self._maxsize):
                self._probation[key] = value
                self._used += size
            return
        self._window[key] = value
        self._window_used += size
        self._used += size
        while self._window and self._is_over():
            self._leave_window()

    def pop(self, key: bytes, default: Value | None = None) -> Value | None:
        """Takes an entry out."""
        for segment in (self._protected, self._probation, self._window):
            value = segment.pop(key, None)
            if value is not None:
                size = self._size_of(key, value)
                self._used -= size
                if segment is self._window:
                    self._window_used -= size
                elif segment is self._protected:
                    self._protected_used -= size
                return value
        return default

    def popitem(self) -> tuple[bytes, Value]:
        """Takes the least wanted entry out; KeyError where there is none."""
        for segment in (self._probation, self._protected, self._window):
            if segment:
                key = next(iter(segment))
                value = segment[key]
                self.pop(key)
                return key, value
        raise KeyError("empty")

    def clear(self) -> None:
        """Takes everything out; what was asked for is remembered."""
        for segment in (self._window, self._probation, self._protected):
            segment.clear()
        self._window_used = self._protected_used = self._used = 0

    def _protect(self, key: bytes, value: Value) -> None:
        self._protected[key] = value
        self._protected_used += self._size_of(key, value)
        while len(self._protected) > 1 and (
            self._protected_used > self._protected_size or len(self._protected) > self._protected_most
        ):
            demoted, old = self._protected.popitem(last=False)
            self._protected_used -= self._size_of(demoted, old)
            self._probation[demoted] = old

    def _is_over(self) -> bool:
        """Whether something must leave the window, for its own bounds or for those of all."""
        window = self._window_used > self._window_size or len(self._window) > self._window_most
        return window or self._used > self._maxsize or len(self) > self._most

    def _leave_window(self) -> None:
        """The window's eldest goes on into the main part, in the place of others if it is wanted more than they."""
        key, value = self._window.popitem(last=False)
        size = self._size_of(key, value)
        self._window_used -= size
        if not self._admits(key, self._used - self._maxsize):
            self._used -= size
            return
        self._probation[key] = value

    def _admits(self, key: bytes, excess: int) -> bool:
        """Whether a key that is in no segment may come into the main part, where `excess` bytes must go for it."""
        too_many = len(self) + 1 - self._most
        return (excess <= 0 and too_many <= 0) or self._displace(key, excess, too_many)

    def _displace(self, key: bytes, excess: int, too_many: float) -> bool:
        """Whether those that must go for this key were asked for less often together; if so they are gone."""
        fame, victims, freed = self._sketch.count(key), list[bytes](), 0
        for segment in (self._probation, self._protected):
            for victim, value in segment.items():
                if freed >= excess and len(victims) >= too_many:
                    break
                fame -= self._sketch.count(victim)
                if fame <= 0:
                    return False
                victims.append(victim)
                freed += self._size_of(victim, value)
        if freed < excess or len(victims) < too_many:
            return False
        for victim in victims:
            self.pop(victim)
        return True


def _counters(maxsize: int, entries: int | None) -> int:
    """A power of two, several times the entries that are likely to fit."""
    likely = maxsize // TYPICAL_ENTRY
    wanted = 4 * (likely if entries is None else min(likely, entries))
    return int(min(max(1 << max(wanted - 1, 1).bit_length(), SMALLEST_ROW), LARGEST_ROW))
