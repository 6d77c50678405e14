"""Files are read as kubectl reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from modelpress.api import document, status, support
from modelpress.api.errors import InvalidResource

HEAD = "apiVersion: modelpress.dev/v1alpha1\nkind: CompressedModel\n"
BODY = "metadata: {name: a}\nspec: {source: {uri: x}}\n"


HERE = Path(__file__).parent
EXAMPLES = (HERE / "full.yaml", HERE / "alternatives.yaml")


def refused(text):
    with pytest.raises(InvalidResource) as refusal:
        document.parse(text, name="model.yaml")
    return [str(problem) for problem in refusal.value.problems]


def test_a_file_holds_several_resources_and_other_objects(tmp_path):
    file = tmp_path / "all.yaml"
    claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: c}\n"
    file.write_text(f"{HEAD}{BODY}---\n{claim}---\n{HEAD}{BODY.replace('name: a', 'name: b')}---\n")
    assert [resource.metadata.name for resource in document.load(file)] == ["a", "b"]


def test_a_list_is_its_items():
    text = (
        f"apiVersion: v1\nkind: List\nitems:\n- {HEAD.replace(chr(10), chr(10) + '  ')}{BODY.replace('spec', '  spec')}"
    )
    assert [resource.metadata.name for resource in document.parse(text)] == ["a"]


@pytest.mark.parametrize("written", ["1e-4", "1.0e-4", "0.0001", "1E-4"])
def test_small_numbers_are_numbers(written):
    step = f"{{prune: {{threshold: {written}}}}}"
    text = HEAD + f"metadata: {{name: a}}\nspec: {{source: {{uri: x}}, recipe: {{steps: [{step}]}}}}"
    (resource,) = document.parse(text)
    assert resource.spec.recipe.steps[0].prune.threshold == 0.0001


def test_a_key_given_twice_is_named_with_its_lines():
    text = HEAD + "metadata: {name: a}\nspec:\n  source: {uri: x}\n  suspend: true\n  suspend: false\n"
    assert refused(text) == ["spec.suspend: is given twice, in lines 6 and 7: keep one"]


@pytest.mark.parametrize("key", ["y", "no", "on", "1", "1.5", "~", "true"])
def test_a_key_that_is_no_text_is_noticed_because_kubectl_would_rename_it(key):
    columns = f"columns: {{targets: {{{key}: label}}}}"
    text = HEAD + f"metadata: {{name: a}}\nspec: {{source: {{uri: x}}, data: {{evaluation: {{uri: e, {columns}}}}}}}"
    assert refused(text) == [
        f"spec.data.evaluation.columns.targets.{key}: the key {key} in line 4 is not text to YAML: put it in quotes"
    ]


def test_anchors_and_merges_are_known():
    text = HEAD + (
        "metadata: {name: a}\nspec:\n  source: {uri: x}\n  data:\n    evaluation: &set {uri: e, samples: 5}\n"
        "    training: {<<: *set, samples: 7}\n"
    )
    (resource,) = document.parse(text)
    assert (resource.spec.data.training.uri, resource.spec.data.training.samples) == ("e", 7)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [1", "line 1, column 6: expected ',' or ']', but got '<stream end>'"),
        ("- 1", "[1] is not a mapping with apiVersion and kind"),
        ("", "kind: model.yaml holds nothing, but no CompressedModel"),
        ("apiVersion: v1\nkind: Secret", "kind: model.yaml holds Secret, but no CompressedModel"),
        ("kind: CompressedModel", "apiVersion: is missing: write apiVersion: modelpress.dev/v1alpha1"),
        ("apiVersion: modelpress.dev/v1alpha1", "kind: is missing: write kind: CompressedModel"),
        (
            "apiVersion: modelpress.dev/v1\nkind: CompressedModel",
            "apiVersion: modelpress.dev/v1 is not known: write modelpress.dev/v1alpha1",
        ),
        (
            "apiVersion: modelpress.dev/v1alpha1\nkind: CompresedModel",
            "kind: CompresedModel is not known: write CompressedModel",
        ),
        (HEAD + "spec: {cache: {ttl: .inf}}", "is not YAML: line 3: .inf is not a number that JSON knows"),
    ],
)
def test_what_is_no_resource_is_said_to_be_none(text, sentence):
    assert refused(text) == [sentence]


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path):
    with pytest.raises(InvalidResource) as refusal:
        document.load(tmp_path / "none.yaml")
    assert "none.yaml cannot be read: No such file or directory" in str(refusal.value)


def test_of_several_resources_the_wrong_one_is_named():
    bad = BODY.replace("name: a", "name: b").replace("uri: x", "uri: 3")
    assert refused(f"{HEAD}{BODY}---\n{HEAD}{bad}") == [
        "spec.source.uri: 3 is not a string: put it in quotes (in CompressedModel b)"
    ]


def test_blocks_with_defaults_are_never_none():
    (resource,) = document.parse(HEAD + BODY)
    spec = resource.spec
    assert spec.recipe.steps is None
    assert [metric.type for metric in spec.gate.metrics] == ["Fidelity"]
    assert (spec.gate.size.max_ratio, spec.gate.latency.percentile, spec.gate.memory) == (1, 95, None)
    assert (spec.cache.mode, spec.concurrency.queue.depth, spec.rollout.max_surge) == ("Auto", 64, 1)
    assert spec.serving.resources.limits == {"cpu": "2", "memory": "2Gi"}
    assert (spec.common_pod.env, spec.serving.pod.labels, spec.data, spec.autoscaling) == ((), {}, None, None)


def test_what_a_resource_says_is_a_valid_file_again():
    text = HEAD + (
        "metadata: {name: a}\nspec: {source: {uri: x}, data: {training: {uri: t.npz}, evaluation: {uri: e.npz}},"
        " recipe: {steps: [{prune: {threshold: 1e-2, maxSparsity: 0.1}}, {fineTune: {}}, {quantize: {scheme: Mixed}}]},"
        " gate: {metrics: [{type: TopK, k: 3}]}, serving: {batching: {}}, rollout: {canary: {}}, autoscaling: null}"
    )
    (resource,) = document.parse(text)
    again, problems = document.resource_of(resource.plain(), where="Local")
    assert (again, problems) == (resource, ())


def test_other_readers_of_yaml_are_left_as_they_were():
    document.parse(HEAD + BODY)
    assert YAML(typ="safe", pure=True).load("a: off")["a"] == "off"


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_every_resource_survives_its_model(file):
    for resource in document.load(file, where="Cluster"):
        assert document.resource_of(resource.plain(), where="Cluster") == (resource, ())


def test_the_examples_use_every_field():
    used = set()
    for file in EXAMPLES:
        for given in YAML(typ="safe", pure=True).load_all(file.read_text()):
            used |= set(_paths(given["spec"], "spec"))
    unused = [leaf.path for leaf in support.leaves() if not any(path.startswith(leaf.path) for path in used)]
    assert unused == []


def test_the_status_survives_its_model():
    given = YAML(typ="safe", pure=True).load((HERE / "status.yaml").read_text())["status"]
    assert status.Status.model_validate(given).plain() == given


def _paths(node, at):
    if isinstance(node, dict):
        for key, inner in node.items():
            yield from _paths(inner, f"{at}.{key}")
    elif isinstance(node, list):
        for inner in node:
            yield from _paths(inner, f"{at}[]" if isinstance(inner, dict) else at)
    else:
        yield at
