"""Whether the other end of an accepted TCP connection has closed it, asked of the kernel (Linux sock_diag).

The ASGI server does not read from an HTTP/1.1 connection while a request is being answered, so it cannot know. Where
the kernel cannot be asked, nobody is ever taken for gone.
"""

from __future__ import annotations

import ipaddress
import socket
import struct

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2
_ENOENT = 2
_ESTABLISHED = 1
_HEADER = struct.Struct("=IHHII")

Address = tuple[str, int]


def closed(client: Address | None, server: Address | None) -> bool:
    """Whether `client` has closed its connection to us; False where this cannot be told."""
    if client is None or server is None or not hasattr(socket, "AF_NETLINK"):
        return False
    try:
        state = _state(client, server)
    except (OSError, ValueError):
        return False
    return state is not None and state != _ESTABLISHED


def _state(client: Address, server: Address) -> int | None:
    """The state of our end of a connection; 0 where there is none any longer, None for an unexpected answer."""
    ours, theirs = ipaddress.ip_address(server[0]), ipaddress.ip_address(client[0])
    family = socket.AF_INET if ours.version == 4 else socket.AF_INET6
    sockid = struct.pack(">HH16s16s", server[1], client[1], ours.packed, theirs.packed) + struct.pack(
        "=III", 0, ~0 & 0xFFFFFFFF, ~0 & 0xFFFFFFFF
    )
    request = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + sockid
    message = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0) + request
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_SOCK_DIAG) as netlink:
        netlink.send(message)
        answer = netlink.recv(4096)
    kind = _HEADER.unpack_from(answer)[1]
    if kind == _NLMSG_ERROR:
        (error,) = struct.unpack_from("=i", answer, _HEADER.size)
        return 0 if error == -_ENOENT else None
    return answer[_HEADER.size + 1] if kind == _SOCK_DIAG_BY_FAMILY else None
