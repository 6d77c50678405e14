"""The wheel's compiled modules do what their sources do: the same tests, but for those that patch what is tested."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NOT_AGAIN = ("fuzz", "tiers", "test_sidecar_answers.py", "test_sidecar_compiled.py")
"""Long, or not about what is compiled."""


@pytest.fixture(scope="module")
def package() -> Path:
    """The wheel's content; built once for each content of the sidecar."""
    script = ROOT / "scripts" / "compiled.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def test_what_every_request_passes_is_compiled(package):
    code = "import modelpress.sidecar.session as module; print(module.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(package)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).suffix == ".so"
    assert Path(done.stdout.strip()).is_relative_to(package)


def test_the_tests_of_the_sources_pass(package):
    rooms = [f"--ignore=tests/unit/sidecar/{name}" for name in NOT_AGAIN]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    command += ["-o", f"pythonpath={package}", "tests/unit/sidecar", "tests/engine/sidecar/test_hostile.py", *rooms]
    environment = {**os.environ, "PYTHONPATH": str(package), "MODELPRESS_COMPILED": "1"}
    environment.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 200
