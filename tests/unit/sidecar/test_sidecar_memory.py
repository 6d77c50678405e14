"""The memory tier keeps what was asked for last, within its bytes and its time."""

from __future__ import annotations

import hashlib
import random

import pytest

from modelpress.sidecar.memory import OVERHEAD, Cause, Memory

ENTRY = 100 + OVERHEAD


@pytest.fixture
def clock():
    class Clock:
        now = 0.0

        def __call__(self) -> float:
            return self.now

    return Clock()


def a_memory(clock, entries: int, policy: str = "LRU") -> Memory[str]:
    return Memory(size=entries * ENTRY, ttl=10, policy=policy, clock=clock)


def kept(memory: Memory[str], keys: bytes) -> str:
    return "".join(chr(key) for key in keys if memory.get(bytes([key])) is not None)


def fill(memory: Memory[str], keys: bytes) -> None:
    for key in keys:
        assert memory.put(bytes([key]), chr(key), 100)


def test_the_least_recently_used_makes_room(clock):
    memory = a_memory(clock, 3)
    fill(memory, b"abc")
    memory.get(b"a")
    fill(memory, b"d")
    assert kept(memory, b"abcd") == "acd"
    assert +memory.left == {Cause.SPACE: 1}


def test_the_least_frequently_used_makes_room_under_lfu(clock):
    memory = a_memory(clock, 2, "LFU")
    fill(memory, b"a")
    for _ in range(3):
        memory.get(b"a")
    fill(memory, b"bcd")
    assert kept(memory, b"abcd") == "ad"


def test_bytes_never_exceed_the_size(clock):
    memory = a_memory(clock, 5)
    for number in range(100):
        memory.put(bytes([number]), "x", number * 7)
        assert memory.used <= 5 * ENTRY


def test_what_alone_would_not_fit_is_not_kept_and_displaces_nothing(clock):
    memory = a_memory(clock, 2)
    fill(memory, b"ab")
    assert not memory.put(b"c", "c", 3 * ENTRY)
    assert kept(memory, b"abc") == "ab"


def test_nothing_is_kept_in_no_bytes(clock):
    assert not a_memory(clock, 0).put(b"a", "a", 0)


def test_answers_age(clock):
    memory = a_memory(clock, 2)
    fill(memory, b"a")
    clock.now = 10
    assert memory.get(b"a") == "a"
    clock.now = 10.1
    assert memory.get(b"a") is None
    assert (memory.left[Cause.TTL], memory.used) == (1, 0)


def test_a_shorter_time_to_live_counts_for_what_is_already_there(clock):
    memory = a_memory(clock, 2)
    fill(memory, b"a")
    clock.now = 5
    memory.reconfigure(size=2 * ENTRY, ttl=1, policy="LRU")
    assert memory.get(b"a") is None


def test_shrinking_keeps_what_was_used_last(clock):
    memory = a_memory(clock, 3)
    fill(memory, b"abc")
    memory.reconfigure(size=2 * ENTRY, ttl=10, policy="LRU")
    assert kept(memory, b"abc") == "bc"
    assert +memory.left == {Cause.SPACE: 1}


def test_another_policy_keeps_the_answers(clock):
    memory = a_memory(clock, 3)
    fill(memory, b"abc")
    memory.reconfigure(size=3 * ENTRY, ttl=10, policy="LFU")
    assert (memory.policy, kept(memory, b"abc")) == ("LFU", "abc")


def test_the_number_of_answers_is_bounded_too(clock):
    memory = Memory(size=10 * ENTRY, ttl=10, policy="LRU", clock=clock, entries=2)
    fill(memory, b"abc")
    assert kept(memory, b"abc") == "bc"
    assert memory.left[Cause.ENTRIES] == 1
    memory.reconfigure(size=10 * ENTRY, ttl=10, policy="LRU", entries=1)
    assert kept(memory, b"abc") == "c"


def test_an_answer_keeps_its_age_on_the_way_up(clock):
    memory = a_memory(clock, 2)
    memory.put(b"a", "a", 100, age=9)
    clock.now = 2
    assert memory.get(b"a") is None


def test_what_is_forgotten_is_counted_by_its_cause(clock):
    memory = a_memory(clock, 2)
    fill(memory, b"ab")
    assert memory.clear(Cause.VERSION) == 2
    assert (memory.left[Cause.VERSION], memory.used) == (2, 0)


def hit_ratio(policy: str, *, size: int, entries: int | None) -> float:
    """On a Zipf trace that scans interrupt."""
    draw = random.Random(1)
    zipf = draw.choices(range(2000), [1 / (rank + 1) ** 0.9 for rank in range(2000)], k=20_000)
    memory: Memory[int] = Memory(size=size, ttl=1e9, policy=policy, clock=lambda: 0.0, entries=entries)
    hits = 0
    for step, number in enumerate(zipf):
        scan = [10**6 + 2 * step, 10**6 + 2 * step + 1] if step // 2000 % 2 else []
        for asked in (number, *scan):
            key = hashlib.sha256(b"%d" % asked).digest()
            if memory.get(key) is None:
                memory.put(key, 1, 140)
            else:
                hits += 1
            assert entries is None or len(memory) <= entries
    return hits / len(zipf)


def test_tinylfu_bounded_by_number_keeps_what_it_keeps_bounded_by_bytes():
    by_bytes = hit_ratio("TinyLFU", size=200 * (140 + OVERHEAD), entries=None)
    assert hit_ratio("TinyLFU", size=2**28, entries=200) == pytest.approx(by_bytes, abs=0.02)
    assert by_bytes > hit_ratio("LRU", size=2**28, entries=200) + 0.1


def test_tinylfu_takes_another_number_at_once(clock):
    memory = Memory(size=100 * ENTRY, ttl=10, policy="TinyLFU", clock=clock, entries=10)
    for number in range(10):
        memory.put(hashlib.sha256(b"%d" % number).digest(), "x", 100)
    memory.reconfigure(size=100 * ENTRY, ttl=10, policy="TinyLFU", entries=4)
    assert len(memory) == 4
