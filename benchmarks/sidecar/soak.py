"""Hits, misses, large bodies and REST together for minutes: memory must stay flat once the cache is full."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from benchmarks.sidecar import distinct, requests
from benchmarks.sidecar.contenders import Contenders
from benchmarks.sidecar.load import Load, h2load, wrk, wrk_script
from rich.console import Console

CACHE = 2**24
"""Bytes of cache: full after 26,000 answers, and from then on it evicts."""
ALLOWED = 0.05
"""Growth of the second half over the first that still counts as flat."""


def run(running: Contenders, folder: Path, minutes: float, console: Console) -> None:
    """Prints the size from time to time; exits with 1 where memory grew or a request failed."""
    small, large = folder / "small", folder / "large"
    small.write_bytes(requests.framed(requests.predict(requests.SMALL)))
    large.write_bytes(requests.framed(requests.predict(requests.LARGE)))
    script = wrk_script(folder / "post.lua", requests.rest())
    body, expected = requests.framed(requests.predict((16,))), requests.framed(requests.response())
    ports, sizes = running.ports, []
    running.resize(folder, CACHE)
    distinct.load(ports.sidecar, body, expected, requests=40_000)  # more than it holds
    started = time.monotonic()
    while (passed := time.monotonic() - started) < minutes * 60:
        h2load(ports.sidecar, Load(small, 20_000))
        h2load(ports.sidecar, Load(large, 200, 4, 2))
        h2load(ports.bypass, Load(small, 5_000))
        distinct.load(ports.sidecar, body, expected, requests=20_000)
        wrk(ports.sidecar_rest, script, 1)
        sizes.append(running.resident("sidecar"))
        entries = running.state()["cache"]["entries"]
        console.print(f"{passed:6.0f} s  {sizes[-1] / 2**20:8.1f} MiB resident, {entries:,} entries")
    half = len(sizes) // 2
    first, second = max(sizes[: half or 1]), max(sizes[half:])
    console.print(f"largest in the first half {first / 2**20:.1f} MiB, in the second {second / 2**20:.1f} MiB")
    if second > first * (1 + ALLOWED):
        sys.exit("Memory grew")
