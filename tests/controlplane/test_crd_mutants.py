"""Hundreds of broken relatives of the full example: the API server and `validate` judge all of them alike."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from modelpress.api import admission, crd
from modelpress.kube.client import ApiError

FULL = Path(__file__).parents[1] / "unit" / "api" / "full.yaml"
MUTANTS = 150
PATH = "/apis/modelpress.dev/v1alpha1/namespaces/default/compressedmodels"
STRANGE = (
    *(None, True, False, 0, 1, -1, 2, 100, 1_000_000, 0.5, -0.5, 1e-4, 99_999_999_999),
    *("", "x", "1", "30s", "1d", "10Gi", "500m", "-1", "25%", "101%", "a b", "ä", "A" * 300),
    *("s3://a/b", "file:///x", "http://h/x", "https://u:p@h/x"),
    *([], {}, [1], ["a", "a"], {"a": "b"}, {"a": 1}, [None], {"a": None}),
)
STRAYS = ("replicas", "sparsity", "uri", "format", "min", "digest", "redis", "secret", "search", "threshold", "steps")


def words(schema):
    """Every word that an enum of the schema knows."""
    yield from schema.get("enum", ())
    for inner in schema.get("properties", {}).values():
        yield from words(inner)
    if "items" in schema:
        yield from words(schema["items"])


def places(node):
    """Every container and key below a node."""
    for key, inner in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(inner, dict | list):
            yield from places(inner)


def mutant(original, chance):
    """A copy with one to three fields replaced, removed, added or doubled."""
    changed = copy.deepcopy(original)
    values = (*STRANGE, *words(crd.schema()))
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        container, key = chance.choice(list(places(changed["spec"])))
        act = chance.random()
        if act < 0.6:
            container[key] = copy.deepcopy(chance.choice(values))
        elif act < 0.8:
            container.pop(key)
        elif isinstance(container, dict):
            container[chance.choice(STRAYS)] = copy.deepcopy(chance.choice(values))
        else:
            container.append(copy.deepcopy(container[key]))
    return changed


@pytest.mark.usefixtures("crd")
@pytest.mark.parametrize("seed", range(4))
async def test_mutants_are_judged_alike(cluster, seed):
    original = YAML(typ="safe", pure=True).load(FULL.read_text())
    original["metadata"]["namespace"] = "default"
    chance = random.Random(seed)
    for number in range(MUTANTS):
        changed = json.loads(json.dumps(mutant(original, chance)))
        ours = admission.admit(changed, where="Cluster")
        try:
            live = await cluster.request("POST", PATH, changed, query={"dryRun": "All", "fieldValidation": "Strict"})
        except ApiError as error:
            assert ours.problems, f"mutant {number} of seed {seed}: {error}"
        else:
            assert not ours.problems, f"mutant {number} of seed {seed}"
            assert live["spec"] == ours.document["spec"], f"mutant {number} of seed {seed}"
