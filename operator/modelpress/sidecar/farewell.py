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
from collections.abc import Callable, Collection
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

    async def watch(self, oldest: Callable[[], float], *ports: int) -> None:
        """Runs until cancelled, for those accepted on `ports`. `oldest` gives the age in seconds, 0 for any."""
        while True:
            await asyncio.sleep(ROUND)
            limit = oldest()
            if limit:
                if told := await self.age(limit, *ports):
                    log.debug("Asked %d clients to connect anew", told)
            else:
                self._forget_gone(*ports)

    def _forget_gone(self, *ports: int) -> None:
        """Nobody is told anything, but those that have gone must not be remembered for ever."""
        sockets = _accepted(*ports)
        for sock in sockets.values():
            sock.close()
        self._keep(sockets.keys())

    def _keep(self, there: Collection[Peer]) -> None:
        for gone in [peer for peer in self.seen if _plain(peer) not in there]:
            del self.seen[gone]
        self._told &= self.seen.keys()

    async def age(self, oldest: float, *ports: int) -> int:
        """Says farewell to those older than `oldest` seconds, give or take a tenth; how many were told.

        Who could not be told, because it never was at rest, is due again next time.
        """
        now = time.monotonic()
        due = {
            peer
            for peer, born in self.seen.items()
            if peer not in self._told and now - born > oldest * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
        }
        if not due and not self._told:
            return 0
        sockets = _accepted(*ports)
        with contextlib.ExitStack() as opened:
            for sock in sockets.values():
                opened.enter_context(sock)
            self._keep(sockets.keys())
            still = [peer for peer in due if peer in self.seen]
            for peer in sockets.keys() - {_plain(peer) for peer in still}:
                sockets[peer].close()
            answers = await asyncio.gather(*(_tell(sockets[_plain(peer)]) for peer in still))
            told = {peer for peer, answer in zip(still, answers, strict=True) if answer}
            self._told |= told & self.seen.keys()
            return len(told)


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


def _accepted(*ports: int) -> dict[Peer, socket.socket]:
    """Duplicates of the sockets accepted on these ports, by peer; none where that cannot be told."""
    found: dict[Peer, socket.socket] = {}
    for entry in os.listdir(_DESCRIPTORS) if _DESCRIPTORS.is_dir() else ():
        with contextlib.suppress(OSError):
            connection = _connection(int(entry), ports)
            if connection is not None and found.setdefault(*connection) is not connection[1]:
                connection[1].close()  # the number of a descriptor that has gone was given to one of our duplicates
    return found


def _connection(descriptor: int, ports: tuple[int, ...]) -> tuple[Peer, socket.socket] | None:
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return None
    sock = socket.socket(fileno=os.dup(descriptor))
    try:
        if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.getsockname()[1] in ports:
            peer = sock.getpeername()
            return _plain(peer), sock
    except OSError:
        sock.close()
        raise
    sock.close()
    return None
