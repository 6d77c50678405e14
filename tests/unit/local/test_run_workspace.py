"""The temporary directory of a run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile

from modelpress.compress.local.workspace import workspace

HOLD = """
from modelpress.compress.local.workspace import workspace
with workspace() as directory:
    print(directory, flush=True)
    input()
"""


def test_it_is_gone_afterwards():
    with workspace() as directory:
        assert directory.is_dir()
    assert not directory.exists()


def test_what_a_killed_run_left_goes_with_the_next_and_what_a_living_one_uses_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(tmp_path)},
        )
        for _ in range(2)
    ]
    killed, living = (run.stdout.readline().strip() for run in runs)
    runs[0].send_signal(signal.SIGKILL)
    runs[0].wait()
    assert os.path.isdir(killed)
    with workspace():
        assert not os.path.isdir(killed)
        assert os.path.isdir(living)
    runs[1].communicate("\n", timeout=30)
    runs[0].stdin.close()
    runs[0].stdout.close()
