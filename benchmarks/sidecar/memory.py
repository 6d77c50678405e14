"""What entries cost in memory, beside the bytes that they hold."""

from __future__ import annotations

from benchmarks.sidecar import distinct, requests
from benchmarks.sidecar.contenders import Contenders
from rich.table import Table


def table(running: Contenders, entries: int) -> Table:
    """Fills the cache with distinct answers of small requests and reads the process' size."""
    body, expected = requests.framed(requests.predict((16,))), requests.framed(requests.response())
    before, cache = running.resident("sidecar"), running.state()["cache"]
    distinct.load(running.ports.sidecar, body, expected, requests=entries)
    after, filled = running.resident("sidecar"), running.state()["cache"]
    added, counted = filled["entries"] - cache["entries"], filled["bytes"] - cache["bytes"]
    result = Table("memory", "MiB", "bytes an entry")
    for name, size in (
        (f"bodies of {added:,} answers", added * len(expected)),
        ("counted against cache.memory.size", counted),
        ("resident memory added", after - before),
    ):
        result.add_row(name, f"{size / 2**20:,.1f}", f"{size / max(added, 1):,.0f}")
    result.add_row("resident memory of the process", f"{after / 2**20:,.1f}", "")
    return result
