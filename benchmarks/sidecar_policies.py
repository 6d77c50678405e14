"""Hit ratios of the memory tier's policies beside the optimum (Belady), on a skewed trace and on one with scans.

Entries are equally large, so that Belady's rule (evict what is asked for last, or never again; and do not even keep it
if that is the newcomer itself) is optimal. The last line is one JSON object: trace -> policy -> hit ratio.

    python benchmarks/sidecar_policies.py [--requests N] [--keys N] [--share S]
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import json
from collections.abc import Iterator, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from modelpress.sidecar.memory import OVERHEAD, Memory

POLICIES = ("LRU", "LFU", "TinyLFU")
SKEW = 0.9
PAYLOAD = 3200
"""Bytes of every answer."""
BURST, SCAN = 5, 2
"""In the polluted trace, caches' worth of skewed requests and then of keys that never come again."""


def zipf(requests: int, keys: int, random: np.random.Generator) -> np.ndarray:
    """Keys by rank: the n-th is asked for in proportion to 1 / n^0.9."""
    weights = 1 / np.arange(1, keys + 1) ** SKEW
    return random.choice(keys, size=requests, p=weights / weights.sum())


def polluted(trace: np.ndarray, keys: int, capacity: int) -> np.ndarray:
    """The trace with scans in between: runs of keys that are asked for once."""
    parts, fresh = [], keys
    for start in range(0, len(trace), BURST * capacity):
        parts.append(trace[start : start + BURST * capacity])
        parts.append(np.arange(fresh, fresh + SCAN * capacity))
        fresh += SCAN * capacity
    return np.concatenate(parts)


def hit_ratio(trace: Sequence[int], policy: str, capacity: int) -> float:
    """Of the real memory tier with room for `capacity` entries."""
    memory: Memory[int] = Memory(
        size=capacity * (PAYLOAD + OVERHEAD), ttl=float("inf"), policy=policy, clock=lambda: 0.0
    )
    digests: dict[int, bytes] = {}
    hits = 0
    for item in trace:
        key = digests.get(item) or digests.setdefault(item, hashlib.sha256(str(item).encode()).digest())
        if memory.get(key) is not None:
            hits += 1
        else:
            memory.put(key, item, PAYLOAD)
    return hits / len(trace)


def optimum(trace: Sequence[int], capacity: int) -> float:
    """Belady's bound, which knows the future."""
    following = _next_uses(trace)
    kept: dict[int, int] = {}
    farthest: list[tuple[int, int]] = []
    hits = 0
    for item, coming in zip(trace, following, strict=True):
        if item in kept:
            hits += 1
        kept[item] = coming
        heapq.heappush(farthest, (-coming, item))
        while len(kept) > capacity:
            when, candidate = heapq.heappop(farthest)
            if kept.get(candidate) == -when:
                del kept[candidate]
    return hits / len(trace)


def _next_uses(trace: Sequence[int]) -> list[int]:
    """For each request, when its key is asked for again; beyond the end where never."""
    coming: dict[int, int] = {}
    following = [0] * len(trace)
    for place in range(len(trace) - 1, -1, -1):
        following[place] = coming.get(trace[place], len(trace) + trace[place])
        coming[trace[place]] = place
    return following


def measured(requests: int, keys: int, share: float) -> Iterator[tuple[str, dict[str, float]]]:
    """(trace, policy -> hit ratio), the optimum last; the cache has room for `share` of the keys."""
    capacity = max(1, int(keys * share))
    skewed = zipf(requests, keys, np.random.default_rng(0))
    for name, trace in (("zipf", skewed), ("scan", polluted(skewed, keys, capacity))):
        items = trace.tolist()
        ratios = {policy: round(hit_ratio(items, policy, capacity), 4) for policy in POLICIES}
        yield name, {**ratios, "optimum": round(optimum(items, capacity), 4)}


def main() -> None:
    """Print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=500_000)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--share", type=float, default=0.01, help="of the keys that fit into the cache")
    asked = parser.parse_args()
    found = dict(measured(asked.requests, asked.keys, asked.share))
    Console().print(table(found))
    print(json.dumps(found))


def table(found: dict[str, dict[str, float]]) -> Table:
    """For people."""
    result = Table("trace", *POLICIES, "optimum (Belady)", title="Hit ratio by policy")
    for name, ratios in found.items():
        result.add_row(name, *(f"{ratio:.3f}" for ratio in ratios.values()))
    return result


if __name__ == "__main__":
    main()
