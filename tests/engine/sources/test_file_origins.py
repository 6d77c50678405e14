"""A table may be filled from a file that came with the model, never from another file of the machine."""

from __future__ import annotations

import re

import pytest
import tensorflow as tf
from hostile_graphs import changed, refusal

from modelpress.api.source import Source
from modelpress.compress import model
from modelpress.compress.sources import file_origins, soundness

WORDS = tf.TensorSpec([None], tf.string, "x")


class Table(tf.Module):
    def __init__(self, file):
        super().__init__()
        keys, lines = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        initializer = tf.lookup.TextFileInitializer(str(file), tf.string, keys, tf.int64, lines)
        self.table = tf.lookup.StaticHashTable(initializer, -1)

    @tf.function(input_signature=[WORDS])
    def answer(self, x):
        return {"y": self.table.lookup(x)}


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("a\nb\n")
    return path


@pytest.fixture
def saved(tmp_path, words):
    module = Table(words)
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": module.answer})
    return tmp_path / "model"


def of_tensorflow_1(folder, words, assets):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        name = tf.constant(str(words), name="file")
        table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(name, tf.string, -2, tf.int64, -1), -1, name="words"
        )
        x = tf.compat.v1.placeholder(tf.string, [None], "x")
        signature = tf.compat.v1.saved_model.predict_signature_def({"x": x}, {"y": table.lookup(x)})
        session.run(tf.compat.v1.tables_initializer())
        if assets:
            tf.compat.v1.add_to_collection(tf.compat.v1.GraphKeys.ASSET_FILEPATHS, name)
        builder = tf.compat.v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {"serving_default": signature},
            assets_collection=[name] if assets else None,
            main_op=tf.compat.v1.tables_initializer(),
        )
        builder.save()
    return folder


def test_files_that_came_with_the_model_are_read(saved, tmp_path, words):
    soundness.require_trusted(saved, Source(uri=str(saved)))
    again = tf.saved_model.load(str(saved))
    tf.saved_model.save(again, str(tmp_path / "again"), signatures=dict(again.signatures))
    older = of_tensorflow_1(tmp_path / "older", words, assets=True)
    for folder in (tmp_path / "again", older):
        assert (folder / "assets" / "words.txt").is_file()
        assert file_origins.foreign(model.meta_graph(folder)) == []


def test_a_path_in_the_graph_is_not_read(tmp_path, words):
    older = of_tensorflow_1(tmp_path / "older", words, assets=False)
    assert "(InitializeTableFromTextFileV2)" in refusal(older)
    soundness.require_trusted(older, Source(uri=str(older), trust="Code"))


def names_a_file(node, name):
    node.Clear()
    node.name, node.op = name, "Const"
    node.attr["dtype"].type = tf.string.as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto("/etc/passwd"))


def node_of(meta, operation):
    return next(node for node in meta.graph_def.node if node.op == operation)


def names_another(meta):
    (node,) = (node for node in meta.graph_def.node if node.name == "asset_path_initializer")
    names_a_file(node, node.name)
    del meta.asset_file_def[:]


def assigns_another(meta):
    names_a_file(meta.graph_def.node.add(), "other")
    node_of(meta, "AssignVariableOp").input[1] = "other"


def joins_another(meta):
    for function in meta.graph_def.library.function:
        for node in function.node_def:
            if node.op == "InitializeTableFromTextFileV2":
                join = function.node_def.add(name="join", op="StringJoin", input=[node.input[1], node.input[1]])
                join.attr["N"].i = 2
                node.input[1] = "join:output:0"


def captures_another(meta):
    (name,) = (name for name in meta.object_graph_def.concrete_functions if "initializer" in name)
    kinds = [node.WhichOneof("kind") for node in meta.object_graph_def.nodes]
    meta.object_graph_def.concrete_functions[name].bound_inputs[0] = kinds.index("constant")


def holds_another_by_another_handle(meta):
    """The variable of the asset's path, assigned once more by a handle of its own."""
    names_a_file(meta.graph_def.node.add(), "other")
    meta.graph_def.node.add().CopyFrom(node_of(meta, "VarHandleOp"))
    meta.graph_def.node[-1].name = "handle"
    again = meta.graph_def.node.add()
    again.CopyFrom(node_of(meta, "AssignVariableOp"))
    again.name, again.input[0], again.input[1] = "again", "handle", "other"
    node_of(meta, "NoOp").input.append("^again")


def is_filled_by_a_request(meta):
    """An asset's path is told to what initialises only; for a request the node holds what the file says."""
    answering = next(node for node in meta.graph_def.node if node.op == "StatefulPartitionedCall")
    names_a_file(meta.graph_def.node.add(), "other")
    meta.asset_file_def[0].tensor_info.name = "other:0"
    filling = meta.graph_def.node.add(name="filling", op="InitializeTableFromTextFileV2")
    filling.input.extend(["hash_table", "other"])
    answering.input.append("^filling")
    del meta.collection_def["saved_model_main_op"]
    meta.signature_def.pop("__saved_model_init_op", None)
    del meta.object_graph_def.nodes[:]


def takes_the_second_of_two(meta):
    """A loader tells the first output of a node; the second is what the file says."""
    names_a_file(meta.graph_def.node.add(), "file")
    both = meta.graph_def.node.add(name="two", op="IdentityN", input=["file", "file"])
    both.attr["T"].list.type.extend([tf.string.as_datatype_enum] * 2)
    meta.asset_file_def[0].tensor_info.name = "two:0"
    node_of(meta, "AssignVariableOp").input[1] = "two:1"


def changes_a_part(meta):
    """Of the variable of the path, after it was assigned."""
    names_a_file(meta.graph_def.node.add(), "other")
    part = meta.graph_def.node.add(name="part", op="ResourceStridedSliceAssign")
    part.input.extend(["Variable", "begin", "end", "strides", "other"])
    part.attr["T"].type = tf.string.as_datatype_enum
    node_of(meta, "NoOp").input.append("^part")


def is_bound_to_another_variable(meta):
    """The function reads the path itself: the graph gives the asset's variable, Python's loader another one."""
    (function,) = (one for one in meta.graph_def.library.function if "initializer" in one.signature.name)
    filling = next(node for node in function.node_def if node.op == "InitializeTableFromTextFileV2")
    read = function.node_def.add(name="read", op="ReadVariableOp", input=[filling.input[1]])
    read.attr["dtype"].type = tf.string.as_datatype_enum
    filling.input[1] = "read:value:0"
    call = next(node for node in meta.graph_def.node if "initializer" in node.attr["f"].func.name)
    call.input[0] = "Variable"


def restores_a_path(meta):
    """A function that restores is given tensors of the checkpoint."""
    kept = meta.object_graph_def.nodes[0].saveable_objects["x"]
    kinds = [list(node.function.concrete_functions) for node in meta.object_graph_def.nodes]
    place = next(index for index, names in enumerate(kinds) if any("initializer" in name for name in names))
    kept.save_function = kept.restore_function = place
    (name,) = kinds[place]
    del meta.object_graph_def.concrete_functions[name].bound_inputs[:]


def initialising(meta):
    """The node that fills the table, by a function."""
    return next(node for node in meta.graph_def.node if "initializer" in node.attr["f"].func.name)


def is_filled_while_variables_are_restored(meta):
    """Python's loader tells the checkpoint's path then, no asset's."""
    meta.saver_def.restore_op_name = initialising(meta).name


def is_filled_by_a_client(meta):
    meta.signature_def["__saved_model_init_op"].outputs["more"].name = f"{initialising(meta).name}:0"


def captures_one_more(meta):
    """What is captured is given from the front: the surplus takes the place of the asset."""
    (name,) = (name for name in meta.object_graph_def.concrete_functions if "initializer" in name)
    bound = meta.object_graph_def.concrete_functions[name].bound_inputs
    kinds = [node.WhichOneof("kind") for node in meta.object_graph_def.nodes]
    bound[:] = [*bound[:-1], kinds.index("constant"), bound[-1]]


def captures_what_an_attribute_says(meta):
    """Attributes are set of functions, too, after they got what they captured."""
    for node in meta.object_graph_def.nodes:
        if any("initializer" in name for name in node.function.concrete_functions):
            node.children.add(node_id=0, local_name="_captured_inputs")
        if "initializer" in node.bare_concrete_function.concrete_function_name:
            node.children.add(node_id=0, local_name="_captured_inputs")


def is_given_by_a_hidden_caller(meta):
    """As a gradient it gets the path from whoever asks for one."""
    name = initialising(meta).attr["f"].func.name
    meta.graph_def.library.gradient.add(function_name="f", gradient_func=name)


def shares_a_variable_without_a_name(meta):
    """Servers take all variables without a name for one."""
    node_of(meta, "VarHandleOp").attr["shared_name"].s = b""
    holds_another_by_another_handle(meta)


@pytest.mark.parametrize(
    "change",
    [
        is_filled_while_variables_are_restored,
        is_filled_by_a_client,
        captures_one_more,
        captures_what_an_attribute_says,
        is_given_by_a_hidden_caller,
        shares_a_variable_without_a_name,
        takes_the_second_of_two,
        changes_a_part,
        is_bound_to_another_variable,
        restores_a_path,
        names_another,
        assigns_another,
        joins_another,
        captures_another,
        holds_another_by_another_handle,
        is_filled_by_a_request,
    ],
)
def test_no_way_to_another_file_is_overlooked(saved, change):
    changed(saved, change)
    assert "(InitializeTableFromTextFileV2)" in refusal(saved)


def test_no_checkpoint_but_the_models_own_is_read(tmp_path):
    module = tf.Module()
    module.scale = tf.Variable([2.0], name="scale")
    answer = tf.function(lambda x: {"y": x * module.scale}, input_signature=[tf.TensorSpec([None], name="x")])
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": answer})
    soundness.require_trusted(tmp_path / "model", Source(uri="m"))

    def takes_anothers(meta):
        for function in meta.graph_def.library.function:
            for node in function.node_def:
                if node.op == "RestoreV2":
                    names_a_file(function.node_def.add(), "other")
                    node.input[0] = "other:output:0"

    changed(tmp_path / "model", takes_anothers)
    assert "(RestoreV2)" in refusal(tmp_path / "model")


def test_a_checkpoint_is_read_only_where_variables_are_restored(tmp_path):
    """While resources are made, the node of the checkpoint's path holds what the file says."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        path = tf.constant("/etc/other", name="path")
        (read,) = tf.raw_ops.RestoreV2(
            prefix=path, tensor_names=["v"], shape_and_slices=[""], dtypes=[tf.float32], name="read"
        )
        tf.compat.v1.add_to_collection("table_initializer", read.op)
        x = tf.compat.v1.placeholder(tf.float32, [None], "x")
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "model"), {"x": x}, {"y": 2 * x})

    def names_it_as_the_checkpoints(meta):
        meta.collection_def.pop("legacy_init_op", None)
        meta.saver_def.filename_tensor_name = "path:0"

    changed(tmp_path / "model", names_it_as_the_checkpoints)
    assert "(RestoreV2)" in refusal(tmp_path / "model")


def has_another_list_too(meta):
    """Where there is one, no loader looks at the collection."""
    meta.asset_file_def.add(filename="other").tensor_info.name = "x:0"


def has_an_asset_of_another_type(meta):
    meta.collection_def["saved_model_assets"].any_list.value[0].type_url = "type.googleapis.com/tensorflow.NodeDef"


@pytest.mark.parametrize("change", [has_another_list_too, has_an_asset_of_another_type])
def test_an_asset_is_what_loaders_take_for_one(tmp_path, words, change):
    older = of_tensorflow_1(tmp_path / "older", words, assets=True)
    changed(older, change)
    assert "InitializeTableFromTextFileV2" in refusal(older)


@pytest.mark.parametrize(("registered_name", "child"), [("tf.TrackableConstant", None), ("", "_path")])
def test_an_asset_is_nothing_but_a_path(saved, registered_name, child):
    """Else Python's loader makes a constant of it, or gives it the path of another file."""

    def bends(meta):
        node = next(node for node in meta.object_graph_def.nodes if node.HasField("asset"))
        node.registered_name = registered_name
        if child:
            node.children.add(node_id=0, local_name=child)

    changed(saved, bends)
    assert "(an asset that is more than its path)" in refusal(saved)


def has_a_function_without_a_name(meta):
    meta.graph_def.library.function.add().node_def.add(name="file", op="Const")


def has_two_functions_of_a_name(meta):
    meta.graph_def.library.function.add().CopyFrom(meta.graph_def.library.function[0])


def has_two_nodes_of_a_name(meta):
    meta.graph_def.node.add().CopyFrom(meta.graph_def.node[0])


def has_a_node_without_a_name(meta):
    meta.graph_def.node.add(op="Const")


def takes_attributes_of_callers(meta):
    node_def = meta.graph_def.library.function[0].node_def
    node_def.add(name="free", op="VarHandleOp").attr["shared_name"].placeholder = "name"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (has_a_function_without_a_name, "(1 functions '')"),
        (has_two_functions_of_a_name, "(2 functions "),
        (has_two_nodes_of_a_name, "(2 nodes "),
        (has_a_node_without_a_name, "(a node without a name)"),
        (takes_attributes_of_callers, "with attributes of its callers)"),
    ],
)
def test_a_graph_that_cannot_be_followed_by_names_is_not_trusted(saved, change, message):
    changed(saved, change)
    assert message in refusal(saved)


@pytest.mark.parametrize("collection", ["table_initializer", "local_variables"])
def test_what_python_runs_of_older_models_is_looked_at(tmp_path, words, collection):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        write = tf.io.write_file(str(tmp_path / "written"), "by the loader")
        if collection == "local_variables":
            with tf.control_dependencies([write]):
                first = tf.constant(1.0)
            tf.compat.v1.get_variable("v", initializer=first, collections=[collection], use_resource=True)
        else:
            tf.compat.v1.add_to_collection(collection, write)
        x = tf.compat.v1.placeholder(tf.float32, [None], "x")
        session.run(tf.compat.v1.local_variables_initializer())
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "model"), {"x": x}, {"y": 2 * x})
    changed(tmp_path / "model", lambda meta: meta.collection_def.pop("legacy_init_op", None))
    assert "(WriteFile)" in refusal(tmp_path / "model")
    changed(tmp_path / "model", lambda meta: meta.collection_def.pop(collection))
    assert file_origins.foreign(model.meta_graph(tmp_path / "model")) == []


def test_input_pipelines_that_were_exported_along_may_read_what_they_are_given(tmp_path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        queue = tf.queue.FIFOQueue(10, tf.string, shapes=[[]])
        tf.io.decode_raw(tf.io.read_file(queue.dequeue()), tf.uint8)
        tf.io.decode_raw(tf.io.read_file(tf.compat.v1.placeholder(tf.string, [])), tf.uint8)
        x = tf.compat.v1.placeholder(tf.float32, [None], "x")
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "model"), {"x": x}, {"y": 2 * x})
    assert file_origins.foreign(model.meta_graph(tmp_path / "model")) == []


def test_a_graph_that_breaks_off_is_not_trusted(saved):
    def breaks_off(meta):
        for function in meta.graph_def.library.function:
            for node in function.node_def:
                if node.op.startswith("InitializeTableFromTextFile"):
                    del node.input[:]

    changed(saved, breaks_off)
    assert "(it cannot be followed" in refusal(saved)


@pytest.mark.parametrize("name", ["/etc/passwd", "../../secret", "gs://there/it"])
def test_an_asset_lies_within_the_model(saved, name):
    changed(saved, lambda meta: setattr(meta.asset_file_def[0], "filename", name))
    assert re.search(rf"\(the asset {re.escape(name)}\)", refusal(saved))


def test_functions_that_save_run_while_a_model_is_loaded(saved):
    def writes(meta):
        kinds = [list(node.function.concrete_functions) for node in meta.object_graph_def.nodes]
        place = next(index for index, names in enumerate(kinds) if any("destroyer" in name for name in names))
        (name,) = kinds[place]
        meta.object_graph_def.nodes[0].saveable_objects["x"].save_function = place
        for node in meta.object_graph_def.nodes:
            for child in node.children:
                if child.local_name == "_destroy_resource":
                    child.local_name = "another"
        (function,) = (one for one in meta.graph_def.library.function if one.signature.name == name)
        function.node_def.add(name="write", op="WriteFile")

    changed(saved, writes)
    assert "(WriteFile)" in refusal(saved)
