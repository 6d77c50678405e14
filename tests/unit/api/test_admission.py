"""What we say to a resource without an API server; tests/controlplane/test_crd.py shows that one agrees."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from modelpress.api import admission, crd, expressions, structural
from modelpress.api.rules import RULES

CASES = YAML(typ="safe", pure=True).load((Path(__file__).parent / "cases.yaml").read_text())


def resource(spec, name="model", **metadata):
    return {
        "apiVersion": "modelpress.dev/v1alpha1",
        "kind": "CompressedModel",
        "metadata": {"name": name, **metadata},
        "spec": {"source": {"uri": "pvc://models/x"}, **spec},
    }


def problems(spec, where="Cluster", before=None):
    old = admission.admit(resource(before), where=where).document if before is not None else None
    return admission.admit(resource(spec), where=where, old=old).problems


def said(spec, where="Cluster"):
    """The only problem of a spec, as users read it."""
    (problem,) = problems(spec, where)
    return str(problem)


def every_rule(schema):
    yield from (rule["rule"] for rule in schema.get(RULES, ()))
    for inner in schema.get("properties", {}).values():
        yield from every_rule(inner)
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from every_rule(schema[key])


@pytest.mark.parametrize("case", CASES, ids=[case["name"].replace(" ", "-") for case in CASES])
def test_cases_are_judged(case):
    found = problems(case["spec"], before=case.get("before"))
    assert bool(found) == ("field" in case), found
    if "field" in case:
        assert any(problem.field == case["field"] and case["says"] in problem.message for problem in found), found


def test_every_rule_refuses_something(monkeypatch):
    original, broken = expressions.complaint, set()

    def recorded(rule, value, old=None):
        complaint = original(rule, value, old)
        if complaint:
            broken.add(rule["rule"])
        return complaint

    monkeypatch.setattr(expressions, "complaint", recorded)
    for case in CASES:
        problems(case["spec"], before=case.get("before"))
    beyond_bounds = {rule for rule in every_rule(crd.schema()) if not rule.startswith(structural.BOUND)}
    assert beyond_bounds - broken == set()


def test_a_misspelt_field_is_guessed():
    assert said({"serving": {"replica": 2}}) == "spec.serving.replica: unknown field; did you mean replicas?"


def test_a_misplaced_field_is_found():
    assert said({"replicas": 3}) == "spec.replicas: unknown field; did you mean spec.serving.replicas?"


def test_an_unknown_field_without_likeness_gets_a_list():
    assert said({"cache": {"zzz": 1}}).startswith("spec.cache.zzz: unknown field; known: disk, memory, mode")


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"cache": {"ttl": "1d"}}, 'spec.cache.ttl: "1d" is malformed: write a duration such as 500ms, 30s or 1h30m'),
        (
            {"cache": {"memory": {"size": "lots"}}},
            'spec.cache.memory.size: "lots" is malformed: write a quantity such as 500m, 2 or 256Mi',
        ),
        (
            {"rollout": {"maxSurge": "200%"}},
            'spec.rollout.maxSurge: "200%" is malformed: write a number such as 1, or a share such as 25%',
        ),
        (
            {"cache": {"mode": False}},
            "spec.cache.mode: false is not one of Auto, Enabled, Disabled (YAML reads off, no, on and yes as booleans)",
        ),
        (
            {"cache": {"policy": "lru"}},
            'spec.cache.policy: "lru" is not one of LRU, LFU, TinyLFU; did you mean LRU?',
        ),
        ({"serving": {"replicas": 1001}}, "spec.serving.replicas: 1001 is above 1000, the most that is allowed"),
        ({"serving": {"replicas": -1}}, "spec.serving.replicas: -1 is below 0, the least that is allowed"),
        ({"serving": {"replicas": "3"}}, 'spec.serving.replicas: "3" is not a whole number'),
        ({"serving": {"modelName": 3}}, "spec.serving.modelName: 3 is not a string: put it in quotes"),
        ({"cache": []}, "spec.cache: [] is not a mapping"),
        ({"suspend": "yes"}, 'spec.suspend: "yes" is not true or false'),
        ({"gate": {"metrics": []}}, "spec.gate.metrics: has 0 entries, at least 1 are needed"),
        (
            {"commonPod": {"env": [{"name": "X", "value": "a"}, {"name": "X", "value": "b"}]}},
            'spec.commonPod.env[1]: name "X" comes twice: keep one',
        ),
    ],
)
def test_problems_name_the_field_the_value_and_the_cure(spec, sentence):
    assert said(spec) == sentence


def test_a_missing_field_says_what_it_is_for():
    document = resource({})
    del document["spec"]["source"]["uri"]
    (problem,) = admission.admit(document, where="Cluster").problems
    assert problem.field == "spec.source.uri"
    assert problem.message.startswith("is missing: A model, or a folder of numbered versions")
    assert problem.reason == "Required"


def test_all_problems_are_told_at_once():
    fields = [problem.field for problem in problems({"cache": {"ttl": "1d", "mode": "On"}, "concurrency": {"min": 2}})]
    assert fields == ["spec.cache.ttl", "spec.cache.mode", "spec.concurrency.min"]


def test_a_password_is_never_repeated():
    for where in ("Cluster", "Local"):
        assert "hunter2" not in said({"source": {"uri": "https://me:hunter2@host/x"}}, where)


@pytest.mark.parametrize(
    "uri", ["model.keras", "/models/x", "./x", "file:x", "file:///models/x", "s3://m/x", "pvc://c/x"]
)
def test_local_runs_read_files_too(uri):
    assert problems({"source": {"uri": uri}}, "Local") == ()


@pytest.mark.parametrize("uri", ["file:///models/x?y", "https://u:p@h/x", "ftp://h/x", ""])
def test_local_runs_know_bad_places(uri):
    assert "must be a path, file:path or pvc|s3" in said({"source": {"uri": uri}}, "Local")


def test_defaults_are_those_of_the_server():
    spec = admission.admit(resource({"cache": {"mode": None}}), where="Cluster").document["spec"]
    assert spec["cache"] == {"mode": "Auto", "policy": "LRU", "memory": {"size": "256Mi"}, "ttl": "1h"}
    assert spec["serving"]["resources"]["limits"] == {"cpu": "2", "memory": "2Gi"}
    assert "autoscaling" not in spec


def test_fields_of_steps_get_no_defaults_because_lists_would_drift():
    steps = [{"prune": {"sparsity": 0.5}}]
    admitted = admission.admit(resource({"recipe": {"steps": steps}}), where="Cluster").document
    assert admitted["spec"]["recipe"]["steps"] == steps


def test_live_objects_are_accepted_with_all_their_metadata():
    live = resource({}, uid="1", generation=2, managedFields=[{"manager": "x"}], labels={"a": "b"})
    assert admission.admit(live, where="Cluster").problems == ()
