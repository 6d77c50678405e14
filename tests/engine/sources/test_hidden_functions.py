"""A model touches no file of the machine, whoever runs its functions: each is looked at before anything is loaded."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import tensorflow as tf
from hostile_graphs import changed, refusal
from tensorflow.python.framework import c_api_util

from modelpress.api.source import Source
from modelpress.compress import model
from modelpress.compress.sources import file_operations, soundness

NUMBERS = tf.TensorSpec([None, 2], tf.float32, "x")
ROWS = {"x": np.ones((1, 2), np.float32)}


class TwoFaced(tf.Module):
    """What it answers, and what it would write if somebody called it."""

    def __init__(self, target):
        super().__init__()
        self.target = str(target)

    @tf.function(input_signature=[NUMBERS])
    def answer(self, x):
        return {"y": x * 2}

    @tf.function(input_signature=[NUMBERS])
    def answer_otherwise(self, x):
        tf.io.write_file(self.target, "owned")
        return {"y": x * 2}

    @tf.function(input_signature=[])
    def write(self):
        tf.io.write_file(self.target, "owned")


@pytest.fixture
def target(tmp_path):
    return tmp_path / "written"


@pytest.fixture
def saved(tmp_path, target):
    module = TwoFaced(target)
    path = tmp_path / "model"
    both = {"serving_default": module.answer, "otherwise": module.answer_otherwise}
    tf.saved_model.save(module, str(path), signatures=both)
    return path


def child(node, name):
    return next(one for one in node.children if one.local_name == name)


def answers_otherwise_in_python(meta):
    """The graph's signature is the harmless one; the object's is the other."""
    objects = meta.object_graph_def.nodes
    signatures = objects[child(objects[0], "signatures").node_id]
    child(signatures, "serving_default").node_id = child(signatures, "otherwise").node_id
    signatures.children.remove(child(signatures, "otherwise"))
    del meta.signature_def["otherwise"]
    root = objects[0].children
    for name in ("answer_otherwise", "write"):
        root.remove(child(objects[0], name))


def bears_the_name_of_a_method(meta):
    """The loader calls it of each object that it restores."""
    del meta.signature_def["otherwise"]
    child(meta.object_graph_def.nodes[0], "write").local_name = "_maybe_initialize_trackable"


@pytest.mark.parametrize("change", [answers_otherwise_in_python, bears_the_name_of_a_method])
def test_what_only_python_runs_writes_no_file(saved, target, change):
    changed(saved, change)
    assert "(WriteFile)" in refusal(saved)
    assert not target.exists()
    model.OpenedModel(saved, ("serving_default",)).call("serving_default", ROWS)
    assert target.read_text() == "owned", "the file would have been written"


def test_a_graph_within_a_constant_reads_no_file(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("of the machine")
    inner = tf.data.Dataset.from_tensors(str(secret)).map(tf.io.read_file)._as_serialized_graph().numpy()

    def reads(x):
        nothing = tf.strings.substr(tf.strings.as_string(x[0, 0]), 0, 0)  # else it would be folded, which fails
        dataset = tf.raw_ops.DatasetFromGraph(graph_def=inner + nothing)
        (text,) = tf.raw_ops.DatasetToSingleElement(
            dataset=dataset, output_types=[tf.string], output_shapes=[tf.TensorShape([])]
        )
        return {"y": text}

    path = tmp_path / "model"
    tf.saved_model.save(tf.Module(), str(path), signatures=tf.function(reads, input_signature=[NUMBERS]))
    assert "(DatasetFromGraph)" in refusal(path)
    assert model.OpenedModel(path, ("serving_default",)).call("serving_default", ROWS)["y"] == b"of the machine"


def test_a_constant_is_not_a_file(tmp_path):
    (tmp_path / "secret").write_bytes(np.float32([3, 4]).tobytes())

    def reads(x):
        kept = tf.raw_ops.ImmutableConst(dtype=tf.float32, shape=[2], memory_region_name=str(tmp_path / "secret"))
        return {"y": x + kept}

    path = tmp_path / "model"
    tf.saved_model.save(tf.Module(), str(path), signatures=tf.function(reads, input_signature=[NUMBERS]))
    assert "(ImmutableConst)" in refusal(path)
    answered = model.OpenedModel(path, ("serving_default",)).call("serving_default", ROWS)["y"]
    assert answered.tolist() == [[4, 5]], "the file would have been read"


def test_messages_are_described_by_the_graph_not_by_a_file(tmp_path):
    def decodes(source):
        return lambda x: {
            "y": tf.raw_ops.DecodeProtoV2(
                bytes=tf.strings.as_string(x),
                message_type="tensorflow.Example",
                field_names=[],
                output_types=[],
                descriptor_source=source,
            ).sizes
        }

    module = tf.Module()
    for name, source in (("own", "local://"), ("other", "/etc/descriptors")):
        function = tf.function(decodes(source), input_signature=[NUMBERS])
        tf.saved_model.save(module, str(tmp_path / name), signatures=function)
    soundness.require_trusted(tmp_path / "own", Source(uri="own"))
    assert "(DecodeProtoV2)" in refusal(tmp_path / "other")


def is_a_gradient(meta, name):
    meta.graph_def.library.gradient.add(function_name="answer", gradient_func=name)


def is_a_registered_gradient(meta, name):
    meta.graph_def.library.registered_gradients.add(gradient_func=name, registered_op_type="CustomGradient-1")


def is_called_by_nobody(meta, name):
    pass


@pytest.mark.parametrize("hidden", [is_a_gradient, is_a_registered_gradient, is_called_by_nobody])
@pytest.mark.parametrize("operation", ["WriteFile", "SaveV2", "RestoreV2"])
def test_functions_that_no_node_names_are_looked_at(saved, hidden, operation):
    def hides(meta):
        answers_otherwise_in_python(meta)
        objects = meta.object_graph_def.nodes
        signatures = objects[child(objects[0], "signatures").node_id]
        child(signatures, "serving_default").node_id = child(objects[0], "answer").node_id
        for function in meta.graph_def.library.function:
            for node in function.node_def:
                if node.op == "WriteFile":
                    node.op = operation
                    hidden(meta, function.signature.name)

    changed(saved, hides)
    assert f"({operation})" in refusal(saved)


def test_a_saver_may_save_only_where_nothing_else_runs_it(tmp_path):
    module = tf.Module()
    module.scale = tf.Variable([2.0], name="scale")
    answer = tf.function(lambda x: {"y": x * module.scale}, input_signature=[NUMBERS])
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=answer)
    soundness.require_trusted(tmp_path / "model", Source(uri="m"))

    def takes_the_place_of_another(meta):
        for function in meta.graph_def.library.function:
            if any(node.op == "SaveV2" for node in function.node_def):
                function.attr["api_implements"].s = b"saves"

    changed(tmp_path / "model", takes_the_place_of_another)
    assert "SaveV2" in refusal(tmp_path / "model")


OF_THE_INTERPRETER = {"TFLite_Detection_PostProcess", "UnidirectionalSequenceLstm", "UnidirectionalSequenceRnn"}
"""They are there once a TFLite model was run in the process, and compute only."""


def registered():
    """Operations that a graph may hold; those of TensorFlow's own begin with `_`."""
    found = c_api_util.ApiDefMap()
    names = {name for name in found.op_names() if not name.startswith("_")} - OF_THE_INTERPRETER
    return {name: found.get_op_def(name) for name in names}


def test_operations_are_called_as_tensorflow_calls_them():
    known = registered()
    assert {*file_operations.NAMES, *file_operations.IN_MEMORY, *file_operations.SAVING} <= known.keys()
    assert {name for name in file_operations.IN_MEMORY if not known[name].is_stateful} == set()


def test_operations_that_name_a_file_are_none_that_only_compute():
    """Those that have state are refused unless they are listed; of the others their arguments tell."""
    words = "address descriptor dir directory file filename filenames graph module path prefix region url urls"
    suspicious, known = set(words.split()), {*file_operations.NAMES, *file_operations.FILLING, "XlaCallModule"}
    found = {
        name
        for name, definition in registered().items()
        if name not in known and (not definition.is_stateful or name in file_operations.IN_MEMORY)
        for part in (*definition.input_arg, *definition.attr)
        if suspicious & set(part.name.split("_"))
    }
    assert found == set()


def test_a_new_tensorflows_operations_are_decided_on():
    """Stateless ones compute only, and stateful ones are listed or refused: look through those that have come."""
    stateless = sorted(name for name, definition in registered().items() if not definition.is_stateful)
    seen = hashlib.sha256("\n".join(stateless).encode()).hexdigest()
    assert seen == "076add876d2e5daf38f69c9545b783712325f5b40208b3c1afd1b88aae749c59"
