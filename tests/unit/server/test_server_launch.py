"""A model server is started with room for every request, and not waited for when it will never serve."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading

import pytest

from modelpress.api.concurrency import Concurrency
from modelpress.server import launch
from modelpress.server.launch import DoesNotLoad, ServerProcess


@pytest.fixture
def server(tmp_path):
    """Starts a process beside a REST port that tells the given versions."""
    started = []

    def start(versions, *, code="import sys; sys.stdin.read()"):
        class Answers(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps({"model_version_status": versions}).encode())

            def log_message(self, *_):
                pass

        rest = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        threading.Thread(target=rest.serve_forever, daemon=True).start()
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
        started.append((rest, process))
        log = tmp_path / "log"
        log.write_text("its last words\n")
        ports = (1, rest.server_address[1])
        return ServerProcess(process, model_name="m", ports=ports, log_path=log, description="a server"), process

    yield start
    for rest, process in started:
        rest.shutdown()
        rest.server_close()
        process.communicate()


def version(state, code="OK", message=""):
    return {"version": "1", "state": state, "status": {"error_code": code, "error_message": message}}


def test_a_version_that_ended_with_an_error_is_not_waited_for(server):
    waiting, _ = server([version("END", "INTERNAL", "RuntimeError: broken")])
    with pytest.raises(DoesNotLoad, match="m does not load in a server: INTERNAL: RuntimeError: broken"):
        waiting.wait_available(60)


def test_one_version_that_serves_is_enough(server):
    waiting, _ = server([version("END", "INTERNAL", "broken"), version("AVAILABLE")])
    waiting.wait_available(60)


def test_a_process_that_ended_is_not_waited_for_whoever_has_its_port(server):
    waiting, process = server([version("AVAILABLE")], code="raise SystemExit(3)")
    process.wait()
    with pytest.raises(DoesNotLoad, match="a server ended with status 3: its last words"):
        waiting.wait_available(60)


def test_a_server_takes_as_many_requests_at_once_as_a_concurrency_limit_may_ask_for(tmp_path, monkeypatch):
    binary = tmp_path / launch.BINARY
    binary.write_text("#!/bin/sh\necho ModelServer: 2.20.0 $*\n")
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    server = launch.start_server("m", tmp_path, threads=1, tflite=True, log_path=tmp_path / "log")
    server.wait(60)
    told = dict(flag.split("=", 1) for flag in (tmp_path / "log").read_text().split() if "=" in flag)
    most = 4096
    with pytest.raises(ValueError, match="limit"):
        Concurrency(limit=most + 1)
    assert int(told["--grpc_max_threads"]) > most


@pytest.mark.parametrize(("sees_gpus", "told"), [(False, "-1"), (True, "0,1")])
def test_gpus_are_hidden_from_servers_of_cpu_targets_and_from_nothing_else(tmp_path, monkeypatch, sees_gpus, told):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    binary = tmp_path / launch.BINARY
    binary.write_text("#!/bin/sh\necho sees $CUDA_VISIBLE_DEVICES\n")
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    server = launch.start_server("m", tmp_path, threads=1, tflite=False, log_path=tmp_path / "log", sees_gpus=sees_gpus)
    server.wait(60)
    assert (tmp_path / "log").read_text() == f"sees {told}\n"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1", "steps of this process train on them"
