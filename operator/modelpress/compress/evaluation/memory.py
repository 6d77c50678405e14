"""Peak memory of a server's process, found by the port that it listens on."""

from __future__ import annotations

import re
from pathlib import Path

_LISTEN = "0A"
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def peak_bytes(pid: int, *, proc: Path = Path("/proc")) -> int | None:
    """VmHWM of a process; None where it is gone."""
    try:
        found = _PEAK.search((proc / str(pid) / "status").read_text())
    except OSError:
        return None
    return int(found.group(1)) * 1024 if found else None


def listener(port: int, *, proc: Path = Path("/proc")) -> int | None:
    """The process that serves a port: told by its command line (`--port=8500`), else by the socket that it holds.

    Command lines come first because other containers' open files are hidden where they run under another user.
    """
    wanted = re.compile(rf"--(?:port|rest_api_port)[=\0]{port}\0")
    processes = [entry for entry in proc.iterdir() if entry.name.isdigit()]
    for process in sorted(processes, key=lambda entry: int(entry.name), reverse=True):
        if wanted.search(_text(process / "cmdline")):
            return int(process.name)
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port, proc)}
    if not sockets:
        return None
    return next((int(process.name) for process in processes if _holds(process, sockets)), None)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _listening_inodes(port: int, proc: Path) -> set[str]:
    inodes = set()
    for table in ("tcp", "tcp6"):
        for line in _text(proc / "net" / table).splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def _holds(process: Path, sockets: set[str]) -> bool:
    try:
        return any(str(entry.readlink()) in sockets for entry in (process / "fd").iterdir())
    except OSError:
        return False
