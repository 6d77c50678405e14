"""Filters go, networks get smaller, and answer as if those filters had been silent."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from modelpress.api.errors import Invalid
from modelpress.compress import graph, savedmodel
from modelpress.compress.examples import Examples
from modelpress.compress.model import OpenedModel
from modelpress.compress.steps.filters import comparison, groups, rebuild

SIGNATURE = "serving_default"


def inputs(opened, rows=5):
    """Random rows; any size is 7."""
    random = np.random.default_rng(2)
    found = {}
    for name, tensor in opened.signatures[SIGNATURE].inputs.items():
        shape = [rows, *(size or 7 for size in tensor.shape[1:])]
        found[name] = (
            random.integers(0, 50, shape).astype("i4") if tensor.dtype == "int32" else random.uniform(-1, 1, shape)
        )
    return {name: value.astype("f4") if value.dtype.kind == "f" else value for name, value in found.items()}


def shapes(opened):
    """Variable -> its shape, without the names that Keras numbers."""
    return {variable.name.split(":")[0]: tuple(variable.shape) for variable in opened.variables()}


def weights_of(opened):
    return sum(int(np.prod(variable.shape)) for variable in opened.variables())


def refusal(action):
    with pytest.raises(Invalid) as refused:
        action()
    return refused.value


def silence(source, rebuilt):
    """Sets to zero what makes the lost filters in the source: they are known by the values of their vectors."""
    left = {variable.name: variable.numpy() for variable in rebuilt.variables()}
    variables = {variable.name: variable for variable in source.variables()}
    for name, variable in variables.items():
        value = variable.numpy()
        if value.ndim != 1 or value.shape == left[name].shape:
            continue
        lost = ~np.isin(value, left[name])
        assert lost.sum() == value.size - left[name].size
        variable.assign(np.where(lost, 0, value).astype(value.dtype))
        kernel = variables.get(name.replace("/bias:", "/kernel:"))
        if kernel is not None and kernel is not variable:
            kernel.assign(np.where(lost, 0, kernel.numpy()).astype(value.dtype))


@pytest.mark.parametrize("net", ["residual", "concatenated"])
def test_a_rebuilt_network_answers_as_the_original_does_without_these_filters(prune, net):
    done = prune(net, sparsity=0.4)
    assert weights_of(done.rebuilt) < 0.6 * weights_of(done.source)
    fed = inputs(done.source)
    (before,) = done.source.call(SIGNATURE, fed).values()
    silence(done.source, done.rebuilt)
    (silent,), (rebuilt,) = (one.call(SIGNATURE, fed).values() for one in (done.source, done.rebuilt))
    np.testing.assert_allclose(rebuilt, silent, rtol=0, atol=1e-5)
    assert np.abs(before - rebuilt).max() > 1e-3, "the filters mattered"


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (
            "inverted",
            {"first/kernel": (1, 1, 4, 12), "first_depthwise/kernel": (3, 3, 12, 1), "stem/kernel": (3, 3, 3, 4)},
        ),
        ("squeezed", {"first/kernel": (3, 3, 3, 8), "depthwise/kernel": (3, 3, 8, 2), "excite/kernel": (8, 4)}),
        ("unet", {"up/kernel": (2, 2, 4, 8), "mask/kernel": (1, 1, 4, 2), "kind/kernel": (8, 5)}),
        ("decoder", {"seed/kernel": (8, 128), "up/kernel": (3, 3, 4, 8)}),
        ("gated", {"table/embeddings": (50, 8), "gates/kernel": (8, 16), "probs/kernel": (8, 3)}),
        ("attention", {"attention/query/kernel": (32, 2, 8), "attention/value/bias": (2, 8), "inner/kernel": (32, 32)}),
        ("older_attention", {"inner/kernel": (32, 32)}),
        ("bert", {"query": (32, 16), "mixed": (16, 32), "inner": (32, 32), "outer": (32, 16), "head": (16, 3)}),
        ("recurrent", {"inner/kernel": (16, 16), "probs/kernel": (16, 3)}),
    ],
)
def test_whatever_ties_channels_together_they_go_together(prune, net, expected):
    done = prune(net, sparsity=0.5)
    found = shapes(done.rebuilt)
    assert {name: found[name] for name in expected} == expected
    assert done.rebuilt.signatures == done.source.signatures
    before, after = (one.call(SIGNATURE, inputs(one, rows=3)) for one in (done.source, done.rebuilt))
    assert {name: value.shape for name, value in before.items()} == {name: value.shape for name, value in after.items()}


def test_what_no_rule_understands_keeps_its_channels_and_is_told(prune):
    done = prune("recurrent", sparsity=0.5)
    assert shapes(done.rebuilt)["loop/lstm_cell/kernel"] == shapes(done.source)["loop/lstm_cell/kernel"]
    assert "table/embeddings (TensorListFromTensor" in done.changed.note


def test_kernels_inside_loops_stay_whole_and_are_named_with_the_reason(prune):
    done = prune("recurrent", sparsity=0.5, at="all")
    assert "loop/lstm_cell/kernel (While loop" in done.changed.note
    (warning,) = done.changed.warnings
    assert "loop/lstm_cell/kernel, loop/lstm_cell/recurrent_kernel (2,048 weights) stayed whole" in warning
    assert prune("recurrent", sparsity=0.5, at="known", exclude_layers=("^loop/",)).changed.warnings == ()


def test_heads_go_whole(prune):
    done = prune("bert", sparsity=0.5)
    before, after = ({one.name: one.numpy() for one in opened.variables()} for opened in (done.source, done.rebuilt))
    heads = before["query:0"].reshape(32, 4, 8)
    kept = [
        head for head in range(4) if (heads[:, head] == after["query:0"].reshape(32, 2, 8)[:, [0]].squeeze(1)).all()
    ]
    assert len(kept) == 1, "the first head that is left is one of the old ones, whole"
    assert np.array_equal(before["mixed:0"].reshape(4, 8, 32)[kept[0]], after["mixed:0"].reshape(2, 8, 32)[0])


def test_excluded_layers_stay_whole(prune):
    done = prune("attention", sparsity=0.5, exclude_layers=("^attention/",))
    assert shapes(done.rebuilt)["attention/query/kernel"] == (32, 4, 8)
    assert shapes(done.rebuilt)["inner/kernel"] == (32, 32)


def test_an_expression_that_matches_no_layer_is_refused(prune):
    error = refusal(lambda: prune("inverted", sparsity=0.5, exclude_layers=("^haed/",)))
    assert (error.reason, error.field) == ("UnknownLayer", "spec.recipe.steps[0].prune.excludeLayers")


class _OnlyOutputs(tf.Module):
    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(tf.ones([4, 8]), name="kernel")

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])
    def serve(self, x):
        return {"y": x @ self.kernel}


class _Table(tf.Module):
    def __init__(self):
        super().__init__()
        keys = tf.lookup.KeyValueTensorInitializer(tf.constant(["a"]), tf.constant([1.0]))
        self.table = tf.lookup.StaticHashTable(keys, 0.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "word")])
    def serve(self, word):
        return {"y": self.table.lookup(word)}


@pytest.mark.parametrize(
    ("module", "why"), [(_OnlyOutputs, "kernel (it reaches an output)"), (_Table, "lookup tables")]
)
def test_a_network_that_cannot_get_smaller_is_refused_with_the_reason(prune, tmp_path, module, why):
    tf.saved_model.save(module(), str(tmp_path / "model"))
    error = refusal(lambda: prune(tmp_path / "model", sparsity=0.5))
    assert (error.reason, error.field) == ("StepCannotApply", "spec.recipe.steps[0].prune.structure")
    assert why in error.message
    assert "Unstructured" in error.message


def test_equal_models_become_equal_bytes(prune):
    first, second = (prune("concatenated", sparsity=0.3, at=at).directory for at in ("first", "second"))
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert len(files) == 3
    assert all((first / path).read_bytes() == (second / path).read_bytes() for path in files)


def test_zeros_of_earlier_steps_are_known_in_the_smaller_model(prune, nets):
    source = OpenedModel(nets("inverted"), (SIGNATURE,))
    masks = {
        place: np.abs(variable.numpy()) > 0.05
        for place, variable in enumerate(source.variables())
        if len(variable.shape) == 4
    }
    done = prune("inverted", sparsity=0.5, masks=masks)
    variables = done.rebuilt.variables()
    assert len(done.changed.masks) == len(masks)
    for place, mask in done.changed.masks.items():
        assert np.array_equal(mask, np.abs(variables[place].numpy()) > 0.05)


def test_a_model_without_variables_gets_its_weights_back_as_variables(prune, nets, tmp_path):
    constant = graph.freeze(OpenedModel(nets("concatenated"), (SIGNATURE,)))
    (tmp_path / "frozen").mkdir()
    savedmodel.write(constant, tmp_path / "frozen")
    done = prune(tmp_path / "frozen", sparsity=0.5)
    assert not done.source.variables()
    assert all(variable.trainable for variable in done.rebuilt.variables())
    assert weights_of(done.rebuilt) > 0


def test_a_rebuilt_graph_that_answers_otherwise_is_found_out(nets):
    opened = OpenedModel(nets("concatenated"), (SIGNATURE,))
    frozen = graph.freeze(opened, merge_weights=False)
    channels = groups.analysed(frozen)
    gone = np.zeros(len(channels.atoms), bool)

    def told(smaller):
        return comparison.difference(frozen, smaller, channels, gone, opened.signatures, Examples({}))

    assert told(frozen) is None
    gone[groups.groups(channels)[0].atoms[:2]] = True
    assert "has another shape than it should at" in told(frozen)
    rebuilt = graph.FrozenGraph(rebuild.without(frozen.graph, channels, gone), frozen.signatures)
    assert told(rebuilt) is None
    kernel = next(node for node in rebuilt.graph.node if node.name == "second/kernel")
    value = tf.make_ndarray(kernel.attr["value"].tensor)
    kernel.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value[:, :, ::-1]))
    assert "output output_0 by" in told(rebuilt)
