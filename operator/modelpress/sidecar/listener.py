"""Listening sockets, and ASGI servers on them that can be replaced without closing the sockets."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import socket
import struct
from collections.abc import Awaitable, Callable

import h2corn

from modelpress.api.errors import Invalid
from modelpress.sidecar.body import Receive, Scope, Send

Application = Callable[[Scope, Receive, Send], Awaitable[None]]

BACKLOG = 1024
STREAMS = 1024
"""Calls at once on one client connection; more wait at the client."""
CONNECTIONS = 4096
STREAM_WINDOW = 1 << 20
CONNECTION_WINDOW = 1 << 22
"""Bytes that one client connection may send ahead of us: together with the body limits this bounds memory."""
FRAME = 1 << 20
HEADERS_SIZE = 1 << 16
"""Bytes of a request's headers, encoded and decoded; gRPC servers allow 8 to 16 kB."""
BODY_IDLE = 10.0
RESPONSE_STALL = 60.0

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


class Listener:
    """One port."""

    def __init__(self, application: Application, sock: socket.socket, *, graceful: float) -> None:
        self._application = application
        self._socket = sock
        self.port: int = sock.getsockname()[1]
        """Also where any was asked for."""
        self._graceful = graceful
        self._running: dict[h2corn.Server, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Begins to accept connections."""
        server = h2corn.Server(self._application, self._config())
        task = asyncio.get_running_loop().create_task(server.serve())
        self._running[server] = task
        task.add_done_callback(lambda _: self._running.pop(server, None))
        await server.wait_started()

    def shut(self) -> None:
        """Accepts no more connections, while those that there are stay: the kernel drops what asks for one.

        The ASGI server cannot do that: when it stops to accept, it says farewell as well.
        """
        program = ctypes.create_string_buffer(_DROP_ALL)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _PROGRAM.pack(1, ctypes.addressof(program)))

    async def stop(self) -> None:
        """Accepts nothing more, finishes what there is within the graceful time, and closes the port."""
        running = dict(self._running)
        for server in running:
            server.shutdown()
        await asyncio.gather(*running.values(), return_exceptions=True)
        self._socket.close()

    def _config(self) -> h2corn.Config:
        policy = h2corn.RequestPolicy(
            path="/*",
            max_request_body_size=0,  # ours is hot, and answers in the protocol's own words
            timeout_request_body_idle=BODY_IDLE,
            h2_timeout_response_stall=RESPONSE_STALL,
        )
        return h2corn.Config(
            bind=(f"fd://{self._socket.fileno()}",),
            backlog=BACKLOG,
            grpc=True,
            lifespan="off",
            access_log=False,
            runtime_threads=1,
            max_concurrent_streams=STREAMS,
            limit_connections=CONNECTIONS,
            h2_initial_stream_window_size=STREAM_WINDOW,
            h2_initial_connection_window_size=CONNECTION_WINDOW,
            h2_max_inbound_frame_size=FRAME,
            limit_request_head_size=HEADERS_SIZE,
            h2_max_header_block_size=HEADERS_SIZE,
            h2_max_header_list_size=HEADERS_SIZE,
            request_policies=(policy,),
            timeout_graceful_shutdown=self._graceful,
        )
