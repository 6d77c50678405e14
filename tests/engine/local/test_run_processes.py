"""Ports and CPUs that children get."""

from __future__ import annotations

import os
import socket

import pytest

from modelpress.api.errors import Invalid
from modelpress.compress.local import processes
from modelpress.server import ports


def test_a_port_that_was_asked_for_and_is_taken_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Invalid, match=f"port {port} is taken") as refused:
            processes.chosen(port, None)
    assert refused.value.field == "--grpc-port"


def test_ports_that_were_asked_for_are_taken():
    wanted = (ports.unused(), ports.unused())
    assert processes.chosen(*wanted) == wanted


def test_a_server_is_pinned_to_as_many_cpus_as_it_has_threads(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 4, 6})
    assert processes.cpus(2) == (0, 2)
    assert processes.cpus(4) is None
