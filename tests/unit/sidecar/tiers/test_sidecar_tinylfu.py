"""W-TinyLFU keeps what is asked for often, within its bytes; the benchmark of policies says how well."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpress.sidecar.tinylfu import Sketch, TinyLFU

BENCHMARK = Path(__file__).parents[4] / "benchmarks" / "sidecar_policies.py"


def name(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def of_hundred() -> TinyLFU[int]:
    return TinyLFU(100, getsizeof=lambda _, size: size)


def test_a_scan_displaces_nothing_that_is_asked_for_often():
    cache = of_hundred()
    for _ in range(5):
        for number in range(50):
            if cache.get(name(number)) is None:
                cache.insert(name(number), 1)
    for number in range(1000, 3000):
        cache.get(name(number))
        cache.insert(name(number), 1)
    assert sum(cache.get(name(number)) is not None for number in range(50)) == 50


def test_a_large_newcomer_must_be_wanted_more_than_all_that_it_displaces():
    cache = of_hundred()
    for number in range(99):
        for _ in range(3):
            cache.get(name(number))
        cache.insert(name(number), 1)
    for _ in range(10):
        cache.get(name(1000))
    cache.insert(name(1000), 50)
    assert (name(1000) in cache, len(cache)) == (False, 99)


def test_old_fame_fades():
    sketch = Sketch(16)
    for _ in range(10):
        sketch.add(name(0))
    before = sketch.count(name(0))
    for number in range(1, 160):
        sketch.add(name(number % 3 + 1))
    assert sketch.count(name(0)) < before


@given(
    st.lists(st.tuples(st.sampled_from(["get", "insert", "pop", "popitem"]), st.integers(0, 15), st.integers(1, 60)))
)
def test_it_never_holds_more_than_its_size_and_counts_rightly(steps):
    cache = of_hundred()
    for action, number, size in steps:
        if action == "insert":
            cache.insert(name(number), size)
        elif action == "popitem":
            if len(cache):
                cache.popitem()
        else:
            getattr(cache, action)(name(number))
        held = dict(cache.items())
        assert len(held) == len(cache)
        assert cache.current_size() == sum(held.values()) <= 100


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("sidecar_policies", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_policies_lie_below_the_optimum_and_tinylfu_above_lru(benchmark):
    for _, ratios in benchmark.measured(requests=20_000, keys=5_000, share=0.02):
        assert all(ratio <= ratios["optimum"] for ratio in ratios.values())
        assert ratios["TinyLFU"] > ratios["LRU"] + 0.03


def test_the_optimum_is_what_trying_everything_finds(benchmark):
    random = np.random.default_rng(3)
    for _ in range(20):
        trace = random.integers(0, 4, size=8).tolist()
        assert benchmark.optimum(trace, 2) == best(tuple(trace), frozenset(), 2) / len(trace)


def best(trace: tuple[int, ...], kept: frozenset[int], capacity: int) -> int:
    """Hits when every choice is tried, not keeping the newcomer included."""
    if not trace:
        return 0
    item, rest = trace[0], trace[1:]
    if item in kept:
        return 1 + best(rest, kept, capacity)
    choices = [kept]
    choices += [kept | {item}] if len(kept) < capacity else [kept - {one} | {item} for one in kept]
    return max(best(rest, choice, capacity) for choice in choices)
