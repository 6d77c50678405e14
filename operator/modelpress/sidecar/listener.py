"""Listening sockets, the connections accepted on them, and the descriptors that there are for them."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import resource
import socket
import struct
from collections.abc import Callable

from modelpress.api.errors import Invalid
from modelpress.sidecar.connections import MOST, Connections

BACKLOG = 1024
RESERVE = 1024
"""Descriptors for administration, the model server, tiers and files."""

# A socket filter (packet(7), BPF) of one instruction: return 0, keep nothing of any packet.
_SO_ATTACH_FILTER = 26
_DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)
_PROGRAM = struct.Struct("@HP")


def listen(host: str, port: int, *, field: str) -> socket.socket:
    """A listening TCP socket; an empty host means all addresses, IPv6 and IPv4 where the machine has both.

    Raises Invalid, naming `field`, where the port cannot be had.
    """
    try:
        return _listen(host, port)
    except OSError as error:
        if (error.errno or 0) < 0 or error.errno == errno.EADDRNOTAVAIL:  # getaddrinfo's are below 0
            told = f"{host!r} is no address of this machine; write one of its addresses, or leave it out for all"
            raise Invalid("InvalidAddress", told, field="--host") from error
        message = f"{port} on {host or 'all addresses'} cannot be listened on: {error.strerror}; choose another"
        raise Invalid("PortInUse", message, field=field) from error


def _listen(host: str, port: int) -> socket.socket:
    if host:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    if socket.has_dualstack_ipv6():
        return socket.create_server(("::", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    return socket.create_server(("0.0.0.0", port), backlog=BACKLOG)  # noqa: S104


def most_connections() -> tuple[int, int]:
    """For each data port, and for administration: clients must not take all descriptors of the process.

    Raises the soft limit to what is needed, as far as the hard one allows.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MOST + RESERVE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    there = wanted if soft == resource.RLIM_INFINITY else min(soft, wanted)
    reserve = min(RESERVE, there // 2)
    return max((there - reserve) // 2, 1), max(reserve // 4, 1)


class Listener:
    """One port; `factory` makes what speaks with one client."""

    def __init__(self, factory: Callable[[Connections], asyncio.Protocol], sock: socket.socket, most: int) -> None:
        self._factory = factory
        self._socket = sock
        self._server: asyncio.Server | None = None
        self.port: int = sock.getsockname()[1]
        """Also where any was asked for."""
        self.connections = Connections(most)

    async def start(self) -> None:
        """Begins to accept connections."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: self._factory(self.connections), sock=self._socket, backlog=BACKLOG
        )

    def shut(self) -> None:
        """Lets no more clients in, while those that there are stay: the kernel drops what asks for a connection.

        Those whom the kernel has let in already are still accepted; closing the socket would cut them off.
        """
        program = ctypes.create_string_buffer(_DROP_ALL)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _PROGRAM.pack(1, ctypes.addressof(program)))

    async def stop(self, graceful: float) -> None:
        """Answers what has been asked, within `graceful` seconds, and closes the port."""
        await self.connections.close(graceful)
        if self._server is not None:
            self._server.close()
        self._socket.close()
