"""Loopback ports for children that are slow to listen: kept from their choice on, so that nobody else is given them.

A UDP socket of the same number keeps a port; it does not hinder TCP, and every process that asks here sees it.
"""

from __future__ import annotations

import atexit
import random
import socket

HOST = "127.0.0.1"
# Below the ephemeral range: no outgoing connection takes a port between its choice and its use.
_RANGE = range(20000, 32000)
_kept: dict[int, socket.socket] = {}


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def keep(port: int) -> bool:
    """Keeps a port for this process until it ends; False where somebody listens on it or another process keeps it."""
    if not is_free(port):
        return False
    if port in _kept:
        return True
    keeper = socket.socket(type=socket.SOCK_DGRAM)
    try:
        keeper.bind((HOST, port))
    except OSError:
        keeper.close()
        return False
    _kept[port] = keeper
    atexit.register(keeper.close)
    return True


def unused() -> int:
    """Some free port, kept for the caller."""
    while True:
        port = random.choice(_RANGE)  # noqa: S311 - not a secret
        if port not in _kept and keep(port):
            return port
