"""The command line is tensorflow_model_server's, with its mistakes told instead of passed over."""

from __future__ import annotations

import pytest

from modelpress.api.errors import Invalid
from modelpress.server import flags

BASE = ["--model_base_path=/m"]


def test_defaults_are_tensorflow_servings():
    values = flags.parse(BASE)
    assert values["port"] == 8500
    assert values["rest_api_port"] == 0
    assert values["model_name"] == "default"
    assert values["max_num_load_retries"] == 5
    assert values["file_system_poll_wait_seconds"] == 1


def test_the_last_of_repeated_flags_wins():
    assert flags.parse([*BASE, "--port=1", "--port=2"])["port"] == 2


@pytest.mark.parametrize(
    ("text", "value"), [("", True), ("=true", True), ("=1", True), ("=false", False), ("=0", False), ("=False", False)]
)
def test_booleans(text, value):
    assert flags.parse([*BASE, f"--prefer_tflite_model{text}"])["prefer_tflite_model"] is value


@pytest.mark.parametrize(
    ("arguments", "reason", "said"),
    [
        ([*BASE, "--prot=1"], "UnknownFlag", "--prot=1 is no flag"),
        ([*BASE, "--port", "1"], "InvalidFlag", "--port needs a value"),
        ([*BASE, "port=1"], "UnknownFlag", "port=1 is no flag"),
        ([*BASE, "--port=x"], "InvalidFlag", "'x' is not a value of type int"),
        ([*BASE, "--enable_batching=maybe"], "InvalidFlag", "'maybe' is not a value of type bool"),
        ([*BASE, "--use_alts_credentials=true"], "UnsupportedFlag", "modelpress serve has no Google ALTS"),
        ([*BASE, "--platform_config_file=/p"], "UnsupportedFlag", "PlatformConfigMap"),
        ([*BASE, "--ssl_config_file=/s"], "UnsupportedFlag", "modelpress serve has no TLS"),
        ([], "InvalidFlag", "--model_base_path"),
        ([*BASE, "--batching_parameters_file=/b"], "InvalidFlag", "is set without --enable_batching=true"),
        ([*BASE, "--port=0"], "InvalidFlag", "--grpc_socket_path is empty"),
        ([*BASE, "--rest_api_port=8500"], "InvalidFlag", "is the same as --port"),
        (
            [*BASE, *(f"--tensorflow_{kind}_parallelism=1" for kind in ("session", "intra_op", "inter_op"))],
            "InvalidFlag",
            "leave it out",
        ),
    ],
)
def test_mistakes_are_refused_with_the_cure(arguments, reason, said):
    with pytest.raises(Invalid) as caught:
        flags.parse(arguments)
    assert caught.value.reason == reason
    assert said in str(caught.value)


def test_flags_that_change_nothing_are_told():
    values = flags.parse([*BASE, "--num_load_threads=4", "--enable_profiler=false", "--skip_initialize_tpu"])
    assert flags.unheeded(values) == [
        "--num_load_threads changes nothing: versions load one after the other",
        "--skip_initialize_tpu changes nothing: there are no TPUs here",
    ]


def test_every_flag_is_in_the_usage():
    text = flags.usage()
    assert all(f"--{flag.name}=" in text for flag in flags.FLAGS)
