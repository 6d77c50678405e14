"""A first look at the sidecar's speed by h2load: hits, passing through, and the upstream stub without it, in turn.

    taskset -c 1 python benchmarks/sidecar_smoke.py        # needs h2load (nghttp2-client) and two cores

The sidecar is pinned to core 0; stub and load share core 1. On a shared machine only ratios within one run count.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import statistics
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import h2corn

from modelpress.sidecar.wire_pb2 import PredictRequest

PREDICT = "/tensorflow.serving.PredictionService/Predict"
GRPC, REST, ADMIN, STUB_GRPC, STUB_REST = 18500, 18501, 19090, 18600, 18601
RESPONSE = bytes.fromhex("0a180a0179121308011208120208011202080a2a05") + bytes(5) + b"\x12\x07\x0a\x01m\x12\x02\x08\x01"
ROUNDS = 3


def request(number: int, floats: int = 784) -> bytes:
    """A framed Predict request of `floats` values."""
    message = PredictRequest()
    message.model_spec.name = "m"
    tensor = message.inputs["x"]
    tensor.dtype = 1
    tensor.tensor_shape.dim.add(size=floats)
    tensor.tensor_content = struct.pack("<f", float(number)) * floats
    body = message.SerializeToString()
    return b"\0" + struct.pack(">I", len(body)) + body


async def stub(scope, receive, send) -> None:
    """Answers every gRPC request with the same response, and status requests with an available version."""
    while (await receive()).get("more_body"):
        pass
    if scope["method"] == "GET":
        body = b'{"model_version_status": [{"version": "1", "state": "AVAILABLE"}]}'
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
        return
    framed = b"\0" + struct.pack(">I", len(RESPONSE)) + RESPONSE
    headers = [(b"content-type", b"application/grpc")]
    await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
    await send({"type": "http.response.body", "body": framed})
    await send({"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]})


async def load(port: int, body: Path, requests: int, connections: int, streams: int) -> tuple[float, str]:
    """Requests per second and the mean time of a request, as h2load prints it."""
    command = ["h2load", f"-n{requests}", f"-c{connections}", f"-m{streams}", f"-d{body}"]
    command += ["-Hcontent-type: application/grpc", "-Hte: trailers", f"http://127.0.0.1:{port}{PREDICT}"]
    process = await asyncio.create_subprocess_exec("taskset", "-c", "1", *command, stdout=subprocess.PIPE)
    text = (await process.communicate())[0].decode()
    failed = re.search(r"(\d+) failed", text)
    if failed is None or failed[1] != "0":
        raise RuntimeError(text)
    rate = re.search(r"([\d.]+) req/s", text)
    mean = re.search(r"time for request:\s+\S+\s+\S+\s+(\S+)", text)
    assert rate and mean
    return float(rate[1]), mean[1]


async def main() -> None:
    folder = Path(tempfile.mkdtemp())
    body = folder / "body"
    body.write_bytes(request(1))
    config = h2corn.Config(
        bind=(f"127.0.0.1:{STUB_GRPC}", f"127.0.0.1:{STUB_REST}"), grpc=True, lifespan="off", access_log=False
    )
    server = h2corn.Server(stub, config)
    serving = asyncio.ensure_future(server.serve())
    await server.wait_started()
    tunables = {"concurrency": {"limit": 1000, "queueDepth": 1000}}
    (folder / "sidecar.json").write_text(json.dumps(tunables))
    command = [
        "taskset",
        "-c",
        "0",
        sys.executable,
        "-c",
        "from modelpress.cli import main; main()",
        "sidecar",
        "--model=m",
    ]
    command += ["--artifact-digest=sha256:" + "0" * 64, f"--upstream-grpc=127.0.0.1:{STUB_GRPC}", "--host=127.0.0.1"]
    command += [f"--upstream-rest=127.0.0.1:{STUB_REST}", f"--config-dir={folder}"]
    command += [f"--grpc-port={GRPC}", f"--rest-port={REST}", f"--admin-port={ADMIN}"]
    sidecar = await asyncio.create_subprocess_exec(*command, stderr=sys.stderr)
    await asyncio.sleep(float(os.environ.get("WARM", "4")))
    results: dict[str, list[float]] = {"direct": [], "hit": [], "pass": []}
    try:
        for _ in range(ROUNDS):
            for name, port in (("direct", STUB_GRPC), ("hit", GRPC)):
                rate, mean = await load(port, body, 40_000, 8, 8)
                _, single = await load(port, body, 3_000, 1, 1)
                results[name].append(rate)
                print(f"{name:7} {rate:9.0f} req/s, mean {mean}; one client: {single}")
            (folder / "sidecar.json").write_text(json.dumps({**tunables, "cache": {"mode": "Disabled"}}))
            await asyncio.sleep(1.5)
            rate, mean = await load(GRPC, body, 20_000, 8, 8)
            _, single = await load(GRPC, body, 2_000, 1, 1)
            results["pass"].append(rate)
            print(f"pass    {rate:9.0f} req/s, mean {mean}; one client: {single}")
            (folder / "sidecar.json").write_text(json.dumps(tunables))
            await asyncio.sleep(1.5)
    finally:
        sidecar.terminate()
        await sidecar.wait()
        server.shutdown()
        await serving
    medians = {name: statistics.median(rates) for name, rates in results.items()}
    print(
        json.dumps(
            {"hit_vs_direct": medians["hit"] / medians["direct"], "pass_vs_direct": medians["pass"] / medians["direct"]}
        )
    )


asyncio.run(main())
