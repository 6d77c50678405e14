"""Ports, GPUs and limits that children get."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from modelpress.api.errors import Invalid
from modelpress.api.request import Target
from modelpress.api.serving import Batching
from modelpress.compress.evaluation.endpoint import DoesNotLoad
from modelpress.compress.local import affinity, processes
from modelpress.server import launch, ports


def test_a_port_that_was_asked_for_and_is_taken_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Invalid, match=f"port {port} is taken") as refused:
            processes.chosen(port, None)
    assert refused.value.field == "--grpc-port"


def test_ports_that_were_asked_for_are_taken():
    wanted = (ports.unused(), ports.unused())
    assert processes.chosen(*wanted) == wanted


@pytest.fixture
def says(tmp_path, monkeypatch):
    """What the server of a target says at its start, before it ends, where this script is the server."""

    def run(script, target, form="SavedModel"):
        binary = tmp_path / launch.BINARY
        binary.write_text(f"#!/bin/sh\n{script}\n")
        binary.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        log = tmp_path / "log"
        server = processes.ModelServer("m", tmp_path, form=form, target=target, log=log)
        with server, pytest.raises(DoesNotLoad):
            server.await_model()
        return log.read_text()

    return run


def flags(said):
    return dict(flag.split("=", 1) for flag in said.split() if flag.startswith("--") and "=" in flag)


@pytest.mark.parametrize("device", ["CPU", "GPU"])
def test_only_the_server_of_a_gpu_target_sees_gpus(says, monkeypatch, device):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    said = says("echo sees $CUDA_VISIBLE_DEVICES", Target(device=device))
    assert said == f"sees {'0' if device == 'GPU' else '-1'}\n"


@pytest.mark.parametrize("threads", [1, 5])
def test_a_server_has_the_threads_of_its_target(says, threads):
    told = flags(says("echo $*", Target(threads=threads)))
    names = ("tensorflow_intra_op_parallelism", "tensorflow_inter_op_parallelism", "num_tflite_pools")
    assert {told[f"--{name}"] for name in names} == {str(threads)}


@pytest.mark.parametrize(("form", "told"), [("SavedModel", "false"), ("TFLite", "true")])
def test_a_server_reads_the_form_that_it_is_given(says, form, told):
    assert flags(says("echo $*", Target(), form))["--prefer_tflite_model"] == told


def test_a_server_joins_requests_as_its_target_does(says):
    batching = Batching(max_batch_size=11, timeout="3ms", pad_variable_length=True)
    told = flags(says("echo $*", Target(threads=5, batching=batching)))
    assert told["--enable_batching"] == "true"
    assert Path(told["--batching_parameters_file"]).read_text().splitlines() == [
        "max_batch_size { value: 11 }",
        "batch_timeout_micros { value: 3000 }",
        "num_batch_threads { value: 5 }",
        "pad_variable_length_inputs: true",
    ]


def test_a_server_joins_no_requests_where_its_target_does_not(says):
    assert not [name for name in flags(says("echo $*", Target())) if "batching" in name]


@pytest.mark.parametrize("threads", [1, 1024])
def test_a_server_is_pinned_to_the_cpus_of_its_target(says, threads):
    """To all there are, where it is to have more threads than that."""
    said = says("exec grep Cpus_allowed_list /proc/self/status", Target(threads=threads))
    pinned = {int(cpu) for cpu in affinity.cpus(threads) or os.sched_getaffinity(0)}
    assert numbers(said.split()[1]) == pinned
    assert len(pinned) == min(threads, len(os.sched_getaffinity(0)))


def numbers(ranges):
    """Of a list as the kernel writes it, such as `0-2,5`."""
    ends = [part.split("-") for part in ranges.split(",")]
    return {number for first, *last in ends for number in range(int(first), int(last[0] if last else first) + 1)}
