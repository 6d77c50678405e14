"""Ports that children are given."""

from __future__ import annotations

import socket
import subprocess
import sys

from modelpress.server import ports

ASK = "import sys; from modelpress.server import ports; print(ports.keep(int(sys.argv[1])))"


def kept_by_another_process(port: int) -> bool:
    said = subprocess.run([sys.executable, "-c", ASK, str(port)], capture_output=True, text=True, check=True)
    return said.stdout.strip() == "True"


def test_a_port_is_given_to_one_process_although_nobody_listens_on_it_yet():
    assert not kept_by_another_process(ports.unused())


def test_whoever_keeps_a_port_may_ask_again_and_listen_on_it():
    port = ports.unused()
    assert ports.keep(port)
    with socket.create_server((ports.HOST, port)):
        assert not ports.keep(port)
