"""Where an upstream listens: `host:port` or `unix:/path`."""

from __future__ import annotations

from typing import NamedTuple

from modelpress.api.errors import Invalid


class Address(NamedTuple):
    """A TCP address (`path` empty) or a Unix socket (`path` set)."""

    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"


def parse(text: str, *, field: str) -> Address:
    """Raises Invalid, naming `field`."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path:
            raise Invalid("InvalidAddress", f"{text!r} has no path; write unix:/path/of/socket", field=field)
        return Address("", 0, path)
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdecimal() or not 0 < int(port) < 65536:
        raise Invalid("InvalidAddress", f"{text!r} is no address; write host:port or unix:/path", field=field)
    return Address(host.strip("[]") or "127.0.0.1", int(port))
