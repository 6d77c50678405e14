"""TensorFlow Serving's flags follow the container's CPUs."""

from __future__ import annotations

from modelpress.api.serving import Batching
from modelpress.runtime import batching, flags


def given(**more: object) -> dict[str, str]:
    arguments = {"threads": 2, "tflite": False, "rest_port": 8502, **more}
    made = flags.server_flags("m", "/models/m", **arguments)  # type: ignore[arg-type]
    return dict(flag.removeprefix("--").split("=", 1) for flag in made)


def test_every_pool_has_a_size_so_that_none_is_sized_by_the_node() -> None:
    found = given(threads=3)
    assert found["tensorflow_intra_op_parallelism"] == found["tensorflow_inter_op_parallelism"] == "3"
    assert {"rest_api_num_threads", "grpc_max_threads"} <= found.keys()


def test_tflite_gets_one_interpreter_for_each_cpu() -> None:
    assert "num_tflite_pools" not in given()
    found = given(threads=4, tflite=True)
    assert (found["prefer_tflite_model"], found["num_tflite_pools"]) == ("true", "4")


def test_behind_the_sidecar_grpc_listens_on_a_socket_only() -> None:
    found = given(grpc_socket="/run/modelpress/grpc.sock")
    assert (found["port"], found["grpc_socket_path"]) == ("0", "/run/modelpress/grpc.sock")
    assert "grpc_socket_path" not in given(grpc_port=8500)


def test_the_profiler_is_off_and_a_bad_model_fails_at_once() -> None:
    assert given()["enable_profiler"] == "false"
    assert given()["max_num_load_retries"] == "0"


def test_the_request_timeout_is_in_milliseconds() -> None:
    assert given(request_timeout_seconds=2.5)["rest_api_timeout_in_ms"] == "2500"


def test_rest_threads_suffice_for_the_listener_and_a_full_batch() -> None:
    assert given()["rest_api_num_threads"] == "16"
    assert given(threads=8)["rest_api_num_threads"] == "32"
    assert given(batching=Batching(max_batch_size=64), batching_file="/b")["rest_api_num_threads"] == "130"


def test_batching_is_off_unless_asked_for() -> None:
    assert "enable_batching" not in given()
    found = given(batching=Batching(), batching_file="/tmp/b")
    assert (found["enable_batching"], found["batching_parameters_file"]) == ("true", "/tmp/b")


def test_batching_parameters_are_text_with_wrapped_numbers() -> None:
    assert batching.parameters(Batching(max_batch_size=8, timeout="1ms500ms", pad_variable_length=True), threads=2) == (
        "max_batch_size { value: 8 }\n"
        "batch_timeout_micros { value: 501000 }\n"
        "num_batch_threads { value: 2 }\n"
        "max_enqueued_batches { value: 4096 }\n"
        "pad_variable_length_inputs: true\n"
    )
