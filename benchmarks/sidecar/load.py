"""Load: h2load for gRPC, wrk for REST, and grpcio as it is used in clients. Every answer must be a good one."""

from __future__ import annotations

import asyncio
import re
import statistics
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import grpc
from benchmarks.sidecar import tools
from benchmarks.sidecar.contenders import OTHERS
from benchmarks.sidecar.requests import PREDICT


class Load(NamedTuple):
    """What is sent: the body and how many connections carry how many streams each."""

    body: Path
    requests: int
    connections: int = 8
    streams: int = 8


class Result(NamedTuple):
    """Requests per second, and the median time of a request in microseconds."""

    rate: float
    median: float


class Failed(RuntimeError):
    """A request was not answered well, so that the figures would mean nothing."""


def h2load(port: int, load: Load) -> Result:
    """gRPC as fast as it goes."""
    log = load.body.with_suffix(".log")
    log.unlink(missing_ok=True)
    command = [tools.program("h2load"), f"-n{load.requests}", f"-c{load.connections}", f"-m{load.streams}"]
    command += [f"-d{load.body}", "-w30", "-W30", f"--log-file={log}"]
    command += ["-Hcontent-type: application/grpc", "-Hte: trailers", f"http://127.0.0.1:{port}{PREDICT}"]
    text = _run(command)
    done = re.search(r"(\d+) succeeded, (\d+) failed", text)
    rate = re.search(r"([\d.]+) req/s", text)
    if done is None or rate is None or int(done[1]) != load.requests:
        raise Failed(text)
    times = [int(line.split(b"\t")[2]) for line in log.read_bytes().splitlines()]
    return Result(float(rate[1]), statistics.median(times))


def wrk(port: int, script: Path, seconds: int, connections: int = 64) -> Result:
    """REST as fast as it goes; `script` holds the request."""
    command = [tools.program("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script)]
    text = _run([*command, f"http://127.0.0.1:{port}/v1/models/m:predict"])
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    median = re.search(r"50%\s+([\d.]+)(us|ms|s)", text)
    if rate is None or median is None or "Non-2xx" in text or "Socket errors" in text:
        raise Failed(text)
    return Result(float(rate[1]), float(median[1]) * {"us": 1, "ms": 1e3, "s": 1e6}[median[2]])


def grpcio(port: int, message: bytes, count: int, at_once: int) -> Result:
    """A real gRPC client, whose frames are larger than h2load's."""
    return asyncio.run(_grpcio(port, message, count, at_once))


async def _grpcio(port: int, message: bytes, count: int, at_once: int) -> Result:
    times: list[float] = []
    numbers = iter(range(count))
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        call = channel.unary_unary(PREDICT)

        async def client() -> None:
            for _ in numbers:
                began = time.perf_counter()
                await call(message, timeout=30)
                times.append(time.perf_counter() - began)

        await call(message, timeout=30)
        started = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(at_once)))
        return Result(count / (time.perf_counter() - started), statistics.median(times) * 1e6)


def _run(command: list[str]) -> str:
    done = subprocess.run(
        [tools.program("taskset"), "-c", OTHERS, *command], capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        raise Failed(done.stdout + done.stderr)
    return done.stdout


def wrk_script(file: Path, body: bytes) -> Path:
    """A script for wrk that posts a body."""
    file.write_text(
        f"wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = [==[{body.decode()}]==]\n"
    )
    return file
