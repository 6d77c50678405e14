"""How many processes build at once follows from what control groups allow, and not from the machine alone."""

from __future__ import annotations

import pytest

from modelpress.compress.search import allowance, crew

MIB = 2**20


@pytest.fixture
def limited(tmp_path):
    """Makes a hierarchy in which this process is in the group /kubepods/job; files by group."""

    def make(**files):
        own = tmp_path / "cgroup"
        own.write_text("4:memory:/elsewhere\n0::/kubepods/job\n")
        for place, content in files.items():
            group, _, name = place.partition("__")
            folder = {"root": "", "pods": "kubepods", "job": "kubepods/job"}[group]
            path = tmp_path / "groups" / folder / name.replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n")
        return {"groups": tmp_path / "groups", "own": own}

    return make


def test_the_smallest_limit_above_a_process_holds(limited):
    places = limited(job__cpu_max="150000 100000", pods__cpu_max="50000 100000", root__cpu_max="max 100000")
    assert allowance.cpus(**places) == 0.5
    places = limited(job__memory_max=700 * MIB, pods__memory_max=512 * MIB, root__memory_max="max")
    assert allowance.memory_bytes(**places) == 512 * MIB


def test_without_limits_the_machine_is_the_limit(limited, tmp_path):
    places = limited(job__cpu_max="max 100000", job__memory_max="max")
    nowhere = {"groups": tmp_path / "none", "own": tmp_path / "none"}
    assert allowance.cpus(**places) == allowance.cpus(**nowhere) >= 1
    assert allowance.memory_bytes(**places) == allowance.memory_bytes(**nowhere) > 0


@pytest.mark.parametrize(
    ("cpus", "gibibytes", "megabytes", "expected"),
    [
        (1, 64, 1, 1),
        (2, 64, 1, 1),
        (3.5, 64, 1, 1),
        (4, 64, 1, 2),
        (64, 64, 1, 4),
        (64, 4, 1, 2),
        (64, 2, 1, 1),
        (64, 8, 100, 3),
        (64, 8, 400, 1),
    ],
)
def test_as_many_build_at_once_as_cpus_and_memory_bear(cpus, gibibytes, megabytes, expected):
    assert crew.fitting(cpus, gibibytes * 2**30, source_bytes=megabytes * MIB) == expected
