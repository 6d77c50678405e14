"""`make bench-sidecar` runs, and tells what it promises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("server")

PROMISED = {
    "grpc_hit_vs_envoy",
    "rest_hit_vs_nginx",
    "grpc_miss_vs_envoy",
    "grpc_hit_latency_vs_direct",
    "grpc_miss_added_vs_envoy",
    "large_hit_vs_envoy",
}


def test_a_quick_run_ends_with_all_ratios():
    """Every answer is checked in it; how large the ratios are only a quiet machine can tell."""
    command = [sys.executable, "-m", "benchmarks.sidecar", "--quick"]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    ratios = json.loads(done.stdout.splitlines()[-1])
    assert ratios.keys() >= PROMISED
    assert all(isinstance(value, float) for value in ratios.values())
