"""A server's process is found by its port, and its peak memory read."""

from __future__ import annotations

import os
import socket

from modelpress.compress.evaluation import memory


def test_the_peak_of_this_process_is_at_least_what_a_python_needs():
    assert memory.peak_bytes(os.getpid()) > 5 * 2**20


def test_a_process_that_is_gone_has_no_peak(tmp_path):
    assert memory.peak_bytes(123, proc=tmp_path) is None


def test_the_process_that_listens_is_found_by_its_socket():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert memory.listener(server.getsockname()[1]) == os.getpid()


def test_of_a_script_and_the_server_it_started_the_server_is_found(tmp_path):
    for pid in ("12", "7", "self"):
        (tmp_path / pid).mkdir()
    (tmp_path / "7" / "cmdline").write_bytes(b"bash\0entrypoint.sh\0--port=8600\0")
    (tmp_path / "12" / "cmdline").write_bytes(b"tensorflow_model_server\0--port=8600\0")
    assert memory.listener(8600, proc=tmp_path) == 12
    assert memory.listener(8700, proc=tmp_path) is None
