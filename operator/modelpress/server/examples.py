"""Classify, Regress and MultiInference: signatures that take serialized tf.Examples."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tensorflow_serving.apis import classification_pb2, inference_pb2, regression_pb2

from modelpress.server import signatures, tensors
from modelpress.server.failure import Code, Failure, invalid_argument
from modelpress.server.metrics import Metrics
from modelpress.server.servable import Array, Servable
from modelpress.server.signatures import Signature

INPUTS = "inputs"
CLASSES, SCORES, OUTPUTS = "classes", "scores", "outputs"

_KIND = {signatures.CLASSIFY: "classification", signatures.REGRESS: "regression"}


def classify(servable: Servable, request: Any, *, metrics: Metrics) -> tuple[Signature, Any]:
    """The signature used and the ClassificationResult; raises Failure."""
    signature = _signature(servable, request.model_spec.signature_name, signatures.CLASSIFY)
    outputs, count = _run(
        servable, request.input, signature, _class_outputs(signature), request.model_spec.name, "Classify", metrics
    )
    return signature, _classifications(signature, outputs, count)


def regress(servable: Servable, request: Any, *, metrics: Metrics) -> tuple[Signature, Any]:
    """The signature used and the RegressionResult; raises Failure."""
    signature = _signature(servable, request.model_spec.signature_name, signatures.REGRESS)
    outputs, count = _run(
        servable, request.input, signature, _value_output(signature), request.model_spec.name, "Regress", metrics
    )
    return signature, _regressions(signature, outputs, count)


def infer(servable: Servable, version: int, request: Any, *, metrics: Metrics) -> Any:
    """All tasks of a MultiInferenceRequest in one run; raises Failure."""
    tasks: list[tuple[Signature, Sequence[str]]] = []
    for task in request.tasks:
        if not task.model_spec.name:
            raise invalid_argument("Found ModelSpec with an empty model name.")
        if task.model_spec.name != request.tasks[0].model_spec.name:
            raise invalid_argument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        tasks.append(_task(servable, task, [signature for signature, _ in tasks]))
    names = sorted({alias_name for signature, aliases in tasks for alias_name in _names(signature, aliases)})
    first = tasks[0][0]
    if any(signature.inputs[INPUTS] != first.inputs[INPUTS] for signature, _ in tasks):
        raise invalid_argument("Input tensor must be the same for all Signatures.")
    model = request.tasks[0].model_spec.name
    by_name, count = _run_names(servable, request.input, first, names, model, "MultiInference", metrics)
    response = inference_pb2.MultiInferenceResponse()
    for signature, aliases in tasks:
        outputs = {alias: by_name[signature.outputs[alias]] for alias in aliases}
        result = response.results.add()
        result.model_spec.name, result.model_spec.signature_name = model, signature.name
        result.model_spec.version.value = version
        if signature.method == signatures.CLASSIFY:
            result.classification_result.CopyFrom(_classifications(signature, outputs, count))
        else:
            result.regression_result.CopyFrom(_regressions(signature, outputs, count))
    return response


def _task(servable: Servable, task: Any, before: Sequence[Signature]) -> tuple[Signature, Sequence[str]]:
    name = task.model_spec.signature_name or signatures.DEFAULT
    if any(signature.name == name for signature in before):
        raise invalid_argument(f"Duplicate evaluation of signature: {name}")
    signature = servable.signatures.get(name)
    if signature is None:
        raise invalid_argument(f"Requested signature not found in model graph: {name}")
    if task.method_name == signatures.CLASSIFY:
        _check_method(signature, signatures.CLASSIFY)
        return signature, _class_outputs(signature)
    if task.method_name == signatures.REGRESS:
        _check_method(signature, signatures.REGRESS)
        return signature, _value_output(signature)
    raise Failure(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")


def _signature(servable: Servable, name: str, method: str) -> Signature:
    name = name or signatures.DEFAULT
    signature = servable.signatures.get(name)
    if signature is None:
        raise invalid_argument(f"No signature was found with the name: {name}")
    _check_method(signature, method)
    return signature


def _check_method(signature: Signature, method: str) -> None:
    if signature.method != method:
        raise invalid_argument(
            f"Expected {_KIND[method]} signature method_name to be {method}. Was: {signature.method}"
        )


def _check_input(signature: Signature, kind: str) -> None:
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if INPUTS not in signature.inputs:
        raise Failure(Code.FAILED_PRECONDITION, f"No {kind} inputs found in SignatureDef: {signature.definition}")


def _class_outputs(signature: Signature) -> Sequence[str]:
    _check_input(signature, "classification")
    if len(signature.outputs) not in (1, 2):
        raise invalid_argument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    found = [alias for alias in (CLASSES, SCORES) if alias in signature.outputs]
    if not found:
        raise Failure(
            Code.FAILED_PRECONDITION,
            f'Expected classification signature outputs to contain at least one of "{CLASSES}" or "{SCORES}". '
            f"Signature was: {signature.definition}",
        )
    return found


def _value_output(signature: Signature) -> Sequence[str]:
    _check_input(signature, "regression")
    if len(signature.outputs) != 1:
        raise invalid_argument("Expected one output Tensor.")
    if OUTPUTS not in signature.outputs:
        raise Failure(Code.FAILED_PRECONDITION, f"No regression outputs found in SignatureDef: {signature.definition}")
    return (OUTPUTS,)


def _names(signature: Signature, aliases: Sequence[str]) -> Sequence[str]:
    return [signature.outputs[alias] for alias in aliases]


def _run(
    servable: Servable, given: Any, signature: Signature, aliases: Sequence[str], model: str, api: str, metrics: Metrics
) -> tuple[Mapping[str, Array], int]:
    by_name, count = _run_names(servable, given, signature, _names(signature, aliases), model, api, metrics)
    return {alias: by_name[signature.outputs[alias]] for alias in aliases}, count


def _run_names(
    servable: Servable, given: Any, signature: Signature, names: Sequence[str], model: str, api: str, metrics: Metrics
) -> tuple[Mapping[str, Array], int]:
    rows = _rows(given)
    metrics.example_counts.add(len(rows), model)
    metrics.example_total.add(model, amount=len(rows))
    began = time.perf_counter_ns()
    outputs = servable.run((signature.inputs[INPUTS],), [tensors.strings(rows)], tuple(names))
    metrics.runtime_latency.add((time.perf_counter_ns() - began) / 1000, model, api, "TF1")
    return dict(zip(names, outputs, strict=True)), len(rows)


def _rows(given: Any) -> Sequence[bytes]:
    """One serialized Example a row; a shared context goes in front of each, and parsers merge the two."""
    if given.WhichOneof("kind") == "example_list_with_context":
        shared = given.example_list_with_context.context.SerializeToString()
        rows = [shared + example.SerializeToString() for example in given.example_list_with_context.examples]
    else:
        rows = [example.SerializeToString() for example in given.example_list.examples]
    if not rows:
        raise invalid_argument("Input is empty.")
    return rows


def _classifications(signature: Signature, outputs: Mapping[str, Array], count: int) -> Any:
    classes, scores = outputs.get(CLASSES), outputs.get(SCORES)
    _check_matrix(CLASSES, classes, "DT_STRING", count)
    _check_matrix(SCORES, scores, "DT_FLOAT", count)
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise invalid_argument(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    result = classification_pb2.ClassificationResult()
    labels = classes.tolist() if classes is not None else None
    values = scores.tolist() if scores is not None else None
    width = next(matrix for matrix in (classes, scores) if matrix is not None).shape[1]
    for row in range(count):
        entry = result.classifications.add()
        for column in range(width):
            entry.classes.add(
                label=labels[row][column] if labels else "",
                score=values[row][column] if values else 0,
            )
    return result


def _check_matrix(alias: str, matrix: Array | None, dtype: str, count: int) -> None:
    if matrix is None:
        return
    if matrix.ndim != 2:
        raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(matrix)}")
    _check_type(matrix, dtype, f"Expected {alias} Tensor of {dtype}. Got: ")
    if matrix.shape[0] != count:
        raise invalid_argument(f"Expected {alias} output batch size of {count}. Got: {matrix.shape[0]}")


def _check_type(array: Array, dtype: str, text: str) -> None:
    wanted: Callable[[Any], bool] = np.dtype(np.float32).__eq__ if dtype == "DT_FLOAT" else np.dtype(object).__eq__
    if not wanted(array.dtype):
        raise invalid_argument(f"{text}DT_{tensors.name(tensors.DTYPE[array.dtype]).upper()}")


def _regressions(signature: Signature, outputs: Mapping[str, Array], count: int) -> Any:
    values = outputs[OUTPUTS]
    if not (values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1)):
        raise invalid_argument(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape(values)}"
        )
    if values.shape[0] != count:
        raise invalid_argument(f"Input batch size did not match output batch size: {count} vs. {values.shape[0]}")
    _check_type(values, "DT_FLOAT", "Expected output Tensor of DT_FLOAT.  Got: ")
    result = regression_pb2.RegressionResult()
    for value in values.ravel().tolist():
        result.regressions.add(value=value)
    return result


def _shape(array: Array) -> str:
    return "[" + ",".join(str(size) for size in array.shape) + "]"
