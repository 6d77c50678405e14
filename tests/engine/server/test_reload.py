"""A running server's configuration changes over gRPC and by its file."""

from __future__ import annotations

import contextlib
import time

import grpc
import pytest
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

from modelpress.server import assembly, flags, ports

pytestmark = pytest.mark.xdist_group("server")


@contextlib.contextmanager
def serving(*arguments):
    port = ports.unused()
    values = flags.parse([f"--port={port}", "--xla_cpu_compilation_enabled=true", *arguments])
    assembled = assembly.assemble(values)
    server, _ = assembly.listen(assembled, values, host="127.0.0.1")
    try:
        yield assembled.versions, f"127.0.0.1:{port}"
    finally:
        assembled.versions.stop()
        server.stop(5).wait(10)


def reload_request(*models):
    message = model_management_pb2.ReloadConfigRequest()
    for name, path in models:
        message.config.model_config_list.config.add(name=name, base_path=str(path), model_platform="tensorflow")
    return message


def served(versions, name):
    with versions.use(name) as (number, _):
        return number


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_reload_answers_when_the_new_model_serves(models):
    with (
        serving("--model_name=dense", f"--model_base_path={models}/dense") as (versions, address),
        grpc.insecure_channel(address) as channel,
    ):
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        request = reload_request(("dense", models / "dense"), ("text", models / "text"))
        response = stub.HandleReloadConfigRequest(request, timeout=60)
        assert response.status.error_code == 0
        assert served(versions, "text") == 1
        assert served(versions, "dense") == 2


def test_a_reload_tells_when_the_new_model_does_not_load(models, tmp_path):
    (tmp_path / "broken" / "1").mkdir(parents=True)
    arguments = ("--model_name=dense", f"--model_base_path={models}/dense", "--max_num_load_retries=0")
    with serving(*arguments) as (versions, address), grpc.insecure_channel(address) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            request = reload_request(("dense", models / "dense"), ("broken", tmp_path / "broken"))
            stub.HandleReloadConfigRequest(request, timeout=60)
        assert caught.value.code() is grpc.StatusCode.UNKNOWN
        assert caught.value.details().startswith(
            "1 model(s) did not become available: {{{name: broken version: 1} due to error: NOT_FOUND: "
        )
        assert served(versions, "dense") == 2


CONFIG = 'model_config_list {{ config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" }} }}'


def test_a_configuration_file_is_read_again(models, tmp_path):
    file = tmp_path / "models.config"
    file.write_text(CONFIG.format(name="dense", path=models / "dense"))
    with serving(f"--model_config_file={file}", "--model_config_file_poll_wait_seconds=1") as (versions, _):
        assert served(versions, "dense") == 2
        file.write_text("this is not a configuration")
        changed = tmp_path / "changed"
        changed.write_text(CONFIG.format(name="text", path=models / "text"))
        changed.rename(file)
        until(lambda: versions.statuses("text") and versions.statuses("dense")[-1][1].name == "END")
        assert served(versions, "text") == 1
