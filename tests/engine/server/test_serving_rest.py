"""The HTTP API, with plain HTTP."""

from __future__ import annotations

import gzip
import json
import math
import re

import pytest

pytestmark = pytest.mark.xdist_group("server")

ROW = [1, 0, 0, 0]


def test_row_format_answers_with_predictions(server):
    assert server.post("dense:predict", {"instances": [ROW, [0, 1, 0, 0]]}) == (
        200,
        {"predictions": [[10.0, 20.0, 30.0], [40.0, 50.0, 60.0]]},
    )


@pytest.mark.parametrize("inputs", [[ROW], {"x": [ROW]}, {"x": [ROW], "extra": 1}])
def test_columnar_format_answers_with_outputs(server, inputs):
    assert server.post("dense:predict", {"inputs": inputs}) == (200, {"outputs": [[10.0, 20.0, 30.0]]})


def test_rows_of_several_inputs_are_objects_and_so_are_the_answers(server):
    body = {"instances": [{"a": [1, 2], "b": 3}, {"a": [3, 4], "b": 5}]}
    assert server.post("many:predict", body) == (
        200,
        {"predictions": [{"sum": 3.0, "twice": 6}, {"sum": 7.0, "twice": 10}]},
    )


def test_columns_of_several_inputs(server):
    body = {"inputs": {"a": [[1, 2]], "b": [3]}}
    assert server.post("many:predict", body) == (200, {"outputs": {"sum": [3.0], "twice": [6]}})


@pytest.mark.parametrize(
    "place", ["dense/versions/1", "dense/labels/stable", "DENSE/Versions/1".replace("DENSE", "dense")]
)
def test_a_version_can_be_asked_for_by_number_or_label(server, place):
    assert server.post(f"{place}:predict", {"instances": [ROW]}) == (200, {"predictions": [[1.0, 2.0, 3.0]]})


def test_paths_are_case_insensitive(server):
    status, _ = server.json("POST", "/V1/Models/dense:Predict", {"instances": [ROW]})
    assert status == 200


def test_a_signature_can_be_named(server):
    body = {"signature_name": "scalar", "inputs": [1, 2]}
    assert server.post("many:predict", body) == (200, {"outputs": {"total": 3.0, "x": [1.0, 2.0]}})


def test_text_and_base64_are_strings(server):
    body = {"instances": ["dog", {"b64": "Y2F0"}]}
    status, found = server.post("text:predict", body)
    assert status == 200, found
    assert found["predictions"] == [
        {"number": 8, "word": "dog", "word_bytes": {"b64": "ZG9n"}},
        {"number": 7, "word": "cat", "word_bytes": {"b64": "Y2F0"}},
    ]


def test_tokens_that_json_does_not_have_are_read_and_written(server):
    body = b'{"signature_name": "divide", "instances": [[1, 0], [-1, 0], [0, 0], [NaN, 1], [Infinity, 1], [1, 4]]}'
    status, _, text = server.http("POST", "/v1/models/many:predict", body)
    assert status == 200
    assert re.sub(rb"\s", b"", text) == b'{"predictions":[Infinity,-Infinity,NaN,NaN,Infinity,0.25]}'
    assert math.isnan(json.loads(text)["predictions"][2])


def test_every_type_comes_back_as_it_went(server):
    row = {
        "f64": 0.1, "i8": -3, "u8": 200, "i16": -300, "i64": -(2**40), "u32": 2**32 - 1, "u64": 2**64 - 1, "flag": True,
    }  # fmt: skip
    body = {"signature_name": "types", "instances": [row]}
    assert server.post("many:predict", body) == (200, {"predictions": [row]})


def test_a_float_is_written_shortest(server):
    body = b'{"signature_name": "scalar", "inputs": [0.2]}'
    _, _, text = server.http("POST", "/v1/models/many:predict", body)
    assert b'"total": 0.2,' in text


def test_what_follows_the_first_value_is_not_read(server):
    status, _, _ = server.http("POST", "/v1/models/dense:predict", b'{"instances": [[1, 0, 0, 0]]} and more')
    assert status == 200


def test_bodies_may_be_compressed(server):
    body = gzip.compress(json.dumps({"instances": [ROW]}).encode())
    status, headers, text = server.http("POST", "/v1/models/dense:predict", body, {"Content-Encoding": "gzip"})
    assert status == 200
    assert json.loads(text) == {"predictions": [[10.0, 20.0, 30.0]]}
    assert "Content-Encoding" not in headers


@pytest.mark.parametrize("body", [b"not gzip", gzip.compress(b"x" * 100)[:-4]], ids=["other", "cut"])
def test_what_is_not_gzip_is_an_invalid_argument(server, body):
    status, _, text = server.http("POST", "/v1/models/dense:predict", body, {"Content-Encoding": "gzip"})
    assert status == 400
    assert "gzip" in json.loads(text)["error"]


def test_compressed_bodies_are_capped(server):
    body = gzip.compress(b" " * (100 * 1024 * 1024 + 1), 1)
    status, _, text = server.http("POST", "/v1/models/dense:predict", body, {"Content-Encoding": "gzip"})
    assert status == 400
    assert "larger than" in json.loads(text)["error"]


SIZE = "multiple input tensors required as per tensorinfo_map"


@pytest.mark.parametrize(
    ("place", "body", "status", "error"),
    [
        ("nope:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(nope)"),
        ("dense/versions/9:predict", {"instances": [1]}, 404, "Servable not found for request: Specific(dense, 9)"),
        ("dense/labels/canary:predict", {"instances": [1]}, 400, "Unrecognized servable version label: canary"),
        (
            "dense/versions/99999999999999999999:predict",
            {"instances": [1]},
            400,
            "Failed to convert version: 99999999999999999999 to numeric.",
        ),
        (
            "dense:predict",
            {"signature_name": "other", "instances": [1]},
            400,
            'Serving signature name: "other" not found in signature def',
        ),
        ("dense:predict", b"", 400, "JSON Parse error: The document is empty"),
        ("dense:predict", b"[1", 400, "JSON Parse error: Missing a comma or ] after an array element. at offset: 2"),
        (
            "dense:predict",
            b'{"a": 1 "b"',
            400,
            "JSON Parse error: Missing a comma or } after an object member. at offset: 8",
        ),
        ("dense:predict", b'{"instances": x}', 400, "JSON Parse error: Invalid value. at offset: 14"),
        ("dense:predict", [1], 400, "JSON Value: [\n    1\n] Is not object"),
        (
            "dense:predict",
            {"signature_name": 1},
            400,
            'JSON Value: {\n    "signature_name": 1\n} not formatted correctly. '
            "'signature_name' key must be a string value.",
        ),
        ("dense:predict", {"rows": [1]}, 400, "Missing 'inputs' or 'instances' key"),
        (
            "dense:predict",
            {"instances": [], "inputs": []},
            400,
            'JSON Value: {\n    "instances": [],\n    "inputs": []\n} Not formatted correctly expecting only one of '
            "'inputs' or 'instances' keys to exist ",
        ),
        (
            "dense:predict",
            {"instances": 1},
            400,
            "JSON Value: {\n    \"instances\": 1\n} Excepting 'instances' to be an list/array",
        ),
        (
            "dense:predict",
            {"instances": []},
            400,
            "JSON Value: {\n    \"instances\": []\n} No values in 'instances' array",
        ),
        (
            "many:predict",
            {"instances": [1]},
            400,
            f"instances is a plain list, but expecting list of objects as {SIZE}",
        ),
        ("many:predict", {"inputs": [1]}, 400, f"inputs is a plain value/list, but expecting an object as {SIZE}"),
        ("many:predict", {"inputs": {"a": [[1, 2]]}}, 400, "Missing named input: b in 'inputs' object."),
        (
            "many:predict",
            {"instances": [{"a": [1, 2]}]},
            400,
            "Failed to process element: 0 of 'instances' list. "
            'JSON object: {\n    "a": [\n        1,\n        2\n    ]\n} '
            "keys must be equal to: a,b",
        ),
        (
            "many:predict",
            {"instances": [{"a": [1, 2], "b": 1, "c": 1}]},
            400,
            "Failed to process element: 0 key: c of 'instances' list. Error: INVALID_ARGUMENT: "
            "JSON object: does not have named input: c",
        ),
        (
            "many:predict",
            {"instances": [{"a": [1, 2], "b": 1}, 3]},
            400,
            "Expecting object but got list at item 1 of input list",
        ),
        (
            "dense:predict",
            {"instances": [ROW, {"x": ROW}]},
            400,
            "Expecting value/list but got object at item 1 of input list",
        ),
        (
            "dense:predict",
            {"instances": [ROW, [1]]},
            400,
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
            "Expecting tensor size: 4 but got: 1",
        ),
        (
            "dense:predict",
            {"instances": [ROW, [[1, 0], [0, 0]]]},
            400,
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
            "Expecting shape [4] but got: [2,2]",
        ),
        (
            "dense:predict",
            {"instances": [["a"]]},
            400,
            "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
            'JSON Value: "a" Type: String is not of expected type: float',
        ),
        ("dense:predict", {"inputs": [[None]]}, 400, "JSON Value: null Type: Null is not of expected type: float"),
        ("dense:predict", {"inputs": [[True, 1.0]]}, 400, "JSON Value: true Type: True is not of expected type: float"),
        ("dense:predict", {"inputs": [[{}]]}, 400, "JSON Value: {} Type: Object is not of expected type: float"),
        ("dense:predict", {"inputs": [[1, [2]]]}, 400, "Encountered list at unexpected level: 2 expected < 2"),
        (
            "dense:predict",
            {"inputs": [[1], [2, 3]]},
            400,
            "Encountered list at unexpected size: 2 at level: 1 expected size: 1",
        ),
        (
            "dense:predict",
            {"inputs": [[1], 2]},
            400,
            "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        (
            "dense:predict",
            {"inputs": [[2**24]]},
            400,
            "Cannot convert JSON value: 16777216 to float without loss of precision.",
        ),
        (
            "dense:predict",
            {"inputs": [[1e39]]},
            400,
            "Cannot convert JSON value: 1e+39 to float without loss of precision.",
        ),
        (
            "many:predict",
            {"inputs": {"a": [[1, 2]], "b": [1.5]}},
            400,
            "JSON Value: 1.5 Type: Number is not of expected type: int32",
        ),
        (
            "many:predict",
            {"inputs": {"a": [[1, 2]], "b": [2**31]}},
            400,
            "JSON Value: 2147483648 Type: Number is not of expected type: int32",
        ),
        ("text:predict", {"inputs": [1]}, 400, "JSON Value: 1 Type: Number is not of expected type: string"),
        ("text:predict", {"inputs": {"b64": "!"}}, 400, "Unable to base64 decode"),
        (
            "text:predict",
            {"inputs": [{"b64": "", "x": 1}]},
            400,
            'JSON Value: {\n    "b64": "",\n    "x": 1\n} not formatted correctly for base64 data',
        ),
        (
            "many:predict",
            {"signature_name": "half", "inputs": [1]},
            501,
            "Conversion of JSON Value: 1 to type: half",
        ),
        (
            "many:predict",
            {"signature_name": "to_half", "inputs": [1]},
            400,
            "Failed to write JSON value for tensor type: half",
        ),
        (
            "many:predict",
            {"signature_name": "scalar", "instances": [1]},
            400,
            "Tensor name: total has no shape information ",
        ),
        (
            "many:predict",
            {"signature_name": "uneven", "instances": [1]},
            400,
            "Tensor name: xx has inconsistent batch size: 2 expecting: 1",
        ),
    ],
)  # fmt: skip
def test_predict_fails_in_tensorflow_servings_words(server, place, body, status, error):
    assert server.post(place, body) == (status, {"error": error})


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("POST", "/v1/models/dense", 400, "Malformed request: POST /v1/models/dense"),
        ("POST", "/v1/models/dense:explain", 400, "Malformed request: POST /v1/models/dense:explain"),
        ("GET", "/v1/models/dense:predict", 400, "Malformed request: GET /v1/models/dense:predict"),
        ("PUT", "/v1/models/dense:predict", 400, "Malformed request: PUT /v1/models/dense:predict"),
        ("GET", "/v1/elsewhere", 400, "Malformed request: GET /v1/elsewhere"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", "/v1/models/nope", 404, "Could not find any versions of model nope"),
        ("GET", "/v1/models/dense/versions/9", 404, "Could not find version 9 of model dense"),
        ("GET", "/v1/models/nope/metadata", 404, "Servable not found for request: Latest(nope)"),
    ],
)
def test_paths_that_mean_nothing(server, method, path, status, error):
    assert server.json(method, path) == (status, {"error": error})


@pytest.mark.parametrize("path", ["/", "/v2/models/dense", "/metrics"])
def test_other_paths_are_html_not_found(server, path):
    status, headers, text = server.http("GET", path)
    assert status == 404
    assert headers["Content-Type"].startswith("text/html")
    assert b"404 Not Found" in text


def test_errors_are_json(server):
    _, headers, _ = server.http("GET", "/v1/models")
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("path", ["/v1/models/dense", "/v1/models/dense/labels/stable"])
def test_status_lists_every_version_newest_first(server, path):
    ok = {"error_code": "OK", "error_message": ""}
    assert server.json("GET", path) == (
        200,
        {"model_version_status": [{"version": v, "state": "AVAILABLE", "status": ok} for v in ("2", "1")]},
    )


def test_status_of_one_version(server):
    status, found = server.json("GET", "/v1/models/dense/versions/1")
    assert status == 200
    assert [entry["version"] for entry in found["model_version_status"]] == ["1"]


def test_metadata_has_the_signatures(server):
    status, found = server.json("GET", "/v1/models/dense/versions/1/metadata")
    assert status == 200
    assert found["model_spec"] == {"name": "dense", "signature_name": "", "version": "1"}
    definition = found["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert definition["method_name"] == "tensorflow/serving/predict"
    assert definition["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in definition["inputs"]["x"]["tensor_shape"]["dim"]] == ["-1", "4"]


def test_classify(server):
    body = {"signature_name": "classify", "examples": [{"x": 0.25}, {"x": [0.5]}]}
    assert server.post("examples:classify", body) == (
        200,
        {"results": [[["low", 0.5], ["high", 0.5]], [["low", 1.0], ["high", 0.0]]]},
    )


def test_regress_with_a_context(server):
    body = {"context": {"bias": 0.5}, "examples": [{"x": 1.0}, {"x": 2.0}]}
    assert server.post("examples:regress", body) == (200, {"results": [2.5, 4.5]})


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "JSON Value: {} When method is classify, key 'examples' is expected and was not found"),
        ({"examples": 1}, "JSON Value: {\n    \"examples\": 1\n} Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "JSON Value: {\n    \"examples\": []\n} 'examples' value is an empty array"),
        ({"examples": [1]}, "Example must be JSON object but got JSON Number"),
        ({"examples": [{"x": None}]}, "Feature: x has element with unexpected JSON type: Null"),
        ({"examples": [{"x": [[1.0]]}]}, "Feature: x has element with unexpected JSON type: Array"),
        ({"examples": [{"x": [1.0, 2]}]}, "Unexpected element type in feature: x expecting type: float"),
        ({"examples": [{"x": [1, "a"]}]}, "Unexpected element type in feature: x expecting type: int64"),
        ({"examples": [{"x": 2**63}]}, "Feature: x has uint64 element. Only int64 is supported."),
        ({"examples": [{"x": 1e39}]}, "Cannot convert JSON value: 1e+39 to float without loss of precision."),
        ({"signature_name": "other", "examples": [{"x": 1.0}]}, "No signature was found with the name: other"),
        (
            {"signature_name": "classify", "examples": [{"x": 1.0}]},
            "Expected regression signature method_name to be tensorflow/serving/regress. "
            "Was: tensorflow/serving/classify",
        ),
    ],
)
def test_examples_are_refused_in_tensorflow_servings_words(server, body, error):
    assert server.post("examples:regress", body) == (400, {"error": error})


def test_metrics_have_tensorflow_servings_names(server):
    server.post("dense:predict", {"instances": [ROW]})
    server.post("nope:predict", {"instances": [ROW]})
    status, _, text = server.http("GET", "/monitoring/prometheus/metrics")
    page = text.decode()
    assert status == 200
    assert "# TYPE :tensorflow:serving:request_count counter" in page
    assert ':tensorflow:serving:request_count{model_name="dense",status="OK"}' in page
    assert ':tensorflow:serving:request_count{model_name="nope",status="NOT_FOUND"}' in page
    assert ':tensorflow:serving:request_latency_count{model_name="dense",API="predict",entrypoint="REST"}' in page
    assert ':tensorflow:serving:runtime_latency_bucket{model_name="dense",API="Predict",runtime="TF1",le="10"}' in page
