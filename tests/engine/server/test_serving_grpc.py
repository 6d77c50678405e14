"""The gRPC API, with the official stubs as clients."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

pytestmark = pytest.mark.xdist_group("server")

ROW = np.array([[1, 0, 0, 0]], np.float32)


def request(model: str, signature: str = "", **inputs):
    found = predict_pb2.PredictRequest()
    found.model_spec.name, found.model_spec.signature_name = model, signature
    for alias, value in inputs.items():
        found.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return found


def arrays(response):
    return {alias: tf.make_ndarray(proto) for alias, proto in response.outputs.items()}


def fails(call, message):
    with pytest.raises(grpc.RpcError) as caught:
        call(message, timeout=60)
    return caught.value.code().name, caught.value.details()


def test_the_answer_names_the_version_that_gave_it(server):
    response = server.predict("dense", x=ROW)
    assert response.model_spec.name == "dense"
    assert response.model_spec.version.value == 2
    assert response.model_spec.signature_name == "serving_default"
    np.testing.assert_allclose(arrays(response)["y"], [[10, 20, 30]])


@pytest.mark.parametrize(("field", "value"), [("version", 1), ("version_label", "stable")])
def test_a_version_can_be_asked_for_by_number_or_label(server, field, value):
    message = request("dense", x=ROW)
    if field == "version":
        message.model_spec.version.value = value
    else:
        message.model_spec.version_label = value
    response = server.prediction.Predict(message, timeout=60)
    assert response.model_spec.version.value == 1
    np.testing.assert_allclose(arrays(response)["y"], [[1, 2, 3]])


def test_outputs_travel_in_typed_fields(server):
    assert list(server.predict("dense", x=ROW).outputs["y"].float_val) == [10, 20, 30]


def test_typed_fields_and_raw_content_are_the_same_input(server):
    message = request("dense")
    proto = message.inputs["x"]
    proto.dtype = tf.float32.as_datatype_enum
    proto.tensor_shape.dim.add().size = 200
    proto.tensor_shape.dim.add().size = 4
    values = np.arange(800, dtype=np.float32)
    proto.float_val.extend(values.tolist())
    typed = arrays(server.prediction.Predict(message, timeout=60))["y"]
    raw = arrays(server.predict("dense", x=values.reshape(200, 4)))["y"]
    np.testing.assert_array_equal(typed, raw)


def test_a_short_typed_field_repeats_its_last_value(server):
    message = request("dense")
    proto = message.inputs["x"]
    proto.dtype = tf.float32.as_datatype_enum
    proto.tensor_shape.dim.add().size = 1
    proto.tensor_shape.dim.add().size = 4
    proto.float_val.extend([1.0, 0.5])
    np.testing.assert_allclose(arrays(server.prediction.Predict(message, timeout=60))["y"], [[115, 140, 165]])


def test_output_filter_selects_and_orders(server):
    message = request("many", a=np.ones((1, 2), np.float32), b=np.array([4], np.int32))
    message.output_filter.append("twice")
    assert {
        alias: array.tolist() for alias, array in arrays(server.prediction.Predict(message, timeout=60)).items()
    } == {"twice": [8]}


def test_strings_go_through_lookup_tables(server):
    outputs = arrays(server.predict("text", word=np.array([b"dog", b"cat", b"cow\x00"], object)))
    assert outputs["number"].tolist() == [8, 7, -1]
    assert outputs["word"].tolist() == [b"dog", b"cat", b"cow\x00"]


def test_every_type_comes_back_as_it_went(server):
    given = {
        "f64": np.array([0.1], np.float64),
        "i8": np.array([-3], np.int8),
        "u8": np.array([200], np.uint8),
        "i16": np.array([-300], np.int16),
        "i64": np.array([-(2**40)], np.int64),
        "u32": np.array([2**32 - 1], np.uint32),
        "u64": np.array([2**64 - 1], np.uint64),
        "flag": np.array([True]),
    }
    outputs = arrays(server.predict("many", "types", **given))
    for alias, array in given.items():
        assert outputs[alias].dtype == array.dtype
        np.testing.assert_array_equal(outputs[alias], array)


def test_half_precision_travels_over_grpc(server):
    outputs = arrays(server.predict("many", "half", x=np.array([1.5], np.float16)))
    assert outputs["y"].dtype == np.float16
    assert outputs["y"].tolist() == [3]


@pytest.mark.parametrize(
    ("message", "code", "details"),
    [
        (predict_pb2.PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (request(""), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (request("nope"), "NOT_FOUND", "Servable not found for request: Latest(nope)"),
        (request("dense", "other"), "FAILED_PRECONDITION", 'Serving signature key "other" not found.'),
        (
            request("many", a=np.ones((1, 2), np.float32)),
            "INVALID_ARGUMENT",
            "input size does not match signature: 1!=2 len({a}) != len({a,b}). Sent extra: {}. "
            "Missing but required: {b}.",
        ),
        (
            request("dense", z=ROW),
            "INVALID_ARGUMENT",
            "Signature input alias: x(feed name: serving_default_x:0) not found in request and no default value "
            "provided. Inputs expected to be in the request {z}, or default input alias set: ",
        ),
    ],
)  # fmt: skip
def test_predict_fails_in_tensorflow_servings_words(server, message, code, details):
    assert fails(server.prediction.Predict, message) == (code, details)


def test_a_version_that_is_not_there_is_not_found(server):
    message = request("dense", x=ROW)
    message.model_spec.version.value = 9
    assert fails(server.prediction.Predict, message) == (
        "NOT_FOUND",
        "Servable not found for request: Specific(dense, 9)",
    )


def test_a_label_that_is_not_there_is_an_invalid_argument(server):
    message = request("dense", x=ROW)
    message.model_spec.version_label = "canary"
    assert fails(server.prediction.Predict, message) == (
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: canary",
    )


@pytest.mark.parametrize(
    ("names", "details"),
    [
        (["z"], "output tensor alias not found in signature: z Outputs expected to be in the set {y}."),
        (["y", "y"], "duplicate output tensor alias: y"),
    ],
)
def test_a_wrong_output_filter_is_refused(server, names, details):
    message = request("dense", x=ROW)
    message.output_filter.extend(names)
    assert fails(server.prediction.Predict, message) == ("INVALID_ARGUMENT", details)


def test_a_tensor_that_contradicts_itself_is_a_parsing_error(server):
    message = request("dense", x=ROW)
    message.inputs["x"].tensor_content = b"123"
    assert fails(server.prediction.Predict, message) == ("INVALID_ARGUMENT", "tensor parsing error: x")


@pytest.mark.parametrize("value", [np.ones((1, 5), np.float32), np.ones((1, 4), np.int32)])
def test_the_graph_refuses_wrong_shapes_and_types(server, value):
    code, details = fails(server.prediction.Predict, request("dense", x=value))
    assert code == "INVALID_ARGUMENT"
    assert details


def test_errors_are_cut_at_1024_characters(server):
    code, details = fails(server.prediction.Predict, request("x" * 2000))
    assert code == "NOT_FOUND"
    assert len(details) == 1024


def with_examples(message, *values, signature="", context=None):
    message.model_spec.name, message.model_spec.signature_name = "examples", signature
    return fill(message, *values, context=context)


def fill(message, *values, context=None):
    target = message.input.example_list
    if context is not None:
        target = message.input.example_list_with_context
        target.context.features.feature["bias"].float_list.value.append(context)
    for value in values:
        target.examples.add().features.feature["x"].float_list.value.append(value)
    return message


def test_classify_gives_labels_and_scores(server):
    message = with_examples(classification_pb2.ClassificationRequest(), 0.25, 0.5, signature="classify")
    response = server.prediction.Classify(message, timeout=60)
    rows = [[(c.label, c.score) for c in entry.classes] for entry in response.result.classifications]
    assert rows == [[("low", 0.5), ("high", 0.5)], [("low", 1.0), ("high", 0.0)]]
    assert response.model_spec.version.value == 1


def test_classify_without_labels_gives_scores(server):
    message = with_examples(classification_pb2.ClassificationRequest(), 0.25, signature="scores")
    response = server.prediction.Classify(message, timeout=60)
    assert [(c.label, c.score) for c in response.result.classifications[0].classes] == [("", 0.5), ("", 0.5)]


def test_regress_merges_the_context_into_every_example(server):
    message = with_examples(regression_pb2.RegressionRequest(), 1, 2, context=0.5)
    response = server.prediction.Regress(message, timeout=60)
    assert [entry.value for entry in response.result.regressions] == [2.5, 4.5]
    assert response.model_spec.signature_name == "serving_default"


@pytest.mark.parametrize(
    ("signature", "code", "text"),
    [
        ("other", "INVALID_ARGUMENT", "No signature was found with the name: other"),
        (
            "predict",
            "INVALID_ARGUMENT",
            "Expected classification signature method_name to be tensorflow/serving/classify. "
            "Was: tensorflow/serving/predict",
        ),
        ("flat", "INVALID_ARGUMENT", "Expected Tensor shape: [batch_size num_classes] but got [1]"),
        ("numbers", "INVALID_ARGUMENT", "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
        ("none", "FAILED_PRECONDITION", "Expected classification signature outputs to contain at least one of"),
    ],
)
def test_classify_refuses_signatures_that_are_not_for_it(server, signature, code, text):
    message = with_examples(classification_pb2.ClassificationRequest(), 1, signature=signature)
    found, details = fails(server.prediction.Classify, message)
    assert found == code
    assert details.startswith(text)


@pytest.mark.parametrize(
    ("signature", "code", "text"),
    [
        (
            "classify",
            "INVALID_ARGUMENT",
            "Expected regression signature method_name to be tensorflow/serving/regress. "
            "Was: tensorflow/serving/classify",
        ),
        (
            "wide",
            "INVALID_ARGUMENT",
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]",
        ),
        ("named", "FAILED_PRECONDITION", "No regression inputs found in SignatureDef: "),
        ("first", "INVALID_ARGUMENT", "Input batch size did not match output batch size: 2 vs. 1"),
    ],
)
def test_regress_refuses_signatures_that_are_not_for_it(server, signature, code, text):
    message = with_examples(regression_pb2.RegressionRequest(), 1, 2, signature=signature)
    found, details = fails(server.prediction.Regress, message)
    assert found == code
    assert details.startswith(text)


def test_no_examples_is_an_invalid_argument(server):
    message = with_examples(regression_pb2.RegressionRequest())
    assert fails(server.prediction.Regress, message) == ("INVALID_ARGUMENT", "Input is empty.")


def multi(*tasks):
    message = inference_pb2.MultiInferenceRequest()
    for model, signature, method in tasks:
        task = message.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = model, signature
    return fill(message, 0.25)


def test_multi_inference_answers_each_task_in_one_run(server):
    message = multi(("examples", "classify", "classify"), ("examples", "", "regress"))
    response = server.prediction.MultiInference(message, timeout=60)
    first, second = response.results
    assert [c.label for c in first.classification_result.classifications[0].classes] == ["low", "high"]
    assert second.regression_result.regressions[0].value == 0.5
    assert second.model_spec.signature_name == "serving_default"
    assert second.model_spec.version.value == 1


@pytest.mark.parametrize(
    ("tasks", "code", "details"),
    [
        (
            [("examples", "classify", "classify"), ("", "", "regress")],
            "INVALID_ARGUMENT",
            "Found ModelSpec with an empty model name.",
        ),
        (
            [("examples", "classify", "classify"), ("dense", "", "regress")],
            "INVALID_ARGUMENT",
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            [("examples", "", "regress"), ("examples", "serving_default", "regress")],
            "INVALID_ARGUMENT",
            "Duplicate evaluation of signature: serving_default",
        ),
        (
            [("examples", "other", "regress")],
            "INVALID_ARGUMENT",
            "Requested signature not found in model graph: other",
        ),
        (
            [("examples", "predict", "predict")],
            "UNIMPLEMENTED",
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
    ],
)
def test_multi_inference_refuses_in_tensorflow_servings_words(server, tasks, code, details):
    assert fails(server.prediction.MultiInference, multi(*tasks)) == (code, details)


def test_metadata_has_every_signature(server):
    message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    message.model_spec.name = "many"
    response = server.prediction.GetModelMetadata(message, timeout=60)
    found = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(found)
    assert set(found.signature_def) >= {"serving_default", "scalar", "half"}
    assert response.model_spec.version.value == 1


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["weights"], "Metadata field weights is not supported"),
    ],
)
def test_metadata_fields_are_checked(server, fields, details):
    message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    message.model_spec.name = "many"
    assert fails(server.prediction.GetModelMetadata, message) == ("INVALID_ARGUMENT", details)


def status_request(model, version=None):
    message = get_model_status_pb2.GetModelStatusRequest()
    message.model_spec.name = model
    if version is not None:
        message.model_spec.version.value = version
    return message


def test_status_lists_versions(server):
    response = server.models.GetModelStatus(status_request("dense"), timeout=60)
    states = get_model_status_pb2.ModelVersionStatus.State
    assert [(entry.version, states.Name(entry.state)) for entry in response.model_version_status] == [
        (2, "AVAILABLE"),
        (1, "AVAILABLE"),
    ]


@pytest.mark.parametrize(
    ("model", "version", "details"),
    [
        ("nope", None, "Could not find any versions of model nope"),
        ("dense", 9, "Could not find version 9 of model dense"),
    ],
)
def test_status_of_the_unknown_is_not_found(server, model, version, details):
    assert fails(server.models.GetModelStatus, status_request(model, version)) == ("NOT_FOUND", details)


def test_reload_without_a_list_is_refused(server):
    code, details = fails(server.models.HandleReloadConfigRequest, model_management_pb2.ReloadConfigRequest())
    assert code == "INVALID_ARGUMENT"
    assert details.endswith("Only ModelConfigList is currently supported")


@pytest.mark.parametrize(
    ("entries", "code", "details"),
    [
        (
            [("a", "/a", "tensorflow"), ("a", "/a", "tensorflow")],
            "INVALID_ARGUMENT",
            "Illegal to list model a multiple times in config list",
        ),
        (
            [("a", "relative", "tensorflow")],
            "INVALID_ARGUMENT",
            "Expected model a to have an absolute path or URI; got base_path()=relative",
        ),
        ([("a", "/a", "caffe")], "INVALID_ARGUMENT", "Model a requests unsupported platform caffe"),
    ],
)
def test_reload_refuses_bad_lists_and_changes_nothing(server, entries, code, details):
    message = model_management_pb2.ReloadConfigRequest()
    for name, path, platform in entries:
        message.config.model_config_list.config.add(name=name, base_path=path, model_platform=platform)
    assert fails(server.models.HandleReloadConfigRequest, message) == (code, details)
    assert server.predict("dense", x=ROW).model_spec.version.value == 2


def test_the_same_api_is_on_the_unix_socket(server):
    with grpc.insecure_channel(server.grpc_socket) as channel:
        call = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            request_serializer=predict_pb2.PredictRequest.SerializeToString,
            response_deserializer=predict_pb2.PredictResponse.FromString,
        )
        assert call(request("dense", x=ROW), timeout=60).model_spec.version.value == 2


@pytest.mark.parametrize(("service", "answer"), [("", b"\x08\x01"), ("PredictionService", b"\x08\x01"), ("x", None)])
def test_health_is_serving_once_the_port_is_open(server, service, answer):
    with grpc.insecure_channel(server.grpc_address) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        raw = b"\x0a" + bytes([len(service)]) + service.encode()
        if answer is None:
            with pytest.raises(grpc.RpcError) as caught:
                check(raw, timeout=60)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        else:
            assert check(raw, timeout=60) == answer
