"""The processes that are measured and the upstream behind them, on free ports and each on its core."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.sidecar import tools

TESTED, OTHERS = "0", "1"
"""Cores: the process under test has one of its own, load and upstream share the other."""
START = 30.0


class Ports(NamedTuple):
    """One for each thing that listens."""

    sidecar: int
    sidecar_rest: int
    admin: int
    bypass: int
    bypass_rest: int
    bypass_admin: int
    envoy: int
    nginx: int
    stub: int
    stub_rest: int


class Contenders(NamedTuple):
    """All that runs; `sidecar` keeps answers, `bypass` is the same program with its cache off."""

    ports: Ports
    processes: dict[str, subprocess.Popen[bytes]]

    def resident(self, name: str) -> int:
        """Bytes of memory that a process holds."""
        for line in Path(f"/proc/{self.processes[name].pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise LookupError(name)

    def cpu(self, name: str) -> float:
        """Seconds of processor time that a process has used."""
        fields = Path(f"/proc/{self.processes[name].pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resize(self, folder: Path, size: int) -> None:
        """Gives the sidecar a cache of `size` bytes, and waits until it has read of it."""
        file = folder / "kept" / "sidecar.json"
        tunables = json.loads(file.read_text())
        tunables["cache"]["memoryBytes"] = size
        file.write_text(json.dumps(tunables))
        deadline = time.monotonic() + START
        while self.state()["tunables"]["cache"]["memoryBytes"] != size:
            if time.monotonic() > deadline:
                raise TimeoutError("The sidecar did not read its tunables again")
            time.sleep(0.1)

    def state(self) -> dict[str, Any]:
        """What the sidecar says about itself."""
        return read_json(f"http://127.0.0.1:{self.ports.admin}/state")


@contextlib.contextmanager
def started(folder: Path, package: Path | None) -> Iterator[Contenders]:
    """Starts everything and waits until it answers; ends exactly what it started.

    The sidecar is that of `package`, None for the sources as they are.
    """
    ports = Ports(*_free_ports(len(Ports._fields)))
    environment = _environment(package)
    with contextlib.ExitStack() as stack:
        processes: dict[str, subprocess.Popen[bytes]] = {}

        def start(name: str, core: str, *command: str) -> None:
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            process = subprocess.Popen(
                [tools.program("taskset"), "-c", core, *command], stdout=log, stderr=log, env=environment
            )
            processes[name] = process
            stack.callback(_end, process)

        start("stub", OTHERS, *_stub(ports))
        start("envoy", TESTED, *_envoy(ports, folder))
        start("nginx", TESTED, *_nginx(ports, folder))
        start("sidecar", TESTED, *_sidecar(ports, folder / "kept", (ports.sidecar, ports.sidecar_rest, ports.admin)))
        bypass = ports.bypass, ports.bypass_rest, ports.bypass_admin
        start("bypass", TESTED, *_sidecar(ports, folder / "bypass", bypass, {"cache": {"mode": "Disabled"}}))
        for port in (ports.stub, ports.envoy, ports.nginx):
            _wait_for_port(port)
        for admin in (ports.admin, ports.bypass_admin):
            _wait_until_ready(admin)
        yield Contenders(ports, processes)


def _stub(ports: Ports) -> list[str]:
    h2corn = str(Path(sys.executable).with_name("h2corn"))
    options = [
        "--grpc",
        "--runtime-threads=1",
        "--lifespan=off",
        "--no-access-log",
        "--h2-max-inbound-frame-size=1048576",
    ]
    binds = [f"--bind=127.0.0.1:{ports.stub}", f"--bind=127.0.0.1:{ports.stub_rest}"]
    return [h2corn, *options, *binds, "benchmarks.sidecar.stub:application"]


def _envoy(ports: Ports, folder: Path) -> list[str]:
    file = folder / "envoy.yaml"
    file.write_text(_filled("envoy.yaml", port=ports.envoy, upstream=ports.stub))
    return [str(tools.envoy()), "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]


def _nginx(ports: Ports, folder: Path) -> list[str]:
    file = folder / "nginx.conf"
    user = "" if os.geteuid() else "user root;"  # else its workers may not enter the folder
    file.write_text(_filled("nginx.conf", port=ports.nginx, upstream=ports.stub_rest, folder=folder, user=user))
    return [tools.program("nginx"), "-c", str(file), "-e", str(folder / "nginx.err")]


def _sidecar(ports: Ports, config: Path, own: tuple[int, int, int], more: dict[str, Any] | None = None) -> list[str]:
    config.mkdir()
    cache = {"mode": "Enabled", "memoryBytes": 2**28, **(more or {}).get("cache", {})}
    tunables = {"cache": cache, "concurrency": {"limit": 4096, "queueDepth": 4096}}
    (config / "sidecar.json").write_text(json.dumps(tunables))
    named = [f"--{name}-port={port}" for name, port in zip(("grpc", "rest", "admin"), own, strict=True)]
    upstream = [f"--upstream-grpc=127.0.0.1:{ports.stub}", f"--upstream-rest=127.0.0.1:{ports.stub_rest}"]
    program = [str(Path(sys.executable).with_name("modelpress")), "sidecar", "--model=m"]
    digest = "--artifact-digest=sha256:" + "0" * 64
    return [*program, digest, "--host=127.0.0.1", f"--config-dir={config}", *upstream, *named]


def _filled(name: str, **values: object) -> str:
    """A configuration of this folder with its @places@ filled in."""
    text = Path(__file__).with_name(name).read_text()
    for place, value in values.items():
        text = text.replace(f"@{place}@", str(value))
    return text


def read_json(url: str) -> dict[str, Any]:
    """A JSON document from one of our own ports."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        document: dict[str, Any] = json.load(answer)
        return document


def _environment(package: Path | None) -> dict[str, str]:
    places = [*([str(package)] if package else []), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places)}


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + START
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + START
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
