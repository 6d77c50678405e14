"""Asking gRPC clients to come back on another connection, so that new pods get traffic, without losing a request.

The ASGI server's own GOAWAY names the last stream that it has seen and closes at once: a request on its way is lost.
A graceful one names the highest stream there can be (RFC 9113, 6.8): the client ends what it has, opens nothing more
here and closes. The server offers no such thing, so its 17 bytes are written to the socket beside it. They must not
come to lie inside a frame. That could happen only after a write that was cut short, and such a write leaves the buffer
of the socket full, while the server writes on as soon as a third of it is free: so we wait until it was empty thrice.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import random
import socket
import stat
import struct
import termios
import time
from collections.abc import Callable
from pathlib import Path

from modelpress.sidecar import frames

log = logging.getLogger(__name__)

Peer = tuple[str, int]

EMPTY_TIMES = 3
STEP = 0.002
PATIENCE = 1.0
"""Seconds of waiting for one socket's buffer to be empty; a client that is never at rest keeps its connection."""
ROUND = 5.0
JITTER = 0.1

_ESTABLISHED = 1
_GOAWAY = frames.frame(frames.GOAWAY, 0, 0, struct.pack(">II", frames.LARGEST_WINDOW, frames.Code.NO_ERROR))
_DESCRIPTORS = Path("/proc/self/fd")


class Connections:
    """The HTTP/2 connections of clients by address and port, and when each was first heard of."""

    def __init__(self) -> None:
        self.seen: dict[Peer, float] = {}
        """When each was first heard of, by the monotonic clock."""
        self._told: set[Peer] = set()

    def heard(self, peer: Peer) -> None:
        """A request on a connection that was not known."""
        self.seen[peer] = time.monotonic()

    async def watch(self, port: int, oldest: Callable[[], float]) -> None:
        """Runs until cancelled, for those accepted on `port`. `oldest` gives the age in seconds, 0 for any."""
        while True:
            await asyncio.sleep(ROUND)
            limit = oldest()
            if limit and (told := await self.age(port, limit)):
                log.debug("Asked %d clients to connect anew", told)

    async def age(self, port: int, oldest: float) -> int:
        """Says farewell to those older than `oldest` seconds, give or take a tenth; how many were told."""
        now = time.monotonic()
        due = {
            peer
            for peer, born in self.seen.items()
            if peer not in self._told and now - born > oldest * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
        }
        if not due and not self._told:
            return 0
        sockets = _accepted(port)
        with contextlib.ExitStack() as opened:
            for sock in sockets.values():
                opened.enter_context(sock)
            for gone in [peer for peer in self.seen if _plain(peer) not in sockets]:
                del self.seen[gone]
            still = [peer for peer in due if peer in self.seen]
            self._told = (self._told & self.seen.keys()) | set(still)
            wanted = {_plain(peer) for peer in still}
            for peer in sockets.keys() - wanted:
                sockets[peer].close()
            return sum(await asyncio.gather(*(_tell(sockets[peer]) for peer in wanted)))


def _plain(peer: Peer) -> Peer:
    """The same for an IPv4 client, whether it came by a dual-stack socket or not."""
    return peer[0].removeprefix("::ffff:"), peer[1]


async def _tell(sock: socket.socket) -> bool:
    """Writes the farewell between two frames; False where the connection is gone or never at rest."""
    empty, deadline = 0, time.monotonic() + PATIENCE
    try:
        while empty < EMPTY_TIMES:
            if time.monotonic() > deadline or not _established(sock):
                return False
            empty = empty + 1 if not _unsent(sock) else 0
            if empty < EMPTY_TIMES:
                await asyncio.sleep(STEP)
        return sock.send(_GOAWAY, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL) == len(_GOAWAY)
    except OSError:
        return False


def _established(sock: socket.socket) -> bool:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _ESTABLISHED


def _unsent(sock: socket.socket) -> int:
    """Bytes in the socket's buffer that the peer has not acknowledged."""
    (count,) = struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))
    return int(count)


def _accepted(port: int) -> dict[Peer, socket.socket]:
    """Duplicates of the sockets that this process has accepted on a port, by peer; none where that cannot be told."""
    found: dict[Peer, socket.socket] = {}
    for entry in os.listdir(_DESCRIPTORS) if _DESCRIPTORS.is_dir() else ():
        with contextlib.suppress(OSError):
            connection = _connection(int(entry), port)
            if connection is not None and found.setdefault(*connection) is not connection[1]:
                connection[1].close()  # the number of a descriptor that has gone was given to one of our duplicates
    return found


def _connection(descriptor: int, port: int) -> tuple[Peer, socket.socket] | None:
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return None
    sock = socket.socket(fileno=os.dup(descriptor))
    try:
        if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.getsockname()[1] == port:
            peer = sock.getpeername()
            return _plain(peer), sock
    except OSError:
        sock.close()
        raise
    sock.close()
    return None
