"""The server as a process: started by `launch`, stopped by SIGTERM, failing with a reason."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from modelpress.api import serving
from modelpress.server import launch

pytestmark = pytest.mark.xdist_group("server")


def predict(server, **body):
    url = f"http://{server.rest_address}/v1/models/dense:predict"
    data = json.dumps({"instances": [[1, 0, 0, 0]], **body}).encode()
    try:
        with urllib.request.urlopen(url, data, timeout=60) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        return json.load(error)


def test_a_server_serves_until_it_is_told_to_stop(models, tmp_path):
    cpu = min(os.sched_getaffinity(0))
    server = launch.start_server(
        "dense",
        models / "dense",
        threads=1,
        tflite=False,
        cpus={cpu},
        batching=serving.Batching(),
        log_path=tmp_path / "server.log",
    )
    with server:
        server.wait_available(120)
        assert predict(server) == {"predictions": [[10.0, 20.0, 30.0]]}
        # Like TensorFlow Serving without --xla_cpu_compilation_enabled.
        assert "XLA compilation disabled" in predict(server, signature_name="compiled")["error"]
        assert server.peak_memory_bytes() > 50 * 2**20
        assert os.sched_getaffinity(server.pid) == {cpu}
        assert server.description.startswith(("modelpress serve ", "tensorflow_model_server"))
        os.kill(server.pid, signal.SIGTERM)
        assert server.wait(20) == 0
    server.stop()


def test_a_model_that_does_not_load_says_why(tmp_path):
    (tmp_path / "model" / "1").mkdir(parents=True)
    server = launch.start_server("m", tmp_path / "model", threads=1, tflite=True, log_path=tmp_path / "server.log")
    with server, pytest.raises(launch.DoesNotLoad, match="Could not find SavedModel"):
        server.wait_available(120)


PARENT = """
import sys, time
from pathlib import Path
from modelpress.api import serving
from modelpress.server import launch
server = launch.start_server("m", "/", threads=1, tflite=False, log_path=Path(sys.argv[1]))
print(server.pid, flush=True)
time.sleep(600)
"""


def test_a_server_dies_with_the_program_that_started_it(tmp_path):
    script = tmp_path / "tensorflow_model_server"
    script.write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\nexec sleep 600\n')
    script.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "log")], stdout=subprocess.PIPE, env=environment, text=True
    )
    with parent:
        pid = int(parent.stdout.readline())
        child = os.pidfd_open(pid)
        parent.kill()
    try:
        assert select.select([child], [], [], 20)[0]
    finally:
        os.close(child)
