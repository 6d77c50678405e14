"""What CPU and memory this process may use: the machine's, as far as its control groups allow.

Version 2 of them (`cpu.max`, `memory.max`: Control Group v2 of the kernel); the limit of every group above holds too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def cpus(*, groups: Path = GROUPS, own: Path = OWN) -> float:
    """CPUs' time that may be used at once; a share of one counts as that."""
    known = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    for text in _limits("cpu.max", groups, own):
        quota, _, period = text.partition(" ")
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            known = min(known, int(quota) / int(period))
    return known


def memory_bytes(*, groups: Path = GROUPS, own: Path = OWN) -> int:
    """Bytes that all processes together may take."""
    known = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([known, *(int(text) for text in _limits("memory.max", groups, own) if text.isdigit())])


def _limits(name: str, groups: Path, own: Path) -> Iterator[str]:
    """Content of the file in this process's group and in those above it, where they are there to be read."""
    group = groups / _group(own).lstrip("/")
    for folder in (group, *group.parents):
        if not folder.is_relative_to(groups):
            return
        try:
            yield (folder / name).read_text().strip()
        except OSError:
            continue


def _group(own: Path) -> str:
    """Path of this process's group in the unified hierarchy."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return "/"
    return next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/")
